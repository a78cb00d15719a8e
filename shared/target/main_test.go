package target_test

import (
	"os"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// newClient makes the client of a function that may do everything, by way of a proxy.
func newClient(t *testing.T, env *testkit.Env, dryRun bool) (*kube.Client, *testkit.Proxy) {
	t.Helper()
	return newClientAs(t, env.NewProxy(t, env.AdminAccount(t)), dryRun)
}

func newClientAs(t *testing.T, proxy *testkit.Proxy, dryRun bool) (*kube.Client, *testkit.Proxy) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", proxy.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewClient(config, dryRun, "riposte-test")
	if err != nil {
		t.Fatal(err)
	}
	return client, proxy
}
