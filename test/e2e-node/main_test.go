//go:build e2enode

package e2enode_test

import (
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }
