package serve_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/store"
)

// An alert may name any rule, and what is declined draws from no budget: no flood of either may fill the cluster's etcd.
func TestAFloodOfClaimsIsNotWrittenDown(t *testing.T) {
	t.Parallel()
	for name, activity := range map[string]response.Activity{
		"of who tells": response.Notify, "of who contains": response.Isolate, "of who deletes": response.Evict, "of who changes": response.Harden,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := store.NewMemory(time.Now)
			claims := serve.Repeats(s, activity).Claims
			const flood, most = 1000, 200
			written := 0
			for i := range flood {
				key := fmt.Sprint(i)
				if note, state, err := claims.Note(t.Context(), key, key, nil, time.Hour); note == nil || state != nil || err != nil {
					t.Fatalf("note %v, state %v, error %v", note, state, err)
				}
				if state, err := claims.Look(t.Context(), key); state == nil || err != nil {
					t.Fatalf("the process itself does not know: state %v, error %v", state, err)
				}
				if _, err := s.Get(t.Context(), key); err == nil {
					written++
				}
			}
			if written == 0 || written > most {
				t.Errorf("%d records of a flood of %d are written: want some, and no more than %d", written, flood, most)
			}
		})
	}
}

func TestWhereClaimsAreKept(t *testing.T) {
	t.Parallel()
	onLambda, inPod := map[string]string{"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}, map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
	const cluster = "eks:test"
	for name, test := range map[string]struct {
		claims, kubeconfig, cluster string
		environ                     map[string]string
		want                        string
	}{
		"on AWS Lambda":                   {"auto", "", "", onLambda, "dynamodb"},
		"on AWS Lambda, for a cluster":    {"auto", "", cluster, onLambda, "dynamodb"},
		"elsewhere, for a cluster of EKS": {"auto", "", cluster, nil, "lease"},
		"with a kubeconfig":               {"auto", "/kubeconfig", "", nil, "lease"},
		"in a pod":                        {"auto", "", "", inPod, "lease"},
		"without a cluster":               {"auto", "", "", nil, "memory"},
		"as it says, on AWS Lambda":       {"lease", "", cluster, onLambda, "lease"},
		"as it says, in a pod":            {"none", "", "", inPod, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := serve.Keeps(test.claims, test.kubeconfig, test.cluster, test.environ); got != test.want {
				t.Errorf("claims are kept in %s, want %s", got, test.want)
			}
		})
	}
}

func TestDeploymentsAreToldApart(t *testing.T) {
	t.Parallel()
	spec := serve.Define(serve.Info{Name: "label"}, func(struct {
		Labels string        `env:"LABELS"`
		Level  string        `env:"LEVEL" envDefault:"pod"`
		Token  config.Secret `env:"TOKEN"`
		Common string        `env:"KUBECONFIG"`
	}, response.Settings,
	) (response.Responder, error) {
		return &recorder{}, nil
	})
	plain := map[string]string{"LABELS": "a=b"}
	for name, test := range map[string]struct {
		other map[string]string
		same  bool
	}{
		"other labels":                 {map[string]string{"LABELS": "a=c"}, false},
		"one more setting":             {map[string]string{"LABELS": "a=b", "LEVEL": "owner"}, false},
		"a secret in a file":           {map[string]string{"LABELS": "a=b", "TOKEN_FILE": "/token"}, false},
		"a name on Knative":            {map[string]string{"LABELS": "a=b", "K_SERVICE": "label-a"}, false},
		"a default that is written":    {map[string]string{"LABELS": "a=b", "LEVEL": "pod"}, true},
		"what every function is told":  {map[string]string{"LABELS": "a=b", "KUBECONFIG": "/k", "WHEN": "true", "LOG_LEVEL": "DEBUG"}, true},
		"what no function looks at":    {map[string]string{"LABELS": "a=b", "HOSTNAME": "label-1"}, true},
		"a revision of the same label": {map[string]string{"LABELS": "a=b", "K_REVISION": "label-00002"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if same := spec.Scope(test.other) == spec.Scope(plain); same != test.same {
				t.Errorf("it counts as the same deployment: %t, want %t", same, test.same)
			}
		})
	}
	if a, b := map[string]string{"K_SERVICE": "x", "LABELS": "a"}, map[string]string{"K_SERVICE": "x", "LABELS": "b"}; spec.Scope(a) != spec.Scope(b) {
		t.Error("a service whose settings were changed counts as another")
	}
	if scope := spec.Scope(nil); scope != "" {
		t.Errorf("without settings of its own it is %q: want nothing", scope)
	}
}
