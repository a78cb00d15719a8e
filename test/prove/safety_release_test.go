//go:build prove

package prove

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// restored contains pods and nodes for two seconds, with and without a change of somebody else in between, and looks at
// what is left when release has been there.
func restored(p proof, e *testkit.Env) {
	const ttl = 2 * time.Second
	release, _ := replicas(p, e, 1, "release")
	for _, function := range []string{"isolate", "label", "taint"} {
		all, _ := replicas(p, e, 1, function, append(kubernetes()[function], "TTL="+ttl.String())...)
		pod := suspect(p, e)
		before := written(p, e, function, pod)
		alert := testkit.AlertFor(p.T, pod)
		applied := time.Now()
		all[0].Alert(alert).Expect(p.T, "200 applied")
		changed := !bytes.Equal(before, written(p, e, function, pod))
		var after []byte
		await(p, function+" is released", func() error {
			tick(p, release[0])
			if after = written(p, e, function, pod); !bytes.Equal(before, after) {
				return errors.New("it is not as it was")
			}
			return nil
		})
		took := time.Since(applied)
		p.row(function+" with a TTL of 2s: released, the object equal to the original",
			fmt.Sprintf("changed: %t, equal after %s, %d bytes", changed, took.Round(100*time.Millisecond), len(after)),
			"equal, not before 2s", changed && took >= ttl)
	}
	foreign(p, e, release[0])
}

// foreign lets somebody else change the label that was set, and a label beside it, before the release.
func foreign(p proof, e *testkit.Env, release *process.Process) {
	label, _ := replicas(p, e, 1, "label", "LABELS=quarantine=true,team=blue", "TTL=2s")
	pod := suspect(p, e)
	label[0].Alert(testkit.AlertFor(p.T, pod)).Expect(p.T, "200 applied")
	e.Patch(p.T, &pod, map[string]any{"metadata": map[string]any{"labels": map[string]any{"quarantine": "theirs", "other": "theirs"}}})
	var answer testkit.Answer
	await(p, "the label is released", func() error {
		a := tick(p, release)
		if a.Status == http.StatusOK {
			answer = a
		}
		now := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
		e.Get(p.T, now)
		if _, there := now.Labels["team"]; there {
			return errors.New("it is not released")
		}
		pod = *now
		return nil
	})
	kept := pod.Labels["quarantine"] == "theirs" && pod.Labels["other"] == "theirs"
	both := bytes.Contains(answer.Body, []byte(`"theirs"`)) && bytes.Contains(answer.Body, []byte(`"true"`))
	p.row("a value that somebody else has set in between stays, and the outcome says both",
		fmt.Sprintf("kept: %t, reason %s, both values: %t", kept, answer.Record.Reason, both), "kept, conflict, both",
		kept && both && answer.Record.Reason == "conflict")
}

// await asks ten times a second until there is no error.
func await(p proof, what string, check func() error) {
	p.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("%s: %v", what, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// tick is what a clock sends to release: no body at all.
func tick(t proof, release *process.Process) testkit.Answer {
	t.Helper()
	a, err := release.Deliver(t.Context(), []byte("{}"))
	if err != nil || a.Status/100 != 2 {
		t.Errorf("a tick is answered %s (%v)", a.Verdict(), err)
	}
	return a
}

// written is what is written of the function's target on the API server, but for who manages it and its version.
func written(p proof, e *testkit.Env, function string, pod corev1.Pod) []byte {
	p.Helper()
	var object testkit.Object
	if function == "taint" {
		object = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
	} else {
		object = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	}
	e.Get(p.T, object)
	object.SetManagedFields(nil)
	object.SetResourceVersion("")
	if node, ok := object.(*corev1.Node); ok {
		node.Status = corev1.NodeStatus{} // Its kubelet goes on writing it.
	}
	b, err := json.Marshal(object)
	if err != nil {
		p.Fatal(err)
	}
	return b
}
