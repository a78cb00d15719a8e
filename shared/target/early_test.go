package target_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestLikelyOwners(t *testing.T) {
	t.Parallel()
	for pod, want := range map[string]map[kube.Resource]string{
		"web-768f6cfb5c-dfpqf":        {kube.ReplicaSets: "web-768f6cfb5c", kube.Deployments: "web"},
		"check-out-v2-768f6cfb5c-2k9": nil, // a suffix has five letters
		"check-out-6bb4d7-xk2fd":      {kube.ReplicaSets: "check-out-6bb4d7", kube.Deployments: "check-out"},
		"agent-x7k2p":                 nil, // a DaemonSet's or a Job's: which, the name does not say
		"web-frontend-dfpqf":          nil, // Kubernetes makes no hash with an r
		"db-0":                        {kube.StatefulSets: "db"},
		"db-main-12":                  {kube.StatefulSets: "db-main"},
		"alone":                       nil,
		"-768f6cfb5c-dfpqf":           nil,
		"-0":                          nil,
		"":                            nil,
	} {
		if diff := cmp.Diff(want, target.LikelyOwners(pod)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", pod, diff)
		}
	}
}

// passes lets a request through and says when it has come.
func passes(resource string) *testkit.Fault {
	return &testkit.Fault{Resource: resource, Effect: testkit.Meanwhile(func() {})}
}

func TestWhatIsNeededIsReadBesideThePod(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	node := env.Node(t)
	for name, test := range map[string]struct {
		level  target.Level
		beside []string
		edit   []testkit.Edit
	}{
		"a Deployment's pod":                {target.LevelPod, []string{"namespaces", "replicasets", "deployments"}, nil},
		"the node that the hostname names":  {target.LevelNode, []string{"replicasets", "nodes"}, []testkit.Edit{testkit.Set("hostname", node.Name)}},
		"the owner of what is to be marked": {target.LevelOwner, []string{"replicasets", "deployments"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, proxy := newClient(t, env, false)
			pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1, testkit.OnNode(node)))[0]
			var faults []*testkit.Fault
			for _, resource := range test.beside {
				faults = append(faults, proxy.Inject(passes(resource)))
			}
			proxy.Inject(&testkit.Fault{Resource: "pods", Effect: testkit.Meanwhile(func() {
				for i, f := range faults {
					select {
					case <-f.Reached():
					case <-time.After(5 * time.Second):
						t.Errorf("the pod is waited for before %s are read", test.beside[i])
					}
				}
			})})
			verdict, found, _ := find(t, target.NewPodFinder(client, protection(), test.level), testkit.AlertFor(t, pod, test.edit...))
			if verdict != "found" || len(found.Owners) != 2 {
				t.Errorf("%s with %d owners, want found with two", verdict, len(found.Owners))
			}
			for _, f := range proxy.Requests() {
				if f.Status != 200 {
					t.Errorf("%s is answered %d", f, f.Status)
				}
			}
		})
	}
}

// The name and the hostname are hints: what the pod says itself is what counts.
func TestHintsThatAreWrong(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	env.Create(t, testkit.Deployment(namespace, "web", 0))
	env.Create(t, testkit.ReplicaSet(namespace, "web-768f6cfb5c", 0))
	elsewhere, here := env.Node(t), env.Node(t)
	owner := testkit.Deployment(namespace, "other", 0)
	env.Create(t, owner)
	// Its name is one that the ReplicaSet could have given, and its owner is another.
	pod := env.Deploy(t, testkit.Pod(namespace, "web-768f6cfb5c-dfpqf", func(p *corev1.Pod) {
		p.Spec.NodeName = here.Name
		p.OwnerReferences = append(p.OwnerReferences, testkit.Controller(owner, "apps/v1", "Deployment"))
	}))[0]
	client, _ := newClient(t, env, false)
	verdict, found, subject := find(t, target.NewPodFinder(client, protection(), target.LevelNode), testkit.AlertFor(t, pod, testkit.Set("hostname", elsewhere.Name)))
	if found == nil || len(found.Owners) != 1 || found.Owners[0].Name != "other" || subject != "nodes/"+here.Name {
		t.Errorf("%s %+v, and the target is %s: want the Deployment other and the node %s", verdict, found, subject, here.Name)
	}
}

// A reading that fails is no hint that was wrong.
func TestReadingThatFails(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	for _, resource := range []string{"namespaces", "replicasets", "deployments"} {
		client, proxy := newClient(t, env, false)
		proxy.Inject(&testkit.Fault{Resource: resource, Times: 1, Effect: testkit.Answers(http.StatusForbidden, 0)})
		finder := target.NewPodFinder(client, protection(), target.LevelPod)
		if _, _, err := finder.Target(t.Context(), decode(t, testkit.AlertFor(t, pod))); response.KindOf(err) != response.Permanent {
			t.Errorf("%s may not be read, and the error is %v: want a permanent one", resource, err)
		}
	}
}

// Who shares a reading is not let down where the one who began it needs it no more, or has no more time.
func TestSharedReadings(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{"called off": time.Minute, "out of time": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := testkit.Cluster(t)
			client, proxy := newClient(t, env, false)
			pods := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 2))
			finder := target.NewPodFinder(client, protection(), target.LevelPod)
			held := proxy.Inject(&testkit.Fault{Resource: "deployments", Times: 1, Effect: testkit.Hangs()})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			first := make(chan error, 1)
			go func() {
				_, _, err := finder.Target(ctx, decode(t, testkit.AlertFor(t, pods[0])))
				first <- err
			}()
			<-held.Reached()
			second := make(chan error, 1)
			go func() {
				_, _, err := finder.Target(t.Context(), decode(t, testkit.AlertFor(t, pods[1])))
				second <- err
			}()
			testkit.Eventually(t, "the second has read its pod", func(context.Context) error {
				for _, r := range proxy.Requests() {
					if r.Resource == "pods" && r.Name == pods[1].Name && r.Status != 0 {
						return nil
					}
				}
				return errors.New("it has not")
			})
			if patience == time.Minute {
				cancel()
			}
			if err := <-first; !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first ends with %v, want that it was called off", err)
			}
			if err := <-second; err != nil {
				t.Errorf("the second ends with %v, want the pod", err)
			}
		})
	}
}
