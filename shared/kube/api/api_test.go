package api_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/riposte-dev/riposte/shared/kube/api"
)

// Every field here is a field there, under the same name, in the same place of the JSON, of a type that reads the same.
func TestTypesAreThoseOfKubernetes(t *testing.T) {
	for _, c := range []struct{ ours, theirs any }{
		{api.Pod{}, corev1.Pod{}},
		{api.Node{}, corev1.Node{}},
		{api.ServiceList{}, corev1.ServiceList{}},
		{api.ObjectReference{}, corev1.ObjectReference{}},
		{api.Event{}, eventsv1.Event{}},
		{api.NetworkPolicy{}, networkingv1.NetworkPolicy{}},
		{api.NetworkPolicyList{}, networkingv1.NetworkPolicyList{}},
	} {
		ours := reflect.TypeOf(c.ours)
		within(t, ours.Name(), ours, reflect.TypeOf(c.theirs))
	}
	for ours, theirs := range map[any]any{
		api.PodReady: string(corev1.PodReady), api.ConditionTrue: string(corev1.ConditionTrue),
		api.MirrorPodAnnotationKey: corev1.MirrorPodAnnotationKey, api.LabelMetadataName: corev1.LabelMetadataName,
		api.NamespaceTerminatingCause:   corev1.NamespaceTerminatingCause,
		api.TaintEffectNoSchedule:       string(corev1.TaintEffectNoSchedule),
		api.TaintEffectPreferNoSchedule: string(corev1.TaintEffectPreferNoSchedule),
		api.TaintEffectNoExecute:        string(corev1.TaintEffectNoExecute),
		api.EventTypeNormal:             corev1.EventTypeNormal, api.EventTypeWarning: corev1.EventTypeWarning,
		string(api.PolicyTypeIngress): string(networkingv1.PolicyTypeIngress), string(api.PolicyTypeEgress): string(networkingv1.PolicyTypeEgress),
		string(api.ProtocolTCP): string(corev1.ProtocolTCP), string(api.ProtocolUDP): string(corev1.ProtocolUDP),
	} {
		if ours != theirs {
			t.Errorf("%v is %v there", ours, theirs)
		}
	}
}

// What is written is what they write, empty or not.
func TestWhatIsWrittenIsWhatTheyWrite(t *testing.T) {
	for _, c := range []struct{ ours, theirs any }{
		{api.Taint{}, &corev1.Taint{}},
		{api.Taint{Key: "a", Value: "b", Effect: "NoExecute"}, &corev1.Taint{}},
		{api.NetworkPolicySpec{}, &networkingv1.NetworkPolicySpec{}},
		{api.NetworkPolicyPeer{}, &networkingv1.NetworkPolicyPeer{}},
		{api.NetworkPolicyPort{}, &networkingv1.NetworkPolicyPort{}},
		{api.IPBlock{}, &networkingv1.IPBlock{}},
		{api.ContainerState{}, &corev1.ContainerState{}},
		{api.ContainerStateTerminated{}, &corev1.ContainerStateTerminated{}},
		{api.ContainerState{Running: &api.ContainerStateRunning{}, Waiting: &api.ContainerStateWaiting{Reason: "a"}}, &corev1.ContainerState{}},
		{api.ObjectReference{}, &corev1.ObjectReference{}},
		{api.ObjectReference{Kind: "Pod", Name: "p"}, &corev1.ObjectReference{}},
	} {
		convert(t, c.ours, c.theirs)
		if !same(t, c.ours, c.theirs) {
			t.Errorf("%T is written %s, there %s", c.ours, text(t, c.ours), text(t, c.theirs))
		}
	}
}

// within holds a type against one that has all of its fields.
func within(t *testing.T, path string, ours, theirs reflect.Type) {
	t.Helper()
	switch {
	case ours == theirs || ours == reflect.TypeFor[json.RawMessage]():
		return
	case ours.Kind() != theirs.Kind():
		t.Errorf("%s is a %s, there a %s", path, ours.Kind(), theirs.Kind())
		return
	case ours.Kind() == reflect.Slice || ours.Kind() == reflect.Pointer:
		within(t, path, ours.Elem(), theirs.Elem())
		return
	case ours.Kind() != reflect.Struct:
		return
	}
	for i := range ours.NumField() {
		mine := ours.Field(i)
		other, ok := theirs.FieldByName(mine.Name)
		if !ok || tag(mine) != tag(other) {
			t.Errorf("%s.%s is %q in JSON, there %q", path, mine.Name, tag(mine), tag(other))
			continue
		}
		within(t, path+"."+mine.Name, mine.Type, other.Type)
	}
}

// tag is a field's name in JSON.
func tag(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// What is compared, or written back, is here as a whole: isolate lacks nothing of a policy, and taint takes nothing from the taints
// that it found on a node.
func TestPoliciesAndTaintsAreWhole(t *testing.T) {
	within(t, "NetworkPolicySpec", reflect.TypeFor[networkingv1.NetworkPolicySpec](), reflect.TypeFor[api.NetworkPolicySpec]())
	within(t, "Taint", reflect.TypeFor[corev1.Taint](), reflect.TypeFor[api.Taint]())
	port, protocol, end := intstr.FromString("http"), api.ProtocolTCP, int32(90)
	ours := api.NetworkPolicySpec{
		PolicyTypes: []api.PolicyType{api.PolicyTypeIngress},
		Egress: []api.NetworkPolicyEgressRule{{
			Ports: []api.NetworkPolicyPort{{Protocol: &protocol, Port: &port, EndPort: &end}},
			To:    []api.NetworkPolicyPeer{{IPBlock: &api.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}},
		}},
	}
	var theirs networkingv1.NetworkPolicySpec
	convert(t, ours, &theirs)
	if same(t, ours, api.NetworkPolicySpec{}) || !same(t, ours, theirs) {
		t.Errorf("%+v is %+v there", ours, theirs)
	}
}

func TestTaintIsThatOfKubernetes(t *testing.T) {
	for _, taint := range []api.Taint{
		{Key: "falco/alert", Value: "true", Effect: "NoSchedule"}, {Key: "falco/alert", Effect: "NoExecute"}, {Key: "a", Value: "true", Effect: "NoSchedule"},
	} {
		var theirs corev1.Taint
		convert(t, taint, &theirs)
		if taint.String() != theirs.ToString() {
			t.Errorf("it is written %q, there %q", taint, theirs.ToString())
		}
		for _, other := range []api.Taint{{Key: "falco/alert", Effect: "NoSchedule"}, {Key: "falco/alert", Effect: "NoExecute"}, {Key: "a", Effect: "NoSchedule"}} {
			var another corev1.Taint
			convert(t, other, &another)
			if taint.MatchTaint(other) != theirs.MatchTaint(&another) {
				t.Errorf("that %s matches %s is %t", taint, other, taint.MatchTaint(other))
			}
		}
	}
}

func convert(t *testing.T, from, into any) {
	t.Helper()
	if err := json.Unmarshal(text(t, from), into); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, a, b any) bool {
	t.Helper()
	return string(text(t, a)) == string(text(t, b))
}

func text(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
