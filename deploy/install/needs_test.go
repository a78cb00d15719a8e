package install

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// A cluster that does not answer is said once, and is not asked about each object: that could take half a minute for each.
func TestClusterThatDoesNotAnswer(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	t.Setenv("KUBECONFIG", kubeconfig(t, server.URL))
	for name, o := range map[string]Options{
		"deploy on knative": {Platform: "knative"}, "undeploy on knative": {Platform: "knative", Undeploy: true},
		"deploy on openfaas": {Platform: "openfaas"}, "undeploy on openfaas": {Platform: "openfaas", Undeploy: true},
		"deploy on lambda": {Platform: "lambda"}, "undeploy on lambda": {Platform: "lambda", Undeploy: true},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			var out bytes.Buffer
			o.Root, o.With, o.DryRun, o.Plan, o.Out = root, "ko", true, true, &out
			if err := Run(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "missing: an answer of "+server.URL); n != 1 {
				t.Errorf("that it does not answer is said %d times, want once:\n%s", n, out.Bytes())
			}
			if n := asked.Load(); n > 20 {
				t.Errorf("it was asked %d times", n)
			}
			o.Plan = false
			out.Reset()
			if err := Run(t.Context(), o); err == nil || out.Len() > 0 {
				t.Errorf("the error is %v, and this was done:\n%s", err, out.Bytes())
			}
		})
	}
}

func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + server + "'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: ''}}]\ncurrent-context: c\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComponents(t *testing.T) {
	for kind, want := range map[schema.GroupVersionKind]string{
		{Group: "serving.knative.dev", Kind: "Service"}:               "Knative Serving",
		{Group: "eventing.knative.dev", Kind: "Broker"}:               "Knative Eventing",
		{Group: "eventing.knative.dev", Kind: "RabbitmqBrokerConfig"}: "Broker for RabbitMQ",
		{Group: "rabbitmq.com", Kind: "RabbitmqCluster"}:              "cluster operator",
	} {
		if got := component(kind); !strings.Contains(got, want) {
			t.Errorf("%s is served by %q, want %q", kind.GroupKind(), got, want)
		}
	}
}

func TestSecretsOf(t *testing.T) {
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(`
spec:
  template:
    spec:
      containers:
        - env:
            - {name: A, value: text}
            - {name: B, valueFrom: {secretKeyRef: {name: one, key: b}}}
            - {name: C, valueFrom: {secretKeyRef: {name: spared, key: c, optional: true}}}
            - {name: D, valueFrom: {configMapKeyRef: {name: map, key: d}}}
          envFrom:
            - secretRef: {name: whole}
            - secretRef: {name: spared, optional: true}
            - configMapRef: {name: map}
      volumes:
        - {name: e, secret: {secretName: mounted}}
        - {name: f, secret: {secretName: spared, optional: true}}
        - {name: g, emptyDir: {}}
`), &u.Object); err != nil {
		t.Fatal(err)
	}
	want := []secretKey{{"one", "b"}, {"whole", ""}, {"mounted", ""}}
	if diff := cmp.Diff(want, secretsOf(u), cmp.AllowUnexported(secretKey{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if secret, service := object("v1", "Secret", "s", ""), object("serving.knative.dev/v1", "Service", "s", ""); rank(secret) >= rank(service) {
		t.Error("a Secret comes after the Service that reads it")
	}
}

// The real faas-cli exits with 0 from remove --yaml whatever the gateway says, with 1 from remove NAME, also where there is no
// such function. This one answers as it does.
func TestRemoveFunction(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		fails  bool
	}{
		"it is removed":               {`[ "$*" = "remove label" ] && echo Removing old function.`, false},
		"there is none":               {"echo No existing function to remove >&2; exit 1", false},
		"the gateway does not answer": {"echo connection refused >&2; exit 1", true},
		"the gateway does not let it": {"echo unauthorized access >&2; exit 1", true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, "faas-cli"), []byte("#!/bin/sh\n"+tc.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", folder)
			var out bytes.Buffer
			err := Options{Root: root, Out: &out}.removeFunction("label").do(t.Context())
			if fails := err != nil; fails != tc.fails || out.Len() == 0 {
				t.Errorf("the error is %v, want one: %t; it says %q", err, tc.fails, out.Bytes())
			}
		})
	}
}
