package guard_test

import (
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
)

// refused is why a guardrail refused; empty where it did not.
func refused(t *testing.T, o *response.Outcome) response.Reason {
	t.Helper()
	if o == nil {
		return ""
	}
	if o.Verdict != response.Refused || o.Message == "" {
		t.Errorf("a guardrail answers %s with message %q: want refused, and why", o.Verdict, o.Message)
	}
	return o.Reason
}

func TestSane(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	usual := guard.Sane{MinPriority: falco.Debug, MaxAge: 10 * time.Minute}
	alert := func(change func(*falco.Alert)) falco.Alert {
		a := falco.Alert{Rule: "Terminal shell in container", Priority: falco.Notice, Source: "syscall", Time: now}
		change(&a)
		return a
	}
	aged := func(d time.Duration) falco.Alert { return alert(func(a *falco.Alert) { a.Time = now.Add(-d) }) }
	cases := map[string]struct {
		sane  guard.Sane
		alert falco.Alert
		want  response.Reason
	}{
		"a usual alert":                     {usual, aged(0), ""},
		"the test rule":                     {usual, alert(func(a *falco.Alert) { a.Rule = "Test rule" }), response.TestRule},
		"the test rule written otherwise":   {usual, alert(func(a *falco.Alert) { a.Rule = " TEST RULE\t" }), response.TestRule},
		"a rule that begins alike":          {usual, alert(func(a *falco.Alert) { a.Rule = "Test rule 2" }), ""},
		"an internal source":                {usual, alert(func(a *falco.Alert) { a.Source = "internal" }), response.InternalSource},
		"an internal source in capitals":    {usual, alert(func(a *falco.Alert) { a.Source = "Internal" }), response.InternalSource},
		"an internal rule":                  {usual, alert(func(a *falco.Alert) { a.Rule = "Falco internal: metrics snapshot" }), response.InternalSource},
		"the least priority wanted":         {guard.Sane{MinPriority: falco.Warning}, alert(func(a *falco.Alert) { a.Priority = falco.Warning }), ""},
		"above the least priority":          {guard.Sane{MinPriority: falco.Warning}, alert(func(a *falco.Alert) { a.Priority = falco.Emergency }), ""},
		"below the least priority":          {guard.Sane{MinPriority: falco.Warning}, alert(func(a *falco.Alert) { a.Priority = falco.Notice }), response.BelowMinPriority},
		"exactly as old as allowed":         {usual, aged(10 * time.Minute), ""},
		"a nanosecond older than allowed":   {usual, aged(10*time.Minute + 1), response.TooOld},
		"very old":                          {usual, alert(func(a *falco.Alert) { a.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) }), response.TooOld},
		"very old where any age will do":    {guard.Sane{MinPriority: falco.Debug}, aged(10000 * time.Hour), ""},
		"a clock a minute ahead":            {usual, aged(-time.Minute), ""},
		"a clock more than a minute ahead":  {usual, aged(-time.Minute - 1), response.FromTheFuture},
		"the far future":                    {usual, alert(func(a *falco.Alert) { a.Time = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }), response.FromTheFuture},
		"the future where any age will do":  {guard.Sane{MinPriority: falco.Debug}, aged(-time.Hour), response.FromTheFuture},
		"the test rule before its source":   {usual, alert(func(a *falco.Alert) { a.Rule, a.Source = "Test rule", "internal" }), response.TestRule},
		"the source before the priority":    {guard.Sane{MinPriority: falco.Error}, alert(func(a *falco.Alert) { a.Source = "internal" }), response.InternalSource},
		"the priority before the age":       {guard.Sane{MinPriority: falco.Error, MaxAge: 1}, aged(time.Hour), response.BelowMinPriority},
		"no settings allow emergencies":     {guard.Sane{}, alert(func(a *falco.Alert) { a.Priority = falco.Emergency }), ""},
		"no settings allow nothing beneath": {guard.Sane{}, alert(func(a *falco.Alert) { a.Priority = falco.Alarm }), response.BelowMinPriority},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, c.sane.CheckAlert(c.alert, now)); got != c.want {
				t.Errorf("reason is %q, want %q", got, c.want)
			}
		})
	}
}

// Whatever else a canary says, and whatever is set, it is answered in one way.
func TestSaneSkipsTheCanary(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	canary := falco.Alert{Rule: falco.CanaryRule, Priority: falco.Notice, Source: "syscall", Time: now}
	cases := map[string]func(*guard.Sane, *falco.Alert){
		"as it is sent":            func(*guard.Sane, *falco.Alert) {},
		"below the least priority": func(s *guard.Sane, _ *falco.Alert) { s.MinPriority = falco.Emergency },
		"too old":                  func(_ *guard.Sane, a *falco.Alert) { a.Time = now.Add(-24 * time.Hour) },
		"from the future":          func(_ *guard.Sane, a *falco.Alert) { a.Time = now.Add(24 * time.Hour) },
		"of Falco's own source":    func(_ *guard.Sane, a *falco.Alert) { a.Source = "internal" },
		"in other capitals":        func(_ *guard.Sane, a *falco.Alert) { a.Rule = "riposte CANARY " },
		"about a pod": func(_ *guard.Sane, a *falco.Alert) {
			a.Fields = falco.Fields{"k8s.pod.name": "web", "k8s.ns.name": "shop"}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			sane, alert := guard.Sane{MinPriority: falco.Debug, MaxAge: 10 * time.Minute}, canary
			change(&sane, &alert)
			o := sane.CheckAlert(alert, now)
			if o == nil || o.Verdict != response.Skipped || o.Reason != response.Canary || o.Message == "" {
				t.Errorf("the outcome is %+v, want skipped, canary", o)
			}
		})
	}
}

func TestSaneValidate(t *testing.T) {
	for age, valid := range map[time.Duration]bool{0: true, time.Second: true, -1: false} {
		if err := (guard.Sane{MaxAge: age}).Validate(); (err == nil) != valid {
			t.Errorf("MAX_ALERT_AGE %s: %v", age, err)
		}
	}
}
