package function

import (
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, "release")) }

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "release") }
