package function

import (
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, "label")) }

func TestConform(t *testing.T) {
	testkit.ConformOnCluster(t, "label", New, map[string]string{"LABELS": "quarantine=true"})
}

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "label") }
