package function

import (
	"fmt"
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Credentials belong to the process: the AWS SDK reads them from its environment.
func TestMain(m *testing.M) {
	for name, value := range artifacttest.Environment() {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(testkit.Main(m, "collect-evidence"))
}

func TestConform(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, dryRun := range map[string]string{"in earnest": "false", "in a dry run": "true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := env.NewProxy(t, env.Account(t, "collect-evidence"))
			testkit.Conform(t, New, settings{
				"KUBECONFIG": proxy.Kubeconfig, "ARTIFACT_URL": "file://" + t.TempDir(), "CLAIMS": "memory", "DRY_RUN": dryRun,
			})
			if changed := proxy.Changed(); len(changed) > 0 {
				t.Errorf("it changed %v", changed)
			}
		})
	}
}

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "collect-evidence") }
