//go:build e2enode

package e2enode_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestDeletePodKillsARealContainer(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment, pods := peers(t, env.Namespace(t), "worker", 2)
	victim, other := pods[0], pods[1]
	doomed, spared := testkit.ContainerID(t, victim), testkit.ContainerID(t, other)
	if len(processesOf(t, doomed)) == 0 {
		t.Fatalf("the container %s has no processes", doomed)
	}
	untouched := processesOf(t, spared)

	start(t, "delete-pod").alert(t, testkit.AlertFor(t, victim)).Expect(t, "200 applied")

	testkit.Eventually(t, "the victim's processes are gone", func(context.Context) error {
		if left := processesOf(t, doomed); len(left) > 0 {
			return fmt.Errorf("processes %v are there", left)
		}
		return nil
	})
	env.Ready(t, deployment)
	now := env.Pods(t, deployment)
	if len(now) != 2 || now[0].UID == victim.UID || now[1].UID == victim.UID {
		t.Fatalf("the pods are %s: want a new one for %s", testkit.Names(now), victim.Name)
	}
	for _, p := range now {
		testkit.Eventually(t, "pod "+p.Name+" serves", func(ctx context.Context) error {
			host, err := of(other).Try(ctx, data(p))
			if err == nil && host != p.Name {
				err = errors.New(host + " answers")
			}
			return err
		})
	}
	if after := processesOf(t, spared); len(after) == 0 || !slices.Equal(after, untouched) {
		t.Errorf("the other pod's processes are %v, they were %v", after, untouched)
	}
}
