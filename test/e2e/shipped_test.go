package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/standin"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// riposte is the namespace of the shipped manifests, which are applied as they are.
const riposte = "riposte"

// TestShipped is the project as it is shipped: its Broker, its triggers, its permissions
// and its functions' programs, each under its own account.
func TestShipped(t *testing.T) {
	k := start(t)
	programs, err := functions.List(testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		k.env.Account(t, name) // Applies its rbac.yaml.
	}
	j := &journal{}
	said := &messages{}
	outside, err := standin.Start(t.Context(), said.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = outside.Close() })
	manifests := shipped(t)
	called, sinks := k.namedServices(t, manifests)
	for _, name := range called {
		k.runFunction(t, j, riposte, name, settingsOf(t, k.env, outside, name)...)
	}
	for _, name := range sinks {
		k.street.build(t, riposte, name, j.of(accepts()))
	}

	for _, o := range parse(t, manifests) {
		k.apply(t, o)
	}
	t.Run("1 every shipped manifest passes Knative's webhooks and becomes Ready", func(t *testing.T) {
		k.awaitReady(t, manifests)
	})
	if t.Failed() {
		return
	}

	namespace := k.env.Namespace(t)
	k.env.Create(t, testkit.Service(namespace, "web"))
	pods := k.env.Deploy(t, testkit.Deployment(namespace, "web", 4, testkit.OnNode(k.env.Node(t))))
	sent := map[string]string{}
	t.Run("2 an alert reaches the functions that its triggers name, and no others", func(t *testing.T) {
		for i, step := range []struct {
			name, capture string
			want          []string
			acted         func(corev1.Pod) error
		}{
			{
				"a dropped binary", "03",
				[]string{"collect-evidence", "delete-pod", "slack"},
				func(p corev1.Pod) error { return unless(!k.env.Lives(t, p), "the pod lives") },
			},
			{
				"a call of the Kubernetes API", "06",
				[]string{"isolate"},
				func(p corev1.Pod) error {
					return k.changed(t, p, func(now *corev1.Pod) bool { return !maps.Equal(now.Labels, p.Labels) })
				},
			},
			{
				"a shell", "02",
				[]string{"label"},
				func(p corev1.Pod) error {
					return k.changed(t, p, func(now *corev1.Pod) bool { return now.Labels["riposte.dev/suspect"] == "true" })
				},
			},
			{
				"a login to the cloud without a second factor", "12",
				[]string{"lambda", "slack"},
				func(corev1.Pod) error { return unless(said.has("aws", "lock-account"), "AWS was not asked") },
			},
		} {
			t.Run(step.name, func(t *testing.T) {
				alert := testkit.Find(t, step.capture).Retarget(testkit.To(t, pods[i], time.Now())).CloudEvent(t, k.ingress)
				sent[step.capture] = alert.Header.Get("Ce-Id")
				if status := send(t.Context(), t, k.broker(riposte, "default"), alert); status != http.StatusAccepted {
					t.Fatalf("the ingress answered %d", status)
				}
				testkit.Eventually(t, "it is acted on and told", func(context.Context) error {
					return errors.Join(step.acted(pods[i]), j.finished(sent[step.capture]),
						unless(cmp.Equal(j.services(sent[step.capture]), step.want), "called are %v", j.services(sent[step.capture])))
				})
				for _, c := range j.all() {
					if c.id() == sent[step.capture] && c.Status/100 != 2 {
						t.Errorf("%s answered %d: %s", c.service(), c.Status, c.Answer)
					}
				}
			})
		}
	})

	t.Run("3 each outcome comes back into the Broker and is told to Slack", func(t *testing.T) {
		for _, response := range []string{"delete-pod", "isolate", "label", "lambda"} {
			testkit.Eventually(t, "Slack hears of "+response, func(context.Context) error {
				told := outcomes(j.to("slack"), response)
				return unless(len(told) == 1 && told[0].Status == http.StatusOK, "told %v", told)
			})
		}
		deleted := "deleted pod " + namespace + "/" + pods[0].Name
		testkit.Eventually(t, "Slack got the message", func(context.Context) error {
			return unless(said.has("slack", deleted), "no message says %q", deleted)
		})
		for _, c := range j.all() {
			if c.Header.Get("Ce-Response") == "slack" {
				t.Errorf("%s was told of an outcome of slack", c.service())
			}
		}
	})
	// By now everything else has passed through the Broker too.
	for capture, id := range sent {
		if got := j.services(id); len(got) != len(slices.Compact(slices.Clone(got))) {
			t.Errorf("with capture %s were called %v", capture, got)
		}
	}
	if dead := j.to("dead-letter"); len(dead) > 0 {
		t.Errorf("%d dead letters, the first is %s", len(dead), dead[0].Body)
	}
}

// outcomes are the calls with an outcome of that function.
func outcomes(calls []call, response string) []call {
	return slices.DeleteFunc(calls, func(c call) bool { return c.Header.Get("Ce-Response") != response })
}

// changed reads the pod again.
func (k *knative) changed(t *testing.T, p corev1.Pod, as func(*corev1.Pod) bool) error {
	t.Helper()
	now := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	k.env.Get(t, now)
	return unless(now.UID == p.UID && as(now), "the pod is as it was")
}

func unless(fine bool, format string, args ...any) error {
	if fine {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// messages are what the stand-ins of Slack and AWS got.
type messages struct {
	mu  sync.Mutex
	got []standin.Message
}

func (m *messages) add(one standin.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, one)
}

// has says whether a message to that service holds the text.
func (m *messages) has(service, text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.got, func(one standin.Message) bool {
		return one.Service == service && strings.Contains(fmt.Sprint(one.Title, " ", one.Text, " ", one.Fields), text)
	})
}
