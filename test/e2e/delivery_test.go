package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// place is a namespace with a Broker and the shipped trigger of delete-pod, and the sinks
// that they name.
type place struct {
	*knative
	*journal

	namespace string
}

func (k *knative) place(t *testing.T, edit *strings.Replacer) *place {
	t.Helper()
	p := &place{knative: k, journal: &journal{}, namespace: k.env.Namespace(t)}
	manifests := within(p.namespace, promptBroker+file(t, "triggers", "delete-malware.yaml"))
	if edit != nil {
		manifests = edit.Replace(manifests)
	}
	_, sinks := k.namedServices(t, manifests)
	for _, name := range sinks {
		k.street.build(t, p.namespace, name, p.of(accepts()))
	}
	k.declare(t, manifests)
	return p
}

// post sends an event to the place's Broker, which has to accept it.
func (p *place) post(ctx context.Context, t *testing.T, r *http.Request) {
	t.Helper()
	if status := send(ctx, t, p.broker(p.namespace, "default"), r); status != http.StatusAccepted {
		t.Errorf("the ingress answered %d", status)
	}
}

// alert is a captured alert (03) of that pod, just raised.
func alert(t *testing.T, p corev1.Pod) *http.Request {
	t.Helper()
	return testkit.Find(t, "03").Retarget(testkit.To(t, p, time.Now())).CloudEvent(t, "http://broker.example")
}

func TestFailures(t *testing.T) {
	k := start(t)
	account := k.env.Account(t, "delete-pod")

	t.Run("4 a function that answers 500 is called again, later each time, and succeeds", func(t *testing.T) {
		t.Parallel()
		// Less than the shipped delay, so as not to wait for long. Knative reads tenths of a second only.
		p := k.place(t, strings.NewReplacer("backoffDelay: PT0.5S", "backoffDelay: PT0.2S"))
		proxy := k.env.NewProxy(t, account)
		proxy.Inject(&testkit.Fault{Verb: "get", Resource: "pods", Times: 4, Effect: testkit.Answers(http.StatusInternalServerError, 0)})
		k.runFunction(t, p.journal, p.namespace, "delete-pod", "KUBECONFIG="+proxy.Kubeconfig)
		pod := k.env.Deploy(t, testkit.Deployment(p.namespace, "web", 2))[0]
		p.post(t.Context(), t, alert(t, pod))
		testkit.Eventually(t, "the function succeeds", func(context.Context) error {
			got := statuses(p.to("delete-pod"))
			return unless(slices.Contains(got, http.StatusOK), "the statuses are %v", got)
		})
		if k.env.Lives(t, pod) {
			t.Error("the pod lives")
		}
		calls := p.to("delete-pod")
		if got := statuses(calls); !slices.Equal(got, []int{500, 500, 500, 500, 200}) {
			t.Errorf("the statuses are %v", got)
		}
		for i := range 4 {
			gap, want := calls[i+1].At.Sub(calls[i].At), 200*time.Millisecond<<i
			t.Logf("attempt %d came %s after the one before, by the policy %s", i+2, gap.Round(time.Millisecond), want)
			if gap < want*9/10 || gap > want+1500*time.Millisecond {
				t.Errorf("attempt %d came after %s, want about %s", i+2, gap, want)
			}
		}
		if dead := p.to("dead-letter"); len(dead) > 0 {
			t.Errorf("there is a dead letter all the same: %s", dead[0].Body)
		}
	})

	t.Run("5 what is hopeless goes to the dead letter at once, whole", func(t *testing.T) {
		t.Parallel()
		for name, tc := range map[string]struct {
			account *testkit.Account
			spoil   func(*http.Request)
			status  int
			says    string
		}{
			"an event that is cut is answered 400": {account: account, status: http.StatusBadRequest, says: "alert", spoil: func(r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body[:len(body)/2])), int64(len(body)/2)
			}},
			"a function without rights answers 422": {
				account: k.env.AccountWith(t, "delete-pod"), status: http.StatusUnprocessableEntity, says: "forbidden", spoil: func(*http.Request) {},
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := k.place(t, nil)
				k.runFunction(t, p.journal, p.namespace, "delete-pod", "KUBECONFIG="+k.env.NewProxy(t, tc.account).Kubeconfig)
				pod := k.env.Deploy(t, testkit.Deployment(p.namespace, "web", 2))[0]
				sent := alert(t, pod)
				tc.spoil(sent)
				body, _ := io.ReadAll(sent.Body)
				sent.Body = io.NopCloser(bytes.NewReader(body))
				p.post(t.Context(), t, sent)
				testkit.Eventually(t, "there is a dead letter", func(context.Context) error {
					return unless(len(p.to("dead-letter")) > 0, "called are %v", p.services(sent.Header.Get("Ce-Id")))
				})
				calls, dead := p.to("delete-pod"), p.to("dead-letter")
				if len(calls) != 1 || calls[0].Status != tc.status || len(dead) != 1 {
					t.Fatalf("the statuses are %v with %d dead letters, want %d once and one", statuses(calls), len(dead), tc.status)
				}
				if waited := dead[0].At.Sub(calls[0].At); waited > 5*time.Second {
					t.Errorf("the dead letter came after %s", waited)
				}
				if !bytes.Equal(dead[0].Body, body) {
					t.Errorf("the dead letter is not what was sent:\n%s\n%s", dead[0].Body, body)
				}
				got := attributes(dead[0].Header)
				for attribute, value := range attributes(sent.Header) {
					if got[attribute] != value {
						t.Errorf("the dead letter's %s is %q, want %q", attribute, got[attribute], value)
					}
				}
				said, err := base64.StdEncoding.DecodeString(got["knativeerrordata"])
				if err != nil || !strings.Contains(string(said), tc.says) || string(said) != string(calls[0].Answer) {
					t.Errorf("knativeerrordata is %q (%v), the function answered %q", said, err, calls[0].Answer)
				}
				if got["knativeerrorcode"] != fmt.Sprint(tc.status) || got["knativeerrordest"] != "http://"+host(p.namespace, "delete-pod") {
					t.Errorf("the dead letter is from %s with %s", got["knativeerrordest"], got["knativeerrorcode"])
				}
				if !k.env.Lives(t, pod) {
					t.Error("the pod is gone")
				}
			})
		}
	})

	t.Run("6 a function that is killed at work loses nothing", func(t *testing.T) {
		t.Parallel()
		const alerts, before = 20, 5
		p := k.place(t, nil)
		proxy := k.env.NewProxy(t, account)
		process := k.runFunction(t, p.journal, p.namespace, "delete-pod", "KUBECONFIG="+proxy.Kubeconfig, "RESPONSE_TIMEOUT=2s", "EVICT_TIMEOUT=1s")
		pods := k.env.Deploy(t, testkit.Deployment(p.namespace, "web", alerts, testkit.OnNode(k.env.Node(t))))

		// Some deletions pass, and then the API server answers no more.
		held := proxy.Inject(&testkit.Fault{Verb: "delete", Resource: "pods", After: before, Times: 4, Effect: testkit.Hangs()})
		ids := make([]string, alerts)
		var posted sync.WaitGroup
		for i, pod := range pods {
			r := alert(t, pod)
			ids[i] = r.Header.Get("Ce-Id") + fmt.Sprint("-", i)
			r.Header.Set("Ce-Id", ids[i])
			posted.Go(func() { p.post(t.Context(), t, r) })
			if i == before-1 {
				p.awaitEnds(t, ids[:before])
			}
		}
		kill(t, process, proxy, held.Reached())
		// Next, it deletes a pod and does not tell.
		done := make(chan struct{})
		proxy.Heal()
		proxy.Inject(&testkit.Fault{Verb: "delete", Resource: "pods", Times: 1, Effect: testkit.HangsAfterwards(done)})
		kill(t, process, proxy, done)
		proxy.Heal()
		posted.Wait()
		p.awaitEnds(t, ids)
		acted, dead, repeated := 0, 0, 0
		for i, id := range ids {
			a, d := p.end(id)
			acted, dead = acted+min(a, 1), dead+d
			if a+d != 1 {
				t.Errorf("alert %s was answered %d times with success and %d times dead-lettered", id, a, d)
			}
			if calls := len(p.services(id)); calls > 1 {
				repeated++
			}
			if a > 0 && k.env.Lives(t, pods[i]) {
				t.Errorf("pod %s lives, of which the function says that it is gone", pods[i].Name)
			}
		}
		t.Logf("%d accepted = %d acted on + %d dead-lettered; %d were called again; the function was started %d times again",
			alerts, acted, dead, repeated, process.Status().Restarts)
		if acted+dead != alerts || repeated < 5 || repeated > alerts-before || process.Status().Restarts != 2 {
			t.Errorf("%d accepted, %d acted on, %d dead-lettered, %d called again, %d restarts", alerts, acted, dead, repeated, process.Status().Restarts)
		}
	})
}

// kill ends a function by SIGKILL when it is in the middle of work, and returns when it is dead.
func kill(t *testing.T, process *functions.Process, proxy *testkit.Proxy, atWork <-chan struct{}) {
	t.Helper()
	testkit.Eventually(t, "the function is in the middle of work", func(context.Context) error {
		select {
		case <-atWork:
			return nil
		default:
			return fmt.Errorf("the requests are %v", proxy.Changed())
		}
	})
	pid := process.Status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill process %d: %v", pid, err)
	}
	testkit.Eventually(t, "the function is dead", func(context.Context) error {
		now := process.Status()
		return unless(now.PID != pid, "it is %+v", now)
	})
}

// awaitEnds waits until each event is answered with success or dead-lettered.
func (p *place) awaitEnds(t *testing.T, ids []string) {
	t.Helper()
	testkit.Eventually(t, "each alert is answered or dead-lettered", func(context.Context) error {
		open := 0
		for _, id := range ids {
			if acted, dead := p.end(id); acted+dead == 0 {
				open++
			}
		}
		return unless(open == 0, "%d are open", open)
	})
}

// end counts how often an event was answered with success, and how often it became a dead letter.
func (p *place) end(id string) (acted, dead int) {
	for _, c := range p.all() {
		switch {
		case c.id() != id:
		case c.service() == "dead-letter":
			dead++
		case c.Status == http.StatusOK:
			acted++
		}
	}
	return acted, dead
}

func statuses(calls []call) []int {
	list := []int{}
	for _, c := range calls {
		list = append(list, c.Status)
	}
	return list
}
