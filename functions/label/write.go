package function

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// writing is one target being labelled. What is to be set and what is to be removed are two requests, so that a second
// attempt may find half of it done.
type writing struct {
	*responder
	target response.Target
	alert  falco.Alert
	made   []response.Change
	// note are the marks of the latest attempt.
	note restore.Note
}

func (w *writing) label(ctx context.Context, found *target.Found) (response.Outcome, error) {
	labels, meta := w.config.Labels, found.Meta(w.config.Level)
	changes := labels.changes(meta.Labels)
	if len(changes) == 0 && len(w.made) == 0 {
		return response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "the labels already are as wanted"}, nil
	}
	if len(changes) > 0 {
		err := w.write(ctx, w.Resource(found), *meta, changes)
		if apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
			return response.Refuse(response.Conflict, "somebody else holds a label at another value and FORCE is false: %s", causes(err)), nil
		}
		if err != nil {
			return response.Outcome{}, err
		}
	}
	return response.Outcome{
		Verdict: response.Applied,
		Message: w.note.Told(fmt.Sprintf("labelled %s %s: %s", w.target.Kind, w.target.Name, labels)),
		Changes: w.made,
	}, nil
}

// write sets what is to be set, then removes what is to be removed. The first request carries the restore record of both.
// UID and version are preconditions.
func (w *writing) write(ctx context.Context, resource kube.Resource, meta metav1.ObjectMeta, changes []response.Change) error {
	object := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: w.target.Kind}, ObjectMeta: meta}
	note, err := w.records.Note(ctx, object, w.alert, changes)
	if err != nil {
		return err
	}
	w.note = note
	version := meta.ResourceVersion
	if len(w.config.Labels.set) > 0 {
		if version, err = w.set(ctx, resource, meta, note); err != nil {
			return err
		}
		note = restore.Note{}
	}
	isRemoved := func(c response.Change) bool { return c.After == nil }
	w.made = append(w.made, slices.DeleteFunc(slices.Clone(changes), isRemoved)...)
	removed := slices.DeleteFunc(slices.Clone(changes), func(c response.Change) bool { return !isRemoved(c) })
	if len(removed) == 0 {
		return nil
	}
	if err := w.remove(ctx, resource, meta, version, note); err != nil {
		return err
	}
	w.made = append(w.made, removed...)
	return nil
}

// remove takes off what is to go, whoever set it, and puts on the marks that are not there yet.
func (w *writing) remove(ctx context.Context, resource kube.Resource, meta metav1.ObjectMeta, version string, note restore.Note) error {
	labels := map[string]any{}
	for key, value := range note.Labels {
		labels[key] = value
	}
	for _, key := range w.config.Labels.remove {
		if _, ok := meta.Labels[key]; ok {
			labels[key] = nil
		}
	}
	metadata := map[string]any{"uid": w.target.UID, "resourceVersion": version, "labels": labels}
	if len(note.Annotations) > 0 {
		metadata["annotations"] = note.Annotations
	}
	return w.client.Merge(ctx, resource, w.target.Namespace, w.target.Name, map[string]any{"metadata": metadata}, nil)
}

// set applies the labels with the marks, and returns the version of the object afterwards. A conflict over the marks alone
// is overruled: they are Riposte's, and others of its functions write them too.
func (w *writing) set(ctx context.Context, resource kube.Resource, meta metav1.ObjectMeta, note restore.Note) (string, error) {
	labels := maps.Clone(w.config.Labels.set)
	maps.Copy(labels, note.Labels)
	metadata := map[string]any{
		"name": w.target.Name, "uid": w.target.UID, "resourceVersion": meta.ResourceVersion, "labels": labels, "annotations": note.Annotations,
	}
	if w.target.Namespace != "" {
		metadata["namespace"] = w.target.Namespace
	}
	configuration := map[string]any{"apiVersion": resource.APIVersion(), "kind": w.target.Kind, "metadata": metadata}
	var after metav1.PartialObjectMetadata
	apply := func(force bool) error {
		return w.client.Apply(ctx, resource, w.target.Namespace, w.target.Name, w.config.Labels.manager(), force, configuration, &after)
	}
	err := apply(w.config.Force)
	if overMarks(err, note) {
		err = apply(true)
	}
	return after.ResourceVersion, err
}

// overMarks says whether a conflict is over Riposte's marks and nothing else.
func overMarks(err error, note restore.Note) bool {
	if !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return false
	}
	marks := map[string]bool{}
	for key := range note.Labels {
		marks[".metadata.labels."+key] = true
	}
	for key := range note.Annotations {
		marks[".metadata.annotations."+key] = true
	}
	return !slices.ContainsFunc(kube.Causes(err), func(c metav1.StatusCause) bool { return !marks[c.Field] })
}

// causes lists the fields in conflict and who holds them.
func causes(err error) string {
	var list []string
	for _, c := range kube.Causes(err) {
		list = append(list, c.Field+" ("+c.Message+")")
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
