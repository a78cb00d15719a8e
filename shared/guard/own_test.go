package guard_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// What Riposte's own accounts do is not answered, whatever rule says so.
func TestSaneSkipsOwnActions(t *testing.T) {
	here, there := guard.Sane{MinPriority: falco.Debug}, guard.Sane{MinPriority: falco.Debug, OwnNamespace: "security"}
	telling := guard.Sane{MinPriority: falco.Debug, Tells: true}
	cases := map[string]struct {
		sane     guard.Sane
		user     any
		resource string
		own      bool
	}{
		"delete-pod":                                 {here, "system:serviceaccount:riposte:riposte-delete-pod", "pods", true},
		"release":                                    {here, "system:serviceaccount:riposte:riposte-release", "networkpolicies", true},
		"a lease":                                    {here, "system:serviceaccount:riposte:riposte-slack", "leases", true},
		"in another namespace of its own":            {there, "system:serviceaccount:security:riposte-isolate", "pods", true},
		"in the usual one, too":                      {there, "system:serviceaccount:riposte:riposte-isolate", "pods", true},
		"a namesake elsewhere":                       {here, "system:serviceaccount:shop:riposte-delete-pod", "pods", false},
		"a namesake where its own is another":        {there, "system:serviceaccount:shop:riposte-delete-pod", "pods", false},
		"another account beside it":                  {here, "system:serviceaccount:riposte:default", "pods", false},
		"a person of that name":                      {here, "riposte-delete-pod", "pods", false},
		"a name that only holds it":                  {here, "x:system:serviceaccount:riposte:riposte-delete-pod", "pods", false},
		"a namespace that only begins so":            {here, "system:serviceaccount:riposte-evil:riposte-delete-pod", "pods", false},
		"no account":                                 {here, "system:serviceaccount:riposte", "pods", false},
		"a person":                                   {here, "alice@example.com", "pods", false},
		"nobody":                                     {here, nil, "pods", false},
		"no text":                                    {here, json.Number("7"), "pods", false},
		"who tells people tells of a theft":          {telling, "system:serviceaccount:riposte:riposte-delete-pod", "secrets", false},
		"who tells people keeps still about leases":  {telling, "system:serviceaccount:riposte:riposte-slack", "leases", true},
		"who tells people keeps still about events":  {telling, "system:serviceaccount:riposte:riposte-taint", "events", true},
		"who tells people tells of others' leases":   {telling, "system:serviceaccount:shop:riposte-slack", "leases", false},
		"an account named as it is in the middle":    {here, "system:serviceaccount:riposte:my-riposte-delete-pod", "pods", false},
		"letters that look alike are another's name": {here, "system:serviceaccount:riposte:Riposte-delete-pod", "pods", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, capture := range []string{"09", "11"} {
				a, err := falco.Decode(testkit.Find(t, capture).Alert)
				if err != nil {
					t.Fatal(err)
				}
				a.Fields["ka.user.name"], a.Fields["ka.target.resource"] = c.user, c.resource
				o := c.sane.CheckAlert(a, a.Time.Add(time.Second))
				if own := o != nil && o.Verdict == response.Skipped && o.Reason == response.OwnAction; own != c.own || (!own && o != nil) {
					t.Errorf("%s: the outcome is %+v, want it skipped: %t", a.Rule, o, c.own)
				}
			}
		})
	}
}

// The output, which an attacker writes in part, has no say in it, and no alert about a system call has an account.
func TestOwnActionsAreKnownByTheirAccount(t *testing.T) {
	a, err := falco.Decode(testkit.Find(t, "01").Alert)
	if err != nil {
		t.Fatal(err)
	}
	a.Output += " user=system:serviceaccount:riposte:riposte-delete-pod ka.user.name=system:serviceaccount:riposte:riposte-delete-pod"
	for _, field := range []string{"user.name", "proc.cmdline", "ka.user.name"} {
		a.Fields[field] = "system:serviceaccount:riposte:riposte-delete-pod"
	}
	if o := (guard.Sane{MinPriority: falco.Debug}).CheckAlert(a, a.Time); o != nil {
		t.Errorf("the outcome is %+v, want none", o)
	}
}
