package falco_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Plugins give many events one time: what tells them apart must be in the id.
func TestIDTellsEventsOfPluginsApart(t *testing.T) {
	type fields = map[string]any
	cases := map[string]struct {
		capture string
		change  func(*falco.Alert)
		same    bool
	}{
		"cloudtrail: another event id":        {"14", set(fields{"ct.id": "4f7a6c1e-0000-4a2b-9c3d-000000000002"}), false},
		"cloudtrail: other fields, same id":   {"14", set(fields{"evt.num": json.Number("43"), "ct.error": "x"}), true},
		"cloudtrail without id: another user": {"12", set(fields{"ct.user": "mallory"}), false},
		"cloudtrail without id: another port": {"12", set(fields{"ct.srcip": "198.51.100.8"}), false},
		"audit: another user":                 {"09", set(fields{"ka.user.name": "mallory"}), false},
		"audit: another command":              {"09", set(fields{"ka.uri.param[command]": "bash"}), false},
		"audit: another deployment":           {"11", set(fields{"ka.target.name": "web-2"}), false},
		"a number instead of text":            {"11", set(fields{"ka.response.code": json.Number("404")}), false},
		"an object that differs":              {"11", set(fields{"ka.req": fields{"a": "b"}}), false},
		"falcosidekick's custom fields":       {"12", set(fields{"cluster": "prod-1", "Team": "shop"}), true},
		"falcosidekick's outputfieldformat":   {"12", func(a *falco.Alert) { a.Output = "[Critical] " + a.Output }, true},
		"falcosidekick's bracketreplacer": {"09", func(a *falco.Alert) {
			a.Fields["ka.uri.param_command_"] = a.Fields["ka.uri.param[command]"]
			delete(a.Fields, "ka.uri.param[command]")
		}, true},
		"null instead of nothing":            {"12", set(fields{"ct.error": nil}), true},
		"a system call has its time instead": {"01", set(fields{"proc.name": "x", "ct.id": "1", "ka.auditid": "2"}), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			base, changed := captured(t, c.capture), captured(t, c.capture)
			c.change(&changed)
			if (changed.ID() == base.ID()) != c.same {
				t.Errorf("the id stayed the same: %t, want %t", !c.same, c.same)
			}
		})
	}
	t.Run("one audit id, whatever else is cut or added", func(t *testing.T) {
		base, changed := captured(t, "09"), captured(t, "09")
		base.Fields["ka.auditid"], changed.Fields["ka.auditid"] = "9d5d1c1e", "9d5d1c1e"
		changed.Fields["ka.target.name"] = "other"
		if base.ID() != changed.ID() {
			t.Error("two ids for one audit event")
		}
	})
}

// By whatever way an alert comes, it has one id.
func TestIDIsTheSameByEveryWay(t *testing.T) {
	for _, c := range testkit.Captures(t) {
		if c.Rejected || strings.HasPrefix(c.Name, "45-") { // Falcosidekick gives its own test a new time.
			continue
		}
		direct, err := falco.Decode(c.Alert)
		if err != nil {
			t.Fatal(err)
		}
		for way, r := range map[string]*http.Request{"cloudevents": c.CloudEvent(t, ""), "openfaas": c.OpenFaaS(t, ""), "webhook": c.Webhook(t, "")} {
			if r == nil {
				continue
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			by, err := falco.Decode(body)
			if err != nil {
				t.Fatal(err)
			}
			if by.ID() != direct.ID() {
				t.Errorf("%s has the id %s by %s, and %s from falco itself", c.Name, by.ID(), way, direct.ID())
			}
			if compact := by.Compact(); compact.ID() != direct.ID() {
				t.Errorf("%s has another id once it is cut", c.Name)
			}
		}
	}
}

// Falcosidekick cuts long strings where the alert is large, perhaps within a character.
func TestIDSurvivesFalcosidekicksCut(t *testing.T) {
	long := strings.Repeat("a", 511) + "é" + strings.Repeat("b", 4000)
	whole, cut, other := captured(t, "12"), captured(t, "12"), captured(t, "12")
	whole.Fields["ct.request"] = long
	cut.Fields["ct.request"] = long[:511] + "\ufffd[...]"
	other.Fields["ct.request"] = "z" + long[1:]
	if whole.ID() != cut.ID() || whole.ID() == other.ID() {
		t.Errorf("the ids are %s whole, %s cut, %s of another", whole.ID(), cut.ID(), other.ID())
	}
}

func captured(t *testing.T, capture string) falco.Alert {
	t.Helper()
	a, err := falco.Decode(testkit.Find(t, capture).Alert)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func set(values map[string]any) func(*falco.Alert) {
	return func(a *falco.Alert) { maps.Copy(a.Fields, values) }
}
