package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/standin"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// runFunction runs a function's program at the name of its Service, and starts it again
// when it ends.
func (k *knative) runFunction(t *testing.T, j *journal, namespace, name string, settings ...string) *functions.Process {
	t.Helper()
	binary := functions.Binary(testkit.Root(t), name)
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v; make build builds it", err)
	}
	log, err := os.Create(filepath.Join(testkit.Root(t), "dist", "e2e", namespace+"-"+name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = log.Close()
		if !t.Failed() {
			_ = os.Remove(log.Name())
		}
	})
	p, err := functions.Start(t.Context(), functions.Spec{
		Name: name, Binary: binary, Log: log, Env: append(slices.Clone(unbound), settings...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	k.street.build(t, namespace, name, j.of(lead(func() string { return p.Status().Address })))
	return p
}

// unbound are settings of every function here: many scenarios at once would share its budgets.
var unbound = []string{"LISTEN_ADDRESS=127.0.0.1:0", "BUDGET_FUNCTION=off", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off"}

// settingsOf are what a shipped function needs to run here.
func settingsOf(t *testing.T, env *testkit.Env, outside *standin.Services, name string) []string {
	t.Helper()
	var settings []string
	switch name {
	case "slack":
		return []string{"SLACK_WEBHOOK_URL=" + outside.SlackWebhookURL()}
	case "lambda":
		return []string{
			"LAMBDA_FUNCTION=lock-account", "AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL=" + outside.AWSEndpointURL(),
			"AWS_ACCESS_KEY_ID=stand-in", "AWS_SECRET_ACCESS_KEY=stand-in", "AWS_EC2_METADATA_DISABLED=true",
		}
	case "label":
		settings = append(settings, "LABELS=riposte.dev/suspect=true")
	case "collect-evidence":
		settings = append(settings, "ARTIFACT_URL=file://"+t.TempDir())
	}
	return append(settings, "KUBECONFIG="+env.ServiceAccountKubeconfig(t, name))
}

// accepts is a dead-letter sink.
func accepts() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
}
