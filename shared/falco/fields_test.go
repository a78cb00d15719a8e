package falco_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/riposte-dev/riposte/shared/falco"
)

func TestFields(t *testing.T) {
	fields := falco.Fields{
		"text": "x", "empty": "", "whole": json.Number("-9223372036854775808"), "big": json.Number("9223372036854775808"),
		"half": json.Number("0.5"), "exponent": json.Number("1e2"), "null": nil, "bool": true, "list": []any{"x"}, "object": map[string]any{"text": "x"},
	}
	type answer struct {
		Text   string
		IsText bool
		Int    int64
		IsInt  bool
	}
	want := map[string]answer{
		"text": {Text: "x", IsText: true}, "empty": {IsText: true}, "whole": {Int: -9223372036854775808, IsInt: true},
		"big": {}, "half": {}, "exponent": {}, "null": {}, "bool": {}, "list": {}, "object": {}, "absent": {},
	}
	got := map[string]answer{}
	for key := range want {
		var a answer
		a.Text, a.IsText = fields.String(key)
		if i, ok := fields.Int(key); ok {
			a.Int, a.IsInt = i, true
		}
		got[key] = a
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestPod(t *testing.T) {
	full := strings.Repeat("0123456789abcdef", 4)
	cases := map[string]struct {
		fields falco.Fields
		want   falco.PodRef
	}{
		"a container in a pod": {
			fields: falco.Fields{"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "container.id": "3ad7b26ded6d", "container.name": "app"},
			want:   falco.PodRef{Namespace: "shop", Name: "cart-0", ContainerIDs: []string{"3ad7b26ded6d"}, Container: "app"},
		},
		"all that identifies a pod": {
			fields: falco.Fields{
				"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "k8s.pod.uid": "u-1", "k8s.pod.id": "u-2",
				"container.id": "0123456789ab", "container.full_id": full,
			},
			want: falco.PodRef{Namespace: "shop", Name: "cart-0", UIDs: []string{"u-1", "u-2"}, ContainerIDs: []string{"0123456789ab", full}},
		},
		"the host": {
			fields: falco.Fields{"container.id": "host", "container.name": "host", "k8s.ns.name": "<NA>", "k8s.pod.name": "<NA>"},
		},
		"null is unknown": {
			fields: falco.Fields{"container.id": nil, "container.name": nil, "k8s.ns.name": nil, "k8s.pod.name": nil, "k8s.pod.uid": nil},
		},
		"empty is unknown": {
			fields: falco.Fields{"container.id": "", "container.name": "", "k8s.ns.name": "", "k8s.pod.name": "", "k8s.pod.uid": ""},
		},
		"<NA> is unknown": {
			fields: falco.Fields{"container.id": "<NA>", "container.name": "<NA>", "k8s.ns.name": "<NA>", "k8s.pod.name": "<NA>", "k8s.pod.uid": "<NA>"},
		},
		"other types are unknown": {
			fields: falco.Fields{
				"container.id": json.Number("123456789012"), "container.name": true, "k8s.ns.name": json.Number("123"),
				"k8s.pod.name": []any{"a", "b"}, "k8s.pod.uid": map[string]any{"a": "b"},
			},
		},
		"a namespace alone": {
			fields: falco.Fields{"k8s.ns.name": "shop", "k8s.pod.name": nil},
			want:   falco.PodRef{Namespace: "shop"},
		},
		"a short container id would match by chance": {
			fields: falco.Fields{"container.id": "3ad7b26ded6", "container.full_id": full + "0"},
		},
		"a container id is lower-case hexadecimal": {
			fields: falco.Fields{"container.id": "3AD7B26DED6D", "container.full_id": "3ad7b26ded6d\n"},
		},
		"the pod of an audit event": {
			fields: falco.Fields{"ka.target.resource": "pods", "ka.target.namespace": "shop", "ka.target.name": "cart-0"},
			want:   falco.PodRef{Namespace: "shop", Name: "cart-0"},
		},
		"an audit event about something else": {
			fields: falco.Fields{"ka.target.resource": "deployments", "ka.target.namespace": "shop", "ka.target.name": "cart"},
		},
		"the pod of the system call stands before the one of an audit event": {
			fields: falco.Fields{
				"k8s.pod.name": "cart-0", "ka.target.resource": "pods", "ka.target.namespace": "other", "ka.target.name": "web",
			},
			want: falco.PodRef{Name: "cart-0"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := falco.Alert{Fields: c.fields, Output: "k8s_ns_name=kube-system k8s_pod_name=forged container_id=ffffffffffff"}
			if diff := cmp.Diff(c.want, a.Pod(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
		})
	}
}
