package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// names is the network of every embedded broker: Knative's clients are made of
// http.DefaultTransport and kept for the life of the process.
var names = broker.NewNetwork()

func TestMain(m *testing.M) {
	http.DefaultTransport = names.Transport()
	status := testkit.Main(m)
	if err := only.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		status = 1
	}
	os.Exit(status)
}
