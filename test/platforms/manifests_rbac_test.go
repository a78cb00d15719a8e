package platforms

import (
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// Every function's account may do what its rbac.yaml binds, and nothing of what an attacker would like to have. That each
// permission is used is proved where the function is tested (testkit.Main), that it does its job with no other by
// everything here that starts one.
func TestRBAC(t *testing.T) {
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) { testkit.CheckRBAC(t, name) })
	}
}
