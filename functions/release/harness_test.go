package function

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

type (
	settings = map[string]string
	object   = map[string]any
)

// run starts release: with all of its roles, or, where settings say fewer levels, under its own account.
func run(t *testing.T, s settings) *testkit.Running {
	t.Helper()
	env := testkit.Cluster(t)
	all := settings{"LEVELS": "pod,node,namespace,owner"}
	maps.Copy(all, s)
	if !strings.Contains(all["LEVELS"], "owner") {
		return env.Run(t, "release", New(), all)
	}
	account := env.AccountWith(t, "release", "riposte-release", "riposte-release-namespace", "riposte-release-owner")
	return env.RunAs(t, account, New(), all)
}

// strike lets the clock strike.
func strike(t *testing.T, r *testkit.Running) testkit.Answer {
	t.Helper()
	return event(t.Context(), t, r, typeTick, nil)
}

// ask sends a request.
func ask(t *testing.T, r *testkit.Running, request any) testkit.Answer {
	t.Helper()
	return event(t.Context(), t, r, "dev.riposte.release.v1", request)
}

// typeTick is what Knative's PingSource sends.
const typeTick = "dev.knative.sources.ping"

func event(ctx context.Context, t *testing.T, r *testkit.Running, kind string, data any) testkit.Answer {
	t.Helper()
	body := []byte{}
	if data != nil {
		var err error
		if body, err = json.Marshal(data); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://release.example/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	envelope := settings{"Ce-Specversion": "1.0", "Ce-Id": "e-1", "Ce-Source": "/test", "Ce-Type": kind, "Content-Type": "application/json"}
	for name, value := range envelope {
		request.Header.Set(name, value)
	}
	return testkit.Send(t, r, request, nil)
}

// this is the request that names an object.
func this(o testkit.Object, kind string) object {
	request := object{"kind": kind, "name": o.GetName(), "uid": string(o.GetUID())}
	if o.GetNamespace() != "" {
		request["namespace"] = o.GetNamespace()
	}
	return request
}

// built are the programs of the other functions. Each is built once for all tests.
var built struct {
	sync.Mutex
	paths map[string]string
}

func binary(t *testing.T, function string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.paths == nil {
		built.paths = map[string]string{}
	}
	if built.paths[function] == "" {
		built.paths[function] = testkit.Binary(t, function)
	}
	return built.paths[function]
}

// process is another function, as its users run it: release knows nothing of it but what it leaves on the object.
type process struct{ url string }

// start runs a function with all the roles that its rbac.yaml has.
func start(t *testing.T, function string, s settings, roles ...string) *process {
	t.Helper()
	env := testkit.Cluster(t)
	account := env.Account(t, function)
	if len(roles) > 0 {
		account = env.AccountWith(t, function, append(roles, "riposte-"+function)...)
	}
	all := settings{
		"KUBECONFIG": env.NewProxy(t, account).Kubeconfig, "LISTEN_ADDRESS": "127.0.0.1:0", "CLAIMS": "none", "SKIP_DAEMONSETS": "false",
		"BUDGET_FUNCTION": "off", "BUDGET_WORKLOAD": "off", "BUDGET_CLUSTER": "off",
	}
	maps.Copy(all, s)
	command := exec.CommandContext(t.Context(), binary(t, function))
	command.Env = []string{}
	for name, value := range all {
		command.Env = append(command.Env, name+"="+value)
	}
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", function, err)
	}
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer close(address)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				address <- line.Address
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-drained
		_ = command.Wait()
	})
	at, ok := <-address
	if !ok {
		t.Fatalf("%s with %v did not start", function, s)
	}
	return &process{url: "http://" + at}
}

// post sends an alert about the pod.
func (p *process) post(t *testing.T, alert []byte) testkit.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, bytes.NewReader(alert))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatalf("post an alert: %v", err)
	}
	return testkit.ReadAnswer(t, answer)
}

// contain lets the function answer a new alert about the pod, and demands that it does.
func (p *process) contain(t *testing.T, pod corev1.Pod, edits ...testkit.Edit) testkit.Answer {
	t.Helper()
	answer := p.post(t, testkit.AlertFor(t, pod, edits...))
	if outcome := answer.Attributes["outcome"]; outcome != "applied" {
		t.Fatalf("the containment is %q: %s", answer.Verdict(), answer.Body)
	}
	return answer
}

// asItWas is all of an object but what the API server keeps for itself, and, where the kind's status goes on changing, its status.
func asItWas(t *testing.T, o testkit.Object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	metadata, _ := m["metadata"].(map[string]any)
	for _, key := range []string{"managedFields", "resourceVersion", "generation"} {
		delete(metadata, key)
	}
	if _, pod := o.(*corev1.Pod); !pod {
		delete(m, "status")
	}
	if b, err = json.MarshalIndent(m, "", " "); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// released waits until ticks have released something, and gives that answer. Ticks release whatever is due, that of other
// tests too: only the answer about this object counts, and only release's SELECTOR keeps the others out.
func released(t *testing.T, r *testkit.Running) testkit.Answer {
	t.Helper()
	var answer testkit.Answer
	testkit.Eventually(t, "it is released", func(ctx context.Context) error {
		if answer = event(ctx, t, r, typeTick, nil); answer.Status != http.StatusNoContent && answer.Status != http.StatusOK {
			return fmt.Errorf("a tick is answered %q: %s", answer.Verdict(), answer.Body)
		}
		if answer.Attributes["outcome"] != "applied" {
			return errors.New("nothing was due")
		}
		return nil
	})
	return answer
}

// list reads details.released.
func list(t *testing.T, a testkit.Answer) []Released {
	t.Helper()
	var details struct{ Released []Released }
	b, err := json.Marshal(a.Record.Details)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &details); err != nil {
		t.Fatal(err)
	}
	return details.Released
}

// mine labels an object so that this test's release alone sees it, and gives the selector.
func mine(t *testing.T, o testkit.Object) string {
	t.Helper()
	key := "test.riposte.dev/mine"
	value := strings.ReplaceAll(string(o.GetUID()), "-", "")
	testkit.Cluster(t).Patch(t, o, object{"metadata": object{"labels": object{key: value}}})
	return key + "=" + value
}

func namespaceOf(t *testing.T, name string) *corev1.Namespace {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	testkit.Cluster(t).Get(t, n)
	return n
}
