package function

import (
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestTwoDeploymentsInOneNamespaceBothAnswerAnAlert(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := newPod(t, env, nil)
	alert := testkit.AlertFor(t, pod)
	for _, labels := range []string{"quarantine=true", "investigate=true"} {
		r := run(t, settings{"CLAIMS": "lease", "LABELS": labels, "BUDGET_WORKLOAD": "off"})
		for range 2 { // The second is a redelivery.
			testkit.Post(t, r, alert).Expect(t, "200 applied")
		}
		if changed := r.Proxy.Changed(); len(changed) == 0 {
			t.Errorf("the deployment with LABELS=%s changed nothing", labels)
		}
	}
}
