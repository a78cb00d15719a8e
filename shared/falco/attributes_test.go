package falco

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAttributes(t *testing.T) {
	tests := map[string]struct {
		change func(*Alert)
		want   map[string]string
	}{
		"everything is known": {
			func(*Alert) {},
			map[string]string{
				"rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall", "hostname": "node-1",
				"k8snamespace": "shop", "k8spod": "cart-0", "tags": "container,mitre_execution",
				"ruleslug": "terminal_shell_in_container", "cluster": "prod",
			},
		},
		"nothing but what must be": {
			func(a *Alert) { a.Hostname, a.Tags, a.Fields = "", nil, Fields{"k8s.ns.name": "<NA>"} },
			map[string]string{
				"rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall",
				"ruleslug": "terminal_shell_in_container", "cluster": "prod",
			},
		},
		"a header in a rule": {
			func(a *Alert) { a.Rule = " a\r\nCe-Priority: Critical\x00\u2028 " },
			map[string]string{
				"rule": "a  Ce-Priority: Critical", "priority": "Notice", "eventsource": "syscall", "hostname": "node-1",
				"k8snamespace": "shop", "k8spod": "cart-0", "tags": "container,mitre_execution",
				"ruleslug": "a_ce_priority_critical", "cluster": "prod",
			},
		},
		"a name cut in the middle of a letter": {
			func(a *Alert) {
				a.Fields["k8s.pod.name"] = strings.Repeat("a", 511) + "é"
				a.Fields["k8s.ns.name"] = "\xff"
				a.Tags = []string{" ", "\t"}
			},
			map[string]string{
				"rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall", "hostname": "node-1",
				"k8snamespace": "?", "k8spod": strings.Repeat("a", 511), "tags": ",",
				"ruleslug": "terminal_shell_in_container", "cluster": "prod",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := Alert{
				Rule: "Terminal shell in container", Priority: Notice, Source: "syscall", Hostname: "node-1",
				Tags:   []string{"container", "mitre_execution"},
				Fields: Fields{"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "n": json.Number("1")},
			}
			test.change(&a)
			got := a.Attributes()
			maps.Copy(got, a.RouterAttributes("prod"))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}
