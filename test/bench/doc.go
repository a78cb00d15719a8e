// Package bench measures how fast and how small Riposte is. Every time is taken beside a floor, in the same run and in
// turns: what the same job costs without Riposte, such as a bare GET and DELETE by client-go. What is compared from run to run
// and from machine to machine is the ratio of the two.
//
// A set (Sets) is a function that measures one thing and adds a Figure for each number. make bench runs them all and
// writes docs/benchmarks.md, make bench-check compares a new run with the one that is written there, and make prove
// SET=performance holds the figures that have a goal against it.
package bench
