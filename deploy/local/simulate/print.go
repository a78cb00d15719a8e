package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/riposte-dev/riposte/triggers"
)

// printer writes verdicts, for people or for machines, and counts them.
type printer struct {
	out   io.Writer
	json  bool
	brief bool

	alerts, unreached, unexpected int
}

func (p *printer) print(v verdict) error {
	p.alerts++
	if len(v.functions) == 0 {
		p.unreached++
	}
	if !v.asExpected {
		p.unexpected++
	}
	if p.json {
		return p.object(v)
	}
	return p.table(v)
}

// table writes the triggers that take the alert first, and then the others with the
// first filter that failed.
func (p *printer) table(v verdict) error {
	head := []string{v.String(), printable(v.event.Type())}
	for _, name := range []string{"outcome", "response", "priority"} {
		if value := text(v, name); value != "" {
			head = append(head, printable(value))
		}
	}
	if _, err := fmt.Fprintf(p.out, "%s %q\n", strings.Join(head, "  "), text(v, "rule")); err != nil {
		return err
	}
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	if len(v.functions) == 0 && v.asExpected {
		_, _ = fmt.Fprintln(t, "  reaches no function")
	}
	name := func(d triggers.Decision) string { return d.Trigger }
	if slices.ContainsFunc(v.decisions, func(d triggers.Decision) bool { return d.Namespace != v.decisions[0].Namespace }) {
		name = func(d triggers.Decision) string { return d.Namespace + "/" + d.Trigger }
	}
	for _, matched := range []bool{true, false} {
		for _, d := range v.decisions {
			switch {
			case d.Matched != matched || (!matched && p.brief):
			case matched:
				_, _ = fmt.Fprintf(t, "  runs\t%s\t%s\n", d.Function, name(d))
			default:
				_, _ = fmt.Fprintf(t, "  not\t%s\t%s\t%s\n", d.Function, name(d), printable(d.Reason))
			}
		}
	}
	if !v.asExpected {
		_, _ = fmt.Fprintf(t, "  FAILED: %s\n", v.failure())
	}
	_, _ = fmt.Fprintln(t)
	return t.Flush()
}

func (p *printer) object(v verdict) error {
	type trigger struct {
		Namespace string `json:"namespace"`
		Trigger   string `json:"trigger"`
		Function  string `json:"function"`
		Runs      bool   `json:"runs"`
		Reason    string `json:"reason,omitempty"`
	}
	out := struct {
		Input      string    `json:"input"`
		Line       int       `json:"line,omitempty"`
		ID         string    `json:"id"`
		Type       string    `json:"type"`
		Rule       string    `json:"rule,omitempty"`
		Priority   string    `json:"priority,omitempty"`
		Functions  []string  `json:"functions"`
		AsExpected bool      `json:"as_expected"`
		Triggers   []trigger `json:"triggers"`
	}{
		Input: v.name, Line: v.line, ID: v.event.ID(), Type: v.event.Type(), Rule: text(v, "rule"), Priority: text(v, "priority"),
		Functions: v.functions, AsExpected: v.asExpected, Triggers: []trigger{},
	}
	for _, d := range v.decisions {
		if d.Matched || !p.brief {
			out.Triggers = append(out.Triggers, trigger{d.Namespace, d.Trigger, d.Function, d.Matched, d.Reason})
		}
	}
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(out)
}

func (p *printer) summary(bad int) error {
	if p.json {
		return nil
	}
	line := count(p.alerts, "alert")
	if p.unreached > 0 {
		line += fmt.Sprintf(", %d without a function", p.unreached)
	}
	if p.unexpected > 0 {
		line += fmt.Sprintf(", %d not as expected", p.unexpected)
	}
	if bad > 0 {
		line += ", " + count(bad, "problem") + " with the input"
	}
	_, err := fmt.Fprintln(p.out, line)
	return err
}

func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func text(v verdict, name string) string {
	value, _ := v.event.Extensions()[name].(string)
	return value
}

// printable keeps what an attacker may have written from steering the terminal, or from looking like another line.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
