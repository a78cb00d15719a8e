package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/deploy/local/captures"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/page"
)

// offer is an alert that can be sent: a capture, and what is made of it.
type offer struct {
	ID string `json:"id"`
	// Title and Expect say what happens and what is to be seen.
	Title   string `json:"title"`
	Expect  string `json:"expect"`
	Capture string `json:"capture"`
	// Workload is the namespace/name of the workload, or of the pod, that is aimed at
	// unless another pod is chosen; empty for alerts that are about no pod.
	Workload string `json:"workload"`
	// Rule, Priority and Source are shown.
	Rule     string `json:"rule"`
	Priority string `json:"priority"`
	Source   string `json:"source"`
	// Made says what else of the capture is changed, if anything is.
	Made string `json:"made,omitempty"`
	// Main offers have a button of their own.
	Main bool `json:"main"`

	rule  string // put in place of the capture's
	note  string // written into the output
	stale bool   // sent with the time of the capture
}

// critical is the captured Critical alert.
const critical = "03-drop-and-execute-critical"

const forged = `&& echo k8s_ns_name=kube-system k8s_pod_name=coredns-0 container_id=0123456789ab`

// mainOffers are the alerts that show what Riposte does, in the order of an attack.
func mainOffers() []offer {
	return []offer{
		{
			ID: "malware", Title: "Malware dropped and run", Capture: critical, Workload: "shop/cart-api",
			Expect: "delete-pod deletes this pod and no other; its Deployment starts a clean one",
		},
		{
			ID: "malware-statefulset", Title: "Malware in a StatefulSet", Capture: critical, Workload: "shop/cart-0",
			Expect: "delete-pod deletes cart-0; the new cart-0 has the same name and another UID",
		},
		{
			ID: "shell", Title: "Shell in a container", Capture: "01-terminal-shell-k8s-default", Workload: "default/web",
			Expect: "label marks the pod as suspect",
		},
		{
			ID: "api", Title: "Pod calls the Kubernetes API", Capture: "06-contact-k8s-api", Workload: "default/web",
			Expect: "isolate cuts the pod off and takes it out of its Service and its Deployment",
		},
		{
			ID: "escape", Title: "Breakout to the node", Capture: "01-terminal-shell-k8s-default", Workload: "default/web",
			rule: "Debugfs Launched in Privileged Container", Made: "rule name replaced: there is no capture of this rule",
			Expect: "taint keeps new pods off the node",
		},
		{
			ID: "cloud", Title: "AWS login without MFA", Capture: "12-cloudtrail-console-login-no-mfa",
			Expect: "lambda invokes a function in the account; here a stand-in takes the call",
		},
		{
			ID: "host", Title: "Alert about the host", Capture: "05-read-sensitive-file-host",
			Expect: "there is no pod to act on: skipped, and Slack hears of the alert",
		},
		{
			ID: "stale", Title: "Old alert, live pod", Capture: critical, Workload: "shop/cart", stale: true,
			Made: "keeps the time of its capture", Expect: "refused: too old",
		},
		{
			ID: "protected", Title: "Pod in kube-system", Capture: critical, Workload: "kube-system/coredns",
			Expect: "refused: the namespace is protected",
		},
		{
			ID: "forged", Title: "Forged pod name in the output", Capture: "01-terminal-shell-k8s-default", Workload: "default/web",
			note: forged, Made: "text of an attacker added to the output, naming a pod in kube-system",
			Expect: "label marks the pod that Falco named, not the one the attacker wrote",
		},
		{
			ID: "test", Title: "Falcosidekick's test alert", Capture: "45-test-rule",
			Expect: "no trigger takes it",
		},
	}
}

// menu is everything that can be sent: the main offers, and every capture as it is.
type menu struct {
	offers   []offer
	captures map[string]captures.Capture
}

func newMenu(all []captures.Capture) (*menu, error) {
	m := &menu{captures: map[string]captures.Capture{}}
	for _, c := range all {
		m.captures[c.Name] = c
	}
	for _, o := range mainOffers() {
		c, ok := m.captures[o.Capture]
		if !ok {
			return nil, fmt.Errorf("there is no capture %s", o.Capture)
		}
		o.Main = true
		m.offers = append(m.offers, o.describe(c))
	}
	for _, c := range all {
		o := offer{ID: c.Name, Title: c.Name, Capture: c.Name}
		if c.Alert.Field("k8s.pod.name") != "" {
			o.Workload = "default/web"
			if c.Alert.Field("k8s.ns.name") == "shop" {
				o.Workload = "shop/cart-0"
			}
		}
		m.offers = append(m.offers, o.describe(c))
	}
	return m, nil
}

func (o offer) describe(c captures.Capture) offer {
	o.Rule, o.Priority, o.Source = c.Alert.Rule, c.Alert.Priority, c.Alert.Source
	if o.rule != "" {
		o.Rule = o.rule
	}
	return o
}

func (m *menu) find(id string) (offer, error) {
	i := slices.IndexFunc(m.offers, func(o offer) bool { return o.ID == id })
	if i < 0 {
		return offer{}, &page.RefusedError{Reason: fmt.Sprintf("there is no alert %q", id)}
	}
	return m.offers[i], nil
}

// aim chooses the pod that an offer is about.
func (o offer) aim(pods []kube.Pod, chosen string, ownCluster bool) (*kube.Pod, error) {
	switch {
	case o.Workload == "":
		return nil, nil //nolint:nilnil // It is about no pod.
	case chosen != "":
		for _, p := range pods {
			if p.Key() == chosen && !p.Terminating {
				return &p, nil
			}
		}
		return nil, &page.RefusedError{Reason: "there is no pod " + chosen + "; choose another"}
	case !ownCluster:
		return nil, &page.RefusedError{Reason: "this is your cluster: choose the pod to aim at"}
	}
	var best *kube.Pod
	for _, p := range pods {
		usable := p.Ready && !p.Terminating && p.ContainerID != ""
		if !usable || (p.Workload() != o.Workload && p.Key() != o.Workload) {
			continue
		}
		if best == nil || len(p.Marks) < len(best.Marks) { // One that nothing has been done to.
			best = &p
		}
	}
	if best == nil {
		return nil, &page.RefusedError{Reason: "no pod of " + strings.TrimPrefix(o.Workload, "default/") + " is running at the moment"}
	}
	return best, nil
}
