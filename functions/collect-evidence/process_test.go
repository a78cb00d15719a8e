package function

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// process is the function as a program of its own.
type process struct {
	command *exec.Cmd
	url     string
}

func startProcess(t *testing.T, binary string, env settings) *process {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), "LISTEN_ADDRESS=127.0.0.1:0")
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
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
	for p.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			p.url = "http://" + line.Address + "/"
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
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, bytes.NewReader(alert))
	if err != nil {
		t.Error(err)
		return nil
	}
	request.Header = testkit.Find(t, "03").CloudEvent(t, p.url).Header
	request.Header.Del("Content-Length")
	response, err := (&http.Transport{}).RoundTrip(request)
	if err != nil {
		return nil
	}
	return response
}

func TestFunctionThatIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	binary := testkit.Binary(t, "collect-evidence")
	server := artifacttest.Start(t)
	pod := deploy(t)
	for name, tc := range map[string]struct {
		place place
		// left is what the bundle of the killed one may be.
		step string
	}{
		"while logs go to a folder":            {folder(t), "log"},
		"while logs go to a bucket":            {bucket(server), "log"},
		"before the manifest goes to a bucket": {bucket(artifacttest.Start(t)), "last look"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alert := testkit.AlertFor(t, pod)
			proxy := env.NewProxy(t, env.Account(t, "collect-evidence"))
			settings := maps.Clone(artifacttest.Environment())
			maps.Copy(settings, map[string]string{"KUBECONFIG": proxy.Kubeconfig, "ARTIFACT_URL": tc.place.address, "CLAIMS": "memory"})
			fault := &testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Hangs())}
			if tc.step == "last look" {
				fault = &testkit.Fault{Resource: "pods", After: 2, Times: 1, Effect: testkit.Hangs()}
			}
			proxy.Inject(fault)
			victim := startProcess(t, binary, settings)
			answered := make(chan *http.Response, 1)
			go func() { answered <- victim.post(t, alert) }()
			<-fault.Reached()
			testkit.Eventually(t, "the pod's manifest is stored", func(context.Context) error {
				for key := range tc.place.objects(t) {
					if strings.HasSuffix(key, "/pod.json") {
						return nil
					}
				}
				return errors.New("it is not")
			})
			if err := victim.command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if response := <-answered; response != nil {
				t.Fatalf("the killed function answered %s", response.Status)
			}
			for key := range tc.place.objects(t) {
				if strings.HasSuffix(key, "/"+manifestName) {
					t.Fatalf("there is %s", key)
				}
			}
			proxy.Heal()

			next := startProcess(t, binary, settings)
			answer := testkit.ReadAnswer(t, next.post(t, alert))
			answer.Expect(t, "200 applied")
			discardHalves(t, tc.place)
			s := find(t, tc.place)
			if len(s.manifest.Missing) > 0 || decode[corev1.Pod](t, s.files["pod.json"]).UID != pod.UID {
				t.Errorf("missing is %+v", s.manifest.Missing)
			}
			checkOutcome(t, s, answer, tc.place)
		})
	}
}

// discardHalves removes what a killed writer has left beside the place of a file.
func discardHalves(t *testing.T, p place) {
	t.Helper()
	for key := range p.objects(t) {
		if strings.HasSuffix(key, ".tmp") {
			remove(t, p, key)
		}
	}
}
