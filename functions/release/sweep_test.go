package function

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// What has expired in the store is removed by whichever function comes along.
func TestExpiredRecordsAreSwept(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	admin, err := kube.NewClient(env.Config, false, "riposte-test")
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, settings{"LEVELS": "pod,node", "CLAIMS": "lease"}) // Its account comes with the namespace.
	leases, prefix := kube.NewLeases(admin, "riposte"), env.Namespace(t)
	for n := range 20 {
		if _, err := leases.Create(t.Context(), fmt.Sprint(prefix, "/", n), []byte("x"), time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	strike(t, r)
	testkit.Eventually(t, "the function removes expired records", func(context.Context) error {
		for _, request := range r.Proxy.Requests() {
			if request.Verb == "delete" && request.Resource == "leases" && request.Status/100 == 2 {
				return nil
			}
		}
		return errors.New("it has removed none")
	})
}
