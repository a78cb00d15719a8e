package function

import (
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, "taint")) }

func TestConform(t *testing.T) { testkit.ConformOnCluster(t, "taint", New, nil) }

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "taint") }
