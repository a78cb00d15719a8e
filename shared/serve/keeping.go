package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/claim"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/dynamo"
)

// keeping says where a function keeps what it has handled, and how much it may do. docs/safety.md explains it.
type keeping struct {
	Claims     string        `env:"CLAIMS" envDefault:"auto" oneof:"auto,lease,dynamodb,memory,none" help:"Where replicas keep what was handled, so that repeats are harmless; auto is dynamodb on AWS Lambda, lease where there is a cluster, else memory."`
	Namespace  string        `env:"CLAIMS_NAMESPACE" help:"Namespace of the Leases; unset means the function's own, else riposte."`
	Table      string        `env:"CLAIMS_TABLE" help:"DynamoDB table of the claims."`
	Window     time.Duration `env:"DEDUP_WINDOW" envDefault:"1m" help:"How long other alerts of the same rule on the same target are duplicates; 0 is not at all."`
	Kubeconfig string        `env:"KUBECONFIG" help:"Path of a kubeconfig; unset means the ServiceAccount of the pod."`
	Cluster    string        `env:"KUBE_CLUSTER" help:"An EKS cluster instead of a kubeconfig: eks:NAME, or eks: and its ARN; the function's AWS role is who it is there."`
	budget.Settings
}

// longestWindow keeps claims short-lived, which they are made for.
const longestWindow = 24 * time.Hour

// Validate checks what the types do not.
func (k keeping) Validate() error {
	var err error
	if k.Window < 0 || k.Window > longestWindow {
		err = fmt.Errorf("DEDUP_WINDOW is %q: want 0s to %s", k.Window, longestWindow)
	}
	if k.Claims == "dynamodb" && k.Table == "" {
		err = errors.Join(err, errors.New("CLAIMS_TABLE is not set: want the name of a DynamoDB table, because CLAIMS is dynamodb"))
	}
	return errors.Join(err, k.Settings.Validate())
}

// where resolves auto.
func (k keeping) where(environ map[string]string) string {
	switch {
	case k.Claims != "auto":
		return k.Claims
	case environ["AWS_LAMBDA_RUNTIME_API"] != "":
		return "dynamodb"
	case k.Kubeconfig != "" || k.Cluster != "" || environ["KUBERNETES_SERVICE_HOST"] != "":
		return "lease"
	}
	return "memory"
}

// open connects to the store, and says which it is. It does not touch the network. The store is nil with CLAIMS=none.
func (k keeping) open(environ map[string]string, info Info, common response.Settings) (store.Store, string, error) {
	where := k.where(environ)
	if where == "none" && info.NeedsClaims {
		return nil, "", fmt.Errorf("CLAIMS is none: want a store, because a repeat of what %s does would be seen", info.Name)
	}
	if common.DryRun && where != "none" {
		return store.NewMemory(time.Now), "memory", nil // A dry run writes nothing anywhere.
	}
	switch where {
	case "none":
		return nil, where, nil
	case "lease":
		client, err := kube.Connect(kube.Settings{Kubeconfig: k.Kubeconfig, Cluster: k.Cluster}, common, "riposte-"+info.Name)
		if err != nil {
			return nil, "", fmt.Errorf("CLAIMS is lease: %w", err)
		}
		return kube.NewLeases(client, k.namespace(environ)), where, nil
	case "dynamodb":
		if k.Table == "" {
			return nil, "", errors.New("CLAIMS_TABLE is not set: want the name of a DynamoDB table, or CLAIMS=none")
		}
		s, err := dynamo.New(context.Background(), k.Table) //nolint:forbidigo // It reads files and the environment, and asks nobody.
		if err != nil {
			return nil, "", fmt.Errorf("CLAIMS is dynamodb: %w", err)
		}
		return s, where, nil
	}
	return store.NewMemory(time.Now), where, nil
}

// namespace is where the Leases are.
func (k keeping) namespace(environ map[string]string) string {
	if k.Namespace != "" {
		return k.Namespace
	}
	if own := environ["POD_NAMESPACE"]; own != "" {
		return own
	}
	if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
		return strings.TrimSpace(string(b))
	}
	return "riposte"
}

// longestAge bounds how long the outcome of an event is kept where MAX_ALERT_AGE does not.
const longestAge = 24 * time.Hour

// repeats puts together what makes repeats harmless.
func (k keeping) repeats(s store.Store, info Info, common Settings) response.Repeats {
	age := common.MaxAge
	if age == 0 || age > longestAge {
		age = longestAge
	}
	r := response.Repeats{Scope: common.scope, Window: k.Window, Keep: max(15*time.Minute, age+5*time.Minute)}
	switch info.Activity {
	case response.Notify, response.Detect, response.Restore: // They take nothing away from anybody.
	case response.Isolate, response.Evict, response.Harden:
		kept := s
		if kept == nil {
			kept = store.NewMemory(time.Now)
		}
		r.Budget = budget.New(kept, info.Name, k.Settings, time.Now)
	}
	if s != nil {
		// A budget bounds what is done. Claims are made for what is declined, too: for each rule that an alert names.
		r.Claims = claim.New(store.NewLimited(s, claimsPerMinute, time.Now), common.Timeout+5*time.Second, time.Now)
	}
	return r
}

// scope tells the deployments of one function apart, which answer the same alert each in its own way: by the name that the
// platform gives one, or else by the function's own settings as they are set.
func scope(environ map[string]string, own []config.Param) string {
	for _, name := range []string{"K_SERVICE", "AWS_LAMBDA_FUNCTION_NAME"} {
		if environ[name] != "" {
			return environ[name]
		}
	}
	var set []string
	for _, p := range own {
		for _, name := range []string{p.Name, p.Name + "_FILE"} {
			if value := environ[name]; value != "" && value != p.Default {
				set = append(set, name+"="+value)
			}
		}
	}
	if len(set) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(set, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// claimsPerMinute bounds what a replica writes down for alerts. At the largest scale that is
// shipped, five replicas, a flood makes some 9,000 records of a few kilobytes, for 15 minutes.
const claimsPerMinute = 120

// sweeps is the least time between two sweeps of one process.
const sweeps = 10 * time.Minute

// sweep removes expired records until ctx ends: after the first event, and then from time to time after another. A
// function that scales to zero does not live long enough for more.
func (f *responses) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.handled:
		}
		if n, err := f.common.Store.Sweep(ctx); err != nil {
			f.log.WarnContext(ctx, "expired claims not swept", "error", err.Error())
		} else if n > 0 {
			f.log.DebugContext(ctx, "expired claims swept", "records", n)
		}
		timer := time.NewTimer(sweeps)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// nudge tells the sweeper that an event was handled.
func (f *responses) nudge() {
	select {
	case f.handled <- struct{}{}:
	default:
	}
}
