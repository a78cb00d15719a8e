package target

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

const (
	// announcing bounds the one request of an announcement: the answer to the alert waits for it.
	announcing = 2 * time.Second
	// maxNote is how long the text of an event may be, in bytes.
	maxNote = 1024
	// maxReporter is how long the name of the process that reports may be, in bytes.
	maxReporter = 128
)

// Announcer implements response.Announcer for a function on Kubernetes.
type Announcer struct {
	client *kube.Client
	// mute says that the function may not create events, and has said so.
	mute atomic.Bool
}

// NewAnnouncer announces with the rights of client.
func NewAnnouncer(client *kube.Client) *Announcer { return &Announcer{client: client} }

// Announce says by a Kubernetes Event what was done about an alert, once, where
// people look: at the target, or, if that is on its way out, at the controller that replaces it. What has no target that
// was verified is not announced, and neither is what changed nothing without anybody's forbidding it.
//
// A function that may not create events says so once.
func (a *Announcer) Announce(ctx context.Context, record response.Record) error {
	e := eventOf(record)
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, announcing)
	defer cancel()
	err := a.client.CreateOnce(ctx, kube.Events, e.Namespace, e.Name, e)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.HasStatusCause(err, api.NamespaceTerminatingCause):
		return nil // It takes its events with it.
	case apierrors.IsForbidden(err) && a.mute.Swap(true):
		return nil
	}
	return err
}

// eventOf is the event that announces an outcome; nil for none.
func eventOf(record response.Record) *api.Event {
	switch record.Outcome {
	case response.Applied, response.Refused, response.Failed, response.DryRun:
	case response.Unchanged, response.Skipped:
		return nil
	}
	if record.Target == nil || record.Target.UID == "" {
		return nil
	}
	regarding, related := referees(record)
	namespace := regarding.Namespace
	if namespace == "" { // Where events of what is in no namespace have to be.
		namespace = metav1.NamespaceDefault
	}
	kind := api.EventTypeWarning // As of what else happens to a workload against its will: Evicted, Unhealthy.
	if record.ActivityID == response.Restore && record.Outcome != response.Failed {
		kind = api.EventTypeNormal
	}
	return &api.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"},
		// The same outcome has the same name, so that a repeat makes no second event.
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: "riposte-" + record.ID + "-" + string(record.Outcome)},
		EventTime:           metav1.NewMicroTime(record.Timings.Done),
		ReportingController: "riposte.dev/" + record.Response,
		ReportingInstance:   reporter(),
		Action:              record.Response,
		Reason:              reasons(record.Outcome),
		Regarding:           regarding,
		Related:             related,
		Note:                note(record),
		Type:                kind,
	}
}

// reasons are those of the events, as Kubernetes writes them.
func reasons(v response.Verdict) string {
	switch v {
	case response.Applied:
		return "RiposteApplied"
	case response.Refused:
		return "RiposteRefused"
	case response.Failed:
		return "RiposteFailed"
	case response.DryRun:
		return "RiposteDryRun"
	case response.Unchanged, response.Skipped:
	}
	return "Riposte"
}

// referees are the object that the event is of, and the target if that is another.
func referees(record response.Record) (api.ObjectReference, *api.ObjectReference) {
	target := api.ObjectReference{
		APIVersion: "v1", Kind: record.Target.Kind, Namespace: record.Target.Namespace, Name: record.Target.Name, UID: types.UID(record.Target.UID),
	}
	found, ok := record.Target.Object.(*Found)
	if !ok || found.Top() == nil {
		return target, nil
	}
	top := found.Top()
	owner := api.ObjectReference{
		APIVersion: top.APIVersion, Kind: top.Kind, Namespace: found.Pod.Namespace, Name: top.Name, UID: top.UID,
	}
	switch {
	case target.UID == owner.UID: // Its group is known here only.
		return owner, nil
	case target.Kind == "Pod" && record.ActivityID == response.Evict && (record.Outcome == response.Applied || record.Outcome == response.DryRun):
		return owner, &target
	}
	return target, nil
}

// note is the text. Rules, and what a message quotes, can hold what an attacker wrote.
func note(record response.Record) string {
	text := fmt.Sprintf("%s: %s", record.Alert.Rule, record.Message)
	if record.Reason != "" {
		text += fmt.Sprintf(" (%s)", record.Reason)
	}
	return printable(fmt.Sprintf("%s [alert %s]", printable(text, maxNote-64), record.AlertID), maxNote)
}

// printable is text for a terminal: one line, without control characters, without those that change the direction of
// what follows, and of so many bytes at most.
func printable(text string, most int) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, text))
	if len(text) <= most {
		return text
	}
	const cut = "..."
	end := most - len(cut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}

// reporter is the pod that reports, whose name is its host's.
func reporter() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "unknown"
	}
	return name[:min(len(name), maxReporter)]
}
