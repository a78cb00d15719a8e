// Package function is isolate: it cuts the network of the pod that raised the alert and
// takes the pod out of service, so that it can be studied while a clean replica takes over.
//
// It makes a NetworkPolicy for this one pod, owned by the pod and selecting it by a label
// nobody else has, and, with DETACH, takes off the labels by which Services, the owner and
// other policies select the pod. A restore record says how to undo it. Kubernetes policies only ever add permissions, so it
// computes what other policies still allow and says so in the outcome.
//
// It cannot isolate pods on their node's network. Whether connections that are already open
// are cut depends on the cluster's network plugin, and the pod's ServiceAccount token stays
// valid: the outcome says both.
package function

import (
	"context"
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of isolate.
type Config struct {
	Engine          string      `env:"ENGINE" envDefault:"networkpolicy" oneof:"networkpolicy" help:"What enforces the isolation."`
	Direction       string      `env:"DIRECTION" envDefault:"both" oneof:"both,ingress,egress" help:"Traffic that is cut; one direction alone goes with DETACH=false only."`
	AllowCIDRs      config.List `env:"ALLOW_CIDRS" help:"Networks the pod may still talk to, such as 10.1.0.0/16."`
	AllowNamespaces config.List `env:"ALLOW_NAMESPACES" help:"Namespaces whose pods the pod may still talk to."`
	AllowDNS        bool        `env:"ALLOW_DNS" envDefault:"false" help:"Let the pod ask the DNS servers in kube-system; DNS can carry data out."`
	Detach          bool        `env:"DETACH" envDefault:"true" help:"Take off the labels by which Services, the owner and other policies select the pod."`
	restore.Terms
	kube.Settings
}

// Validate checks what the types do not.
func (c Config) Validate() error {
	if err := c.Terms.Validate(); err != nil {
		return err
	}
	if c.Direction != "both" && c.Detach {
		// Detached, the pod would leave the policies that hold it in the direction that is not cut.
		return fmt.Errorf("DIRECTION is %q and DETACH is true: want DETACH=false, or DIRECTION=both", c.Direction)
	}
	for _, cidr := range c.AllowCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err != nil || prefix != prefix.Masked() {
			return fmt.Errorf("ALLOW_CIDRS has %q: want a network such as 10.1.0.0/16", cidr)
		}
	}
	for _, name := range c.AllowNamespaces {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("ALLOW_NAMESPACES has %q: %s", name, problems[0])
		}
	}
	return c.Settings.Validate()
}

type responder struct {
	*target.PodFinder
	config  Config
	client  *kube.Client
	records *restore.Writer
	dryRun  bool
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.Settings, common, "riposte-isolate")
	if err != nil {
		return nil, err
	}
	records := restore.NewWriter("isolate", c.Terms, common.Store)
	return &responder{target.NewPodFinder(client, c.Settings, target.LevelPod), c, client, records, common.DryRun}, nil
}

// Techniques implements response.Defender.
func (r *responder) Techniques() []response.Technique {
	switch r.config.Direction {
	case "ingress":
		return []response.Technique{response.InboundTrafficFiltering}
	case "egress":
		return []response.Technique{response.OutboundTrafficFiltering}
	}
	return []response.Technique{response.NetworkTrafficFiltering}
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	found := target.FoundFrom(ctx)
	if found.Pod.Spec.HostNetwork {
		return response.Refuse(response.HostNetwork, "the pod uses its node's network, which no policy can cut for it alone"), nil
	}
	var done isolation
	declined, err := r.Try(ctx, func(found *target.Found) (response.Outcome, error) {
		return response.Outcome{}, r.isolate(ctx, &done, found, alert)
	})
	if err != nil || declined.Verdict != "" {
		return declined, err
	}
	return r.outcome(found, done), nil
}

func (r *responder) directions() []api.PolicyType {
	switch r.config.Direction {
	case "ingress":
		return []api.PolicyType{api.PolicyTypeIngress}
	case "egress":
		return []api.PolicyType{api.PolicyTypeEgress}
	}
	return []api.PolicyType{api.PolicyTypeIngress, api.PolicyTypeEgress}
}
