package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// teller is a response that takes outcomes, those of its own kind too.
type teller struct{}

func (teller) Respond(context.Context, falco.Alert) (response.Outcome, error) {
	return response.Outcome{Verdict: response.Applied, Message: "told"}, nil
}

func (teller) RespondOutcome(context.Context, response.Record) (response.Outcome, error) {
	return response.Outcome{Verdict: response.Applied, Message: "told"}, nil
}

// telling is a function of Riposte around it.
func telling(t *testing.T, name, claims string) http.HandlerFunc {
	t.Helper()
	f := serve.New(serve.Define(serve.Info{Name: name, Activity: response.Notify}, func(struct{}, response.Settings) (response.Responder, error) {
		return teller{}, nil
	}))
	if err := f.Start(t.Context(), map[string]string{"MAX_ALERT_AGE": "0", "CLAIMS": claims, "LOG_LEVEL": "ERROR"}); err != nil {
		t.Fatal(err)
	}
	return f.Handle
}

// Each of these Triggers is harmless by what its function is called, so the loader takes them. But the functions behind
// the two Services answer by other names, as when one function is deployed twice: each gets the other's outcomes.
const loop = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: riposte, annotations: {messaging.knative.dev/async-handler: "true"}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: begin, namespace: riposte}
spec:
  broker: default
  filters: [{exact: {type: falco.rule.output.v1}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: ping}}
  delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: DEAD}}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: there, namespace: riposte}
spec:
  broker: default
  filters: [{exact: {type: dev.riposte.response.v1, response: tell-a}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: pong}}
  delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: DEAD}}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: back, namespace: riposte}
spec:
  broker: default
  filters: [{exact: {type: dev.riposte.response.v1, response: tell-b}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: ping}}
  delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: DEAD}}}
`

// What the loader cannot see, the hops end: also where a function knows the outcome already and gives its answer again.
func TestLoopOfTriggersEnds(t *testing.T) {
	for name, claims := range map[string]string{"a function that answers anew": "none", "a function that remembers": "memory"} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			t.Cleanup(func() { close(stop) })
			// A Broker that has ended may still have a dead letter on its way: that is none of the next one's.
			sink := fmt.Sprint("dead-letter-", time.Now().UnixNano())
			b := start(t, load(t, strings.ReplaceAll(loop, "DEAD", sink)), map[string]http.HandlerFunc{
				"ping": telling(t, "tell-a", claims), "pong": telling(t, "tell-b", claims),
			})
			t.Cleanup(func() { go drain(b, stop) }) // Where it does not end, the Broker has to, all the same.
			if status := b.capture(critical); status/100 != 2 {
				t.Fatalf("the broker answered %d", status)
			}
			dead := next(t, b.dead)
			if got := response.HopsOf(dead.Event); got != response.MaxHops || dead.Function != "ping" {
				t.Errorf("what ends at %s has %d hops, want %d: %d %s from %s", dead.Function, got, response.MaxHops, dead.Status, dead.Answer, dead.Destination)
			}
			var hops []int
			for range response.MaxHops + 1 {
				hops = append(hops, response.HopsOf(next(t, b.accepted).Event))
			}
			if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8}, hops); diff != "" {
				t.Errorf("hops (-want +got):\n%s", diff)
			}
			none(t, b.accepted)
		})
	}
}

func drain(b *bench, stop <-chan struct{}) {
	for {
		select {
		case <-b.accepted:
		case <-b.calling:
		case <-b.delivered:
		case <-b.dead:
		case <-stop:
			return
		}
	}
}
