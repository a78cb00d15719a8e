package triggers

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/cloudevents/sdk-go/v2/event"
)

// randomCondition is an expression about the attributes a and b.
func randomCondition(g *rand.Rand, depth int) string {
	name := []string{"a", "b"}[g.IntN(2)]
	if depth == 0 {
		return []string{"EXISTS " + name, name + " = 'x'", name + " LIKE 'y%'", name + " IN ('x', 'z')", "TRUE"}[g.IntN(5)]
	}
	switch g.IntN(4) {
	case 0:
		return "NOT (" + randomCondition(g, depth-1) + ")"
	case 1:
		return randomCondition(g, 0)
	}
	return fmt.Sprintf("(%s) %s (%s)", randomCondition(g, depth-1), []string{"AND", "OR", "XOR"}[g.IntN(3)], randomCondition(g, depth-1))
}

// A condition in which every attribute is asked for before it is read is an error for no event, and what it makes
// certain is there wherever it is true.
func TestConditionsThatAskBeforeTheyRead(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	var events []event.Event
	for _, a := range []string{"", "x", "y"} {
		for _, b := range []string{"", "x", "y"} {
			e := event.New()
			for name, value := range map[string]string{"a": a, "b": b} {
				if value != "" {
					e.SetExtension(name, value)
				}
			}
			events = append(events, e)
		}
	}
	careful := 0
	for range 5000 {
		text := randomCondition(g, 3)
		c, err := parseCondition(text)
		if err != nil || len(c.traps) > 0 {
			t.Fatalf("%s: %v, %v", text, err, c.traps)
		}
		expression, err := parser.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if len(c.unsure) == 0 && len(c.used) > 0 {
			careful++
		}
		for _, e := range events {
			result, err := expression.Evaluate(e)
			if err != nil && len(c.unsure) == 0 {
				t.Errorf("%s of %v: %v, although it asks first", text, e.Extensions(), err)
			}
			for name := range c.certain {
				if _, found := e.Extensions()[name]; err == nil && result == true && !found {
					t.Errorf("%s is true of %v, although %s is certain", text, e.Extensions(), name)
				}
			}
		}
	}
	if careful < 50 {
		t.Errorf("%d expressions ask first: too few to say anything", careful)
	}
}
