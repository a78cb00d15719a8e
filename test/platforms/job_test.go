package platforms

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// job is one thing for a function to do, and what is to come of it.
type job struct {
	// event is what Falcosidekick, or whoever calls the function, sends as a CloudEvent.
	event *http.Request
	// alert is the same as a bare body, for platforms that hand on no CloudEvent.
	alert []byte
	// verdict is the answer: testkit.Answer.Verdict.
	verdict string
	// done is nil when the effect is there.
	done func() error
}

// bare is the job's alert as a request without a CloudEvent's attributes, as Falcosidekick's webhook sends it.
func (j job) bare(tb testing.TB) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://function.example/", bytes.NewReader(j.alert))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// work is a function's settings for the test cluster, and jobs for it: each call of next makes another.
type work struct {
	environ []string
	// token is what callers have to show; empty where anybody may call.
	token string
	next  func() job
}

// functions are the names of all functions of the checkout.
func functions(tb testing.TB) []string {
	tb.Helper()
	manifests, err := filepath.Glob(filepath.Join(testkit.Root(tb), "functions", "*", "func.yaml"))
	if err != nil || len(manifests) == 0 {
		tb.Fatalf("list functions: %v", err)
	}
	names := make([]string, 0, len(manifests))
	for _, m := range manifests {
		names = append(names, filepath.Base(filepath.Dir(m)))
	}
	slices.Sort(names)
	return names
}

// receiver is a server that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	sent []string
}

func newReceiver(tb testing.TB, answer string) *receiver {
	tb.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.sent = append(r.sent, q.URL.Path+" "+string(body))
		r.mu.Unlock()
		_, _ = io.WriteString(w, answer)
	}))
	tb.Cleanup(r.Close)
	return r
}

// got is nil if something with this text in it has come.
func (r *receiver) got(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.sent, func(s string) bool { return strings.Contains(s, text) }) {
		return nil
	}
	return fmt.Errorf("nothing with %q came; what came is %q", text, r.sent)
}

// workFor makes the settings of a function and its jobs. Every function of the checkout has a case.
func workFor(tb testing.TB, e *testkit.Env, name string) work {
	tb.Helper()
	// The jobs are many at once, and the store and the budgets have tests of their own.
	w := work{environ: []string{
		"DRY_RUN=false", "CLAIMS=memory", "BUDGET_FUNCTION=off", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off", "PATH=/usr/bin:/bin",
	}}
	if name != "router" && name != "dead-letter" {
		w.environ = append(w.environ, "KUBECONFIG="+e.ServiceAccountKubeconfig(tb, name))
	}
	switch name {
	case "delete-pod", "isolate", "taint":
		w.next = func() job { return onPod(tb, e, "200 applied") }
	case "label":
		w.environ = append(w.environ, "LABELS=riposte.dev/suspect=true")
		w.next = func() job { return onPod(tb, e, "200 applied") }
	case "collect-evidence":
		folder := tb.TempDir()
		w.environ = append(w.environ, "ARTIFACT_URL=file://"+folder)
		w.next = func() job {
			j := onPod(tb, e, "200 applied")
			j.done = func() error {
				found, err := filepath.Glob(filepath.Join(folder, "*"))
				if err == nil && len(found) == 0 {
					err = fmt.Errorf("%s is empty", folder)
				}
				return err
			}
			return j
		}
	case "release":
		owner := fmt.Sprintf("test-%d", time.Now().UnixNano())
		w.environ = append(w.environ, "SELECTOR="+mine+"="+owner)
		w.next = containing(tb, e, owner)
	case "slack":
		slack := newReceiver(tb, "ok")
		w.environ = append(w.environ, "SLACK_WEBHOOK_URL="+slack.URL)
		w.next = func() job { return told(tb, slack) }
	case "lambda":
		aws := newReceiver(tb, "{}")
		w.environ = append(w.environ, "LAMBDA_FUNCTION=answer", "AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL_LAMBDA="+aws.URL,
			"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true")
		w.next = func() job { return told(tb, aws) }
	case "router":
		functions := newReceiver(tb, "")
		w.environ = append(w.environ, "TRIGGERS="+filepath.Join(testkit.Root(tb), "triggers"), "AUTH=off",
			"FUNCTION_URL="+functions.URL+"/{function}")
		w.next = func() job {
			j := told(tb, functions)
			j.verdict = "204"
			return j
		}
	case "dead-letter":
		folder := tb.TempDir()
		w.environ = append(w.environ, "DEAD_LETTER_URL=file://"+folder)
		w.next = func() job { return buried(tb, folder) }
	default:
		tb.Fatalf("there is no job for %s: add one to test/platforms/job_test.go", name)
	}
	return w
}

// onPod is an alert of a pod that runs.
func onPod(tb testing.TB, e *testkit.Env, verdict string) job {
	tb.Helper()
	// A node of its own, for what changes nodes.
	pod := e.Deploy(tb, testkit.Deployment(e.Namespace(tb), "web", 1, testkit.OnNode(e.Node(tb))))[0]
	c := testkit.Find(tb, "03").Retarget(testkit.To(tb, pod, time.Now()))
	return job{event: c.CloudEvent(tb, ""), alert: c.Alert, verdict: verdict}
}

// told is an alert of a pod that need not be there, and that somebody is told of.
func told(tb testing.TB, r *receiver) job {
	tb.Helper()
	name := fmt.Sprintf("web-%d", time.Now().UnixNano())
	c := testkit.Find(tb, "03").Retarget(testkit.Retargeting{Time: time.Now(), Namespace: "shop", Pod: name, ContainerID: "abc012345678"})
	return job{
		event: c.CloudEvent(tb, ""), alert: c.Alert, verdict: "200 applied",
		done: func() error { return r.got(name) },
	}
}

// does has the program at url do one job as a CloudEvent and another as a bare alert.
func does(t *testing.T, url string, w work) {
	t.Helper()
	for form, request := range map[string]func(job) *http.Request{
		"a CloudEvent": func(j job) *http.Request { return j.event }, "a bare alert": func(j job) *http.Request { return j.bare(t) },
	} {
		j := w.next()
		r := request(j)
		if w.token != "" {
			r.Header.Set("Authorization", "Bearer "+w.token)
		}
		answer := post(t, url, r)
		if answer.Verdict() != j.verdict {
			t.Errorf("%s is answered %q, want %q; its body is\n%s", form, answer.Verdict(), j.verdict, answer.Body)
		}
		if j.done != nil {
			if err := j.done(); err != nil {
				t.Errorf("%s: %v", form, err)
			}
		}
	}
}

// post sends a request to another address than it was made for.
func post(tb testing.TB, url string, r *http.Request) testkit.Answer {
	tb.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatal(err)
	}
	fresh, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	fresh.Header = r.Header.Clone()
	response, err := http.DefaultClient.Do(fresh)
	if err != nil {
		tb.Fatal(err)
	}
	return testkit.ReadAnswer(tb, response)
}

// size is the size of a file.
func size(tb testing.TB, file string) int64 {
	tb.Helper()
	info, err := os.Stat(file)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}
