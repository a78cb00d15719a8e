package function

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestFailuresOfTheAPIServer(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	type fault = testkit.Fault
	short := settings{"RESPONSE_TIMEOUT": "4s", "EVICT_TIMEOUT": "0s"} // long enough for all that does not hang
	for name, tc := range map[string]struct {
		fault    *fault
		want     string // of the alert
		lives    bool   // the pod, after it
		again    string // of the same alert once the API server is well
		deleted  int    // how many deletions were sent until then
		settings settings
	}{
		"a deletion that is throttled once is sent when it may be": {
			&fault{Verb: "delete", Times: 1, Effect: testkit.Answers(http.StatusTooManyRequests, 1)}, "200 applied", false, "200 skipped gone", 2, nil,
		},
		"a deletion that stays throttled is left to the sender": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusTooManyRequests, 1)}, "429", true, "200 applied", 4, nil,
		},
		"a deletion that is throttled without a time": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusTooManyRequests, 0)}, "500", true, "200 applied", 1, nil,
		},
		"a deletion that is answered 500": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500", true, "200 applied", 1, nil,
		},
		"a deletion that is answered 503": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusServiceUnavailable, 0)}, "500", true, "200 applied", 1, nil,
		},
		"a deletion that hangs": {
			&fault{Verb: "delete", Effect: testkit.Hangs()}, "500", true, "200 applied", 1, short,
		},
		"a deletion in conflict with nobody knows what": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusConflict, 0)}, "500", true, "200 applied", 1, nil,
		},
		"a deletion whose connection breaks before": {
			&fault{Verb: "delete", Effect: testkit.Resets()}, "500", true, "200 applied", 1, nil,
		},
		"a deletion whose connection breaks after": {
			&fault{Verb: "delete", Effect: testkit.ResetsAfterwards()}, "500", false, "200 skipped gone", 1, nil,
		},
		"a deletion whose answer is cut short": {
			&fault{Verb: "delete", Effect: testkit.Truncates()}, "500", false, "200 skipped gone", 1, nil,
		},
		"a deletion that is answered by somebody else": {
			&fault{Verb: "delete", Effect: testkit.Says("application/json", `{"status":"ok"}`)}, "500", true, "200 applied", 1, nil,
		},
		"a deletion that is forbidden": {
			&fault{Verb: "delete", Effect: testkit.Answers(http.StatusForbidden, 0)}, "422", true, "200 applied", 1, nil,
		},
		"a pod that cannot be read": {
			&fault{Resource: "pods", Verb: "get", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500", true, "200 applied", 0, nil,
		},
		"a namespace that cannot be read": {
			&fault{Resource: "namespaces", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500", true, "200 applied", 0, nil,
		},
		"a namespace that may not be read": {
			&fault{Resource: "namespaces", Effect: testkit.Answers(http.StatusForbidden, 0)}, "422", true, "200 applied", 0, nil,
		},
		"an owner that cannot be read": {
			&fault{Resource: "deployments", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500", true, "200 applied", 0, nil,
		},
		"an owner that hangs": {
			&fault{Resource: "replicasets", Effect: testkit.Hangs()}, "500", true, "200 applied", 0, short,
		},
		"a pod whose connection breaks once is read again": {
			&fault{Resource: "pods", Verb: "get", Times: 1, Effect: testkit.Resets()}, "200 applied", false, "200 skipped gone", 1, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
			r := run(t, tc.settings)
			r.Proxy.Inject(tc.fault)
			alert := testkit.AlertFor(t, pod)

			answer := testkit.Post(t, r, alert)

			answer.Expect(t, tc.want)
			if after := answer.Header.Get("Retry-After"); (after == "1") != (tc.want == "429") {
				t.Errorf("the answer has Retry-After %q", after)
			}
			if got := env.Lives(t, pod); got != tc.lives {
				t.Errorf("the pod lives: %t, want %t", got, tc.lives)
			}
			if got := len(r.Proxy.Changes()); got != tc.deleted {
				t.Errorf("%d changes were sent, want %d", got, tc.deleted)
			}
			if kind := r.Errors(t)["unknown"]; kind != "" {
				t.Errorf("%s errors were of no known kind", kind)
			}
			r.Proxy.Heal()
			testkit.Post(t, r, alert).Expect(t, tc.again)
			if env.Lives(t, pod) {
				t.Error("the pod still lives")
			}
		})
	}
}

func TestManyCopiesOfAnAlertAtOnceDeleteOnce(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 2)
	pods := env.Deploy(t, deployment)
	r := run(t, nil)
	alert := testkit.AlertFor(t, pods[0])
	const copies = 20
	var mu sync.Mutex
	outcomes, applied := map[string]int{}, map[string]bool{}
	var all sync.WaitGroup
	for range copies {
		all.Go(func() {
			answer := testkit.Post(t, r, alert)
			mu.Lock()
			defer mu.Unlock()
			if answer.Status != http.StatusOK {
				t.Errorf("the answer is %q: %s", answer.Verdict(), answer.Body)
			}
			outcomes[answer.Attributes["outcome"]]++
			if answer.Attributes["outcome"] == "applied" {
				applied[answer.Attributes["id"]] = true
			}
		})
	}
	all.Wait()
	// To deletions of one pod in the same instant the API server may say yes twice; the outcome is one then too, by its id.
	if len(applied) != 1 || outcomes["applied"]+outcomes["skipped"]+outcomes["unchanged"] != copies {
		t.Errorf("the outcomes are %v with the ids %v, want one applied and the others skipped or unchanged", outcomes, applied)
	}
	env.Ready(t, deployment)
	if now := env.Pods(t, deployment); !env.Lives(t, pods[1]) || len(now) != 2 {
		t.Errorf("the pods are now %s, were %s", testkit.Names(now), testkit.Names(pods))
	}
}

func TestPermissionsThatAreTakenAway(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	account := env.AccountWith(t, "delete-pod", "riposte-delete-pod")
	r := env.RunAs(t, account, New(), nil)
	alert := testkit.AlertFor(t, pod)
	account.Unbind(t)
	testkit.Post(t, r, alert).Expect(t, "422")
	if diff := cmp.Diff(map[string]string{"permanent": "1"}, r.Errors(t)); diff != "" {
		t.Errorf("errors by kind (-want +got):\n%s", diff)
	}
	if !env.Lives(t, pod) {
		t.Error("the pod is gone")
	}
}

func TestEveryFormOfAnAlertDeletes(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	r := run(t, nil)
	for name, request := range map[string]func(testkit.Capture) *http.Request{
		"cloudevent": func(c testkit.Capture) *http.Request { return c.CloudEvent(t, "") },
		"openfaas":   func(c testkit.Capture) *http.Request { return c.OpenFaaS(t, "") },
		"webhook":    func(c testkit.Capture) *http.Request { return c.Webhook(t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, testkit.Deployment(namespace, name, 1))[0]
			c := testkit.Find(t, "03").Retarget(testkit.To(t, pod, time.Now()))
			testkit.Send(t, r, request(c), nil).Expect(t, "200 applied")
			if env.Lives(t, pod) {
				t.Error("the pod lives")
			}
		})
	}
}

// process is the function as a program of its own.
type process struct {
	command *exec.Cmd
	url     string
}

// startProcess starts a function's binary behind a proxy, without claims unless the environment says otherwise, and waits
// until it listens.
func startProcess(t *testing.T, binary string, proxy *testkit.Proxy, environment ...string) *process {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), "KUBECONFIG="+proxy.Kubeconfig, "LISTEN_ADDRESS=127.0.0.1:0", "CLAIMS=none")
	command.Env = append(command.Env, environment...)
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command: command}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "listening" {
			p.url = "http://" + line.Address + "/"
			break
		}
	}
	if p.url == "" {
		t.Fatalf("the function did not start to listen: %v", lines.Err())
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // nobody reads it, but it must not fill the pipe
	return p
}

// post sends an alert and gives nil where the connection broke.
func (p *process) post(t *testing.T, alert []byte) *http.Response {
	t.Helper()
	r := testkit.Find(t, "03").CloudEvent(t, p.url)
	fresh, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, bytes.NewReader(alert))
	if err != nil {
		t.Error(err)
		return nil
	}
	fresh.Header = r.Header
	fresh.Header.Del("Content-Length")
	response, err := (&http.Transport{}).RoundTrip(fresh)
	if err != nil {
		return nil
	}
	return response
}

func TestFunctionThatIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	binary := testkit.Binary(t, "delete-pod")
	for name, tc := range map[string]struct {
		hang func(done chan<- struct{}) testkit.Effect
		want string // of the alert when it is delivered again
	}{
		"before the api server has deleted": {func(chan<- struct{}) testkit.Effect { return testkit.Hangs() }, "200 applied"},
		"after the api server has deleted":  {testkit.HangsAfterwards, "200 skipped gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deployment := testkit.Deployment(env.Namespace(t), "web", 1)
			pod := env.Deploy(t, deployment)[0]
			alert := testkit.AlertFor(t, pod)
			proxy := env.NewProxy(t, env.Account(t, "delete-pod"))
			done := make(chan struct{})
			fault := proxy.Inject(&testkit.Fault{Verb: "delete", Times: 1, Effect: tc.hang(done)})
			victim := startProcess(t, binary, proxy)
			answered := make(chan *http.Response, 1)
			go func() { answered <- victim.post(t, alert) }()
			<-fault.Reached()
			if tc.want == "200 skipped gone" {
				<-done
			}
			if err := victim.command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if response := <-answered; response != nil {
				t.Fatalf("the killed function answered %s", response.Status)
			}

			next := startProcess(t, binary, proxy)
			testkit.ReadAnswer(t, next.post(t, alert)).Expect(t, tc.want)

			env.Ready(t, deployment)
			if now := env.Pods(t, deployment); len(now) != 1 || now[0].UID == pod.UID {
				t.Errorf("the pods are %s, the old one was %s", testkit.Names(now), pod.Name)
			}
			if succeeded := succeeded(proxy); succeeded != 1 && tc.want == "200 applied" {
				t.Errorf("%d deletions succeeded, want one", succeeded)
			}
			// The one that took its place is never touched, however often the alert comes.
			replacement := env.Pods(t, deployment)[0]
			testkit.ReadAnswer(t, next.post(t, alert)).Expect(t, "200 skipped gone")
			if !env.Lives(t, replacement) {
				t.Error("the replacement is gone")
			}
		})
	}
}

func TestKubeconfigOfTheUserIsNeverUsedByItself(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	binary := testkit.Binary(t, "delete-pod")
	home := t.TempDir()
	content, err := os.ReadFile(env.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(home, ".kube"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".kube", "config"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary)
	command.Env = []string{"HOME=" + home, "LISTEN_ADDRESS=127.0.0.1:0"}
	said, err := command.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(said), "KUBECONFIG") {
		t.Errorf("it gives %v and says %q, want status 2 and the variable's name", err, said)
	}
}

// succeeded counts the changes that the API server has carried out and said so.
func succeeded(p *testkit.Proxy) int {
	count := 0
	for _, change := range p.Changes() {
		if change.Status == http.StatusOK {
			count++
		}
	}
	return count
}
