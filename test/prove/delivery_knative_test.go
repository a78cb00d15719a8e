//go:build prove

package prove

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// knativeManifests are a Broker and its Trigger. %[1]s is the namespace, %[2]s the function's address, %[3]s the dead
// letters'.
const knativeManifests = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: %[1]s, annotations: {messaging.knative.dev/async-handler: "true"}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: everything, namespace: %[1]s, labels: {eventing.knative.dev/broker: default}}
spec:
  broker: default
  filters: [{exact: {rule: Drop and execute new binary in container}}, {exact: {type: falco.rule.output.v1}}]
  subscriber: {uri: "http://%[2]s/"}
  delivery:
    {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.1S, timeout: PT10S, deadLetterSink: {uri: "%[3]s/"}}
`

// overKnative sends a crowd to the ingress of a real Broker, as Falcosidekick does, while slack is killed at random.
func overKnative(p proof, e *testkit.Env) {
	bodies, ids, l := crowdOf(p, crowd)
	webhook := httptest.NewServer(l)
	defer webhook.Close()
	graves := &graves{letters: map[string]bool{}}
	dead := httptest.NewServer(graves)
	defer dead.Close()
	slack := newVictim(p.T, "slack", slackSettings(webhook.URL)...)
	broker := startKnative(p, e) + "/" + apply(p, e, slack.address, dead.URL) + "/default"

	ctx, stop := context.WithTimeout(p.Context(), 4*time.Minute)
	defer stop()
	open(p, broker, l)
	chaos, calm := context.WithCancel(ctx)
	haunted := haunt(chaos, 3, slack)
	accepted := sendAll(ctx, p, broker, falcosidekick("alert"), bodies)
	calm()
	<-haunted
	testkit.Eventually(p.T, "every alert ends somewhere", func(context.Context) error {
		acted, _ := l.count(ids)
		if ended := acted + graves.count(); ended < accepted {
			return fmt.Errorf("%d of %d have ended", ended, accepted)
		}
		return nil
	})
	acted, repeats := l.count(ids)
	wrong := 0
	for data := range graves.letters {
		if !contains(bodies, data) {
			wrong++
		}
	}
	ended := graves.count()
	p.row("Knative: accepted = acted on + dead-lettered, while the function is killed",
		fmt.Sprintf("%d = %d + %d (%d SIGTERM, %d SIGKILL; %d acted on again)", accepted, acted, ended, slack.terminations, slack.murdered, repeats),
		fmt.Sprintf("%d, all accepted", crowd), accepted == crowd && acted+ended == accepted && wrong == 0)
}

// falcosidekick are the headers of an alert in a CloudEvent, as Falcosidekick sends it.
func falcosidekick(id string) http.Header {
	return http.Header{
		"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"falco.rule.output.v1"},
		"Ce-Source": {"https://falco.org"}, "Ce-Id": {id}, "Ce-Rule": {"Drop and execute new binary in container"},
		"Ce-Priority": {"Critical"}, "Ce-Eventsource": {"syscall"},
	}
}

// open waits until the Broker delivers: a Trigger is ready a little before that.
func open(p proof, broker string, l *ledger) {
	bodies, ids, _ := crowdOf(p, 1)
	testkit.Eventually(p.T, "the Broker delivers", func(ctx context.Context) error {
		if err := persistently(ctx, broker, falcosidekick("probe"), bodies[0]); err != nil {
			return err
		}
		if acted, _ := l.count(ids); acted == 0 {
			return errors.New("the probe has not come")
		}
		return nil
	})
}

// startKnative runs Knative Eventing's control and data plane, and gives back where events are posted.
func startKnative(p proof, e *testkit.Env) string {
	command := exec.Command(filepath.Join(testkit.Root(p), "dist", "bin", "knative"), "--kubeconfig", e.Kubeconfig)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := command.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	if err := command.Start(); err != nil {
		p.Fatalf("start Knative: %v", err)
	}
	p.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ingress, found := strings.CutPrefix(strings.TrimSpace(line), "INGRESS=")
	if err != nil || !found {
		p.Fatalf("Knative said %q (%v)", line, err)
	}
	return ingress
}

// apply makes the Broker and its Trigger in a namespace of their own, and returns its name when they are ready.
func apply(p proof, e *testkit.Env, function, deadLetters string) string {
	namespace := e.Namespace(p.T)
	client, err := dynamic.NewForConfig(e.Config)
	if err != nil {
		p.Fatal(err)
	}
	group := schema.GroupVersion{Group: "eventing.knative.dev", Version: "v1"}
	for doc := range strings.SplitSeq(fmt.Sprintf(knativeManifests, namespace, function, deadLetters), "---") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &object.Object); err != nil {
			p.Fatal(err)
		}
		resource := client.Resource(group.WithResource(strings.ToLower(object.GetKind()) + "s")).Namespace(namespace)
		if _, err := resource.Create(p.Context(), &object, metav1.CreateOptions{}); err != nil {
			p.Fatalf("create %s: %v", object.GetKind(), err)
		}
		testkit.Eventually(p.T, object.GetKind()+" is ready", func(ctx context.Context) error {
			now, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
			for _, c := range conditions {
				if c, ok := c.(map[string]any); ok && c["type"] == "Ready" && c["status"] == "True" {
					return nil
				}
			}
			return errors.Join(fmt.Errorf("its conditions are %v", conditions), err)
		})
	}
	return namespace
}

// graves is a dead-letter sink.
type graves struct {
	mu      sync.Mutex
	letters map[string]bool
}

// ServeHTTP keeps an event by its data: the ids are all the same here.
func (g *graves) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cut off", http.StatusInternalServerError)
		return
	}
	g.mu.Lock()
	g.letters[string(body)] = true
	g.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

func (g *graves) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.letters)
}
