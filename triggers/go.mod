module github.com/riposte-dev/riposte/triggers

go 1.25.0
