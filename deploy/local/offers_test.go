package main

import (
	"errors"
	"testing"

	"github.com/riposte-dev/riposte/deploy/local/captures"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/page"
)

func testMenu(t *testing.T) *menu {
	t.Helper()
	all, err := captures.Load("../../test/captures")
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMenu(all)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every offer can be made into an alert about some pod, or about none.
func TestOffersCanBeMade(t *testing.T) {
	m := testMenu(t)
	target := &captures.Target{Namespace: "n", Name: "p", UID: "u", ContainerID: "0123456789abcdef"}
	for _, o := range m.offers {
		aim := captures.Aim{ID: "x", Rule: o.rule, Note: o.note}
		if o.Workload != "" {
			aim.Target = target
		}
		c, _, err := m.captures[o.Capture].Aim(aim)
		if err != nil {
			t.Errorf("%s: %v", o.ID, err)
		}
		if c.Alert.Rule != o.Rule {
			t.Errorf("%s is shown with the rule %q and sent with %q", o.ID, o.Rule, c.Alert.Rule)
		}
		if changed := o.rule != "" || o.note != "" || o.stale; changed != (o.Made != "") {
			t.Errorf("%s must say what else is changed, and only if something is", o.ID)
		}
	}
	if len(m.offers) < 30 {
		t.Errorf("there are %d offers", len(m.offers))
	}
}

func TestAttackUsesOffers(t *testing.T) {
	m := testMenu(t)
	seen := map[string]bool{}
	for _, s := range attackSteps() {
		if s.repeat != "" {
			if !seen[s.repeat] {
				t.Errorf("%q repeats %q, which has not been sent", s.title, s.repeat)
			}
			continue
		}
		if _, err := m.find(s.offer); err != nil {
			t.Error(err)
		}
		seen[s.offer] = true
	}
}

func TestAim(t *testing.T) {
	pod := func(namespace, name, owner string, change func(*kube.Pod)) kube.Pod {
		p := kube.Pod{Namespace: namespace, Name: name, Owner: owner, UID: name, Ready: true, ContainerID: "0123456789abcdef"}
		if change != nil {
			change(&p)
		}
		return p
	}
	pods := []kube.Pod{
		pod("default", "web-0", "web", func(p *kube.Pod) { p.Ready = false }),
		pod("default", "web-1", "web", func(p *kube.Pod) { p.Terminating = true }),
		pod("default", "web-2", "web", func(p *kube.Pod) { p.Marks = []string{"suspect"} }),
		pod("default", "web-3", "web", nil),
		pod("default", "web-4", "", nil), // Taken out of its Deployment.
		pod("shop", "cart-0", "cart", func(p *kube.Pod) { p.Marks = []string{"suspect"} }),
	}
	for name, tc := range map[string]struct {
		workload, chosen string
		own              bool
		want             string // empty if it is refused
	}{
		"an untouched pod of the workload":  {"default/web", "", true, "default/web-3"},
		"a pod by its name":                 {"shop/cart-0", "", true, "shop/cart-0"},
		"the chosen pod":                    {"default/web", "shop/cart-0", true, "shop/cart-0"},
		"the chosen pod of a user":          {"default/web", "default/web-2", false, "default/web-2"},
		"a chosen pod that is gone":         {"default/web", "default/web-9", true, ""},
		"a chosen pod that is going":        {"default/web", "default/web-1", true, ""},
		"no choice on the user's cluster":   {"default/web", "", false, ""},
		"a workload of which nothing is up": {"shop/cart-api", "", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := offer{Workload: tc.workload}.aim(pods, tc.chosen, tc.own)
			var refused *page.RefusedError
			switch {
			case tc.want == "" && !errors.As(err, &refused):
				t.Errorf("aimed at %v: %v", got, err)
			case tc.want != "" && (err != nil || got.Key() != tc.want):
				t.Errorf("aimed at %v: %v", got, err)
			}
		})
	}
	if got, err := (offer{}).aim(pods, "shop/cart-0", true); got != nil || err != nil {
		t.Errorf("an alert about no pod was aimed at %v: %v", got, err)
	}
}
