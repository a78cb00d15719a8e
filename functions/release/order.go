package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// request is the data of a dev.riposte.release.v1 event: one object, or all that a label selector selects.
type request struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Selector  string `json:"selector"`
	// Response is isolate, taint or label, or one record's name, such as label-1a2b3c4d; empty is all.
	Response string `json:"response"`
}

// order is what an event wants released.
type order struct {
	request

	event string
	tick  bool
	// due is the moment by which a record has to be due; nil is that it does not matter.
	due      *time.Time
	resource kube.Resource // of the one object
	selector labels.Selector
}

// wants says whether the record is among what is wanted.
func (o order) wants(r restore.Record) bool {
	if o.due != nil && !r.Due(*o.due) {
		return false
	}
	return o.Response == "" || o.Response == r.Response || o.Response == restore.ResponseOf(r.Response)
}

// order reads an event.
func (r *responder) order(e response.Event) (order, error) {
	now := r.now()
	o := order{event: e.ID, selector: labels.Everything()}
	if e.Type == TypeTick {
		o.tick, o.due = true, &now
		return o, tick(e.Data)
	}
	d := json.NewDecoder(bytes.NewReader(e.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o.request); err != nil {
		return o, fmt.Errorf("request is not readable: %w: want kind, namespace and name, or selector; and uid and response if you like", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("request is followed by more data: want one JSON object")
	}
	return r.checked(o)
}

// tick refuses what looks like a request whose envelope was forgotten: it would release something else.
func tick(data []byte) error {
	var body map[string]any
	_ = json.Unmarshal(data, &body) // A clock sends what it was told to, JSON or not.
	for _, key := range []string{"kind", "namespace", "name", "uid", "selector", "response"} {
		if _, has := body[key]; has {
			return fmt.Errorf("body without an envelope has %s: a request is a CloudEvent of type %s, and any other body releases what is due", key, TypeRequest)
		}
	}
	return nil
}

func (r *responder) checked(o order) (order, error) {
	if o.Response != "" && !known(o.Response) {
		return o, fmt.Errorf("response is %.80q: want isolate, taint or label, or the name of a record such as label-1a2b3c4d", o.Response)
	}
	if o.Selector != "" {
		if o.Kind+o.Namespace+o.Name+o.UID != "" {
			return o, errors.New("selector stands beside kind, namespace, name or uid: want one or the other")
		}
		selector, err := labels.Parse(o.Selector)
		if err != nil {
			return o, fmt.Errorf("selector is %.200q: want a label selector such as team=red (%w)", o.Selector, err)
		}
		o.selector = selector
		return o, nil
	}
	var kinds []string
	for _, resource := range r.resources() {
		kinds = append(kinds, kindOf(resource))
		if strings.EqualFold(o.Kind, kindOf(resource)) {
			o.resource, o.Kind = resource, kindOf(resource)
		}
	}
	switch {
	case o.resource == "":
		return o, fmt.Errorf("kind is %.80q: want one of %s, which LEVELS allows", o.Kind, strings.Join(kinds, ", "))
	case len(validation.IsDNS1123Subdomain(o.Name)) > 0:
		return o, fmt.Errorf("name is %.80q: want the name of an object", o.Name)
	case namespaced(o.resource) != (o.Namespace != ""), o.Namespace != "" && len(validation.IsDNS1123Label(o.Namespace)) > 0:
		return o, fmt.Errorf("namespace is %.80q: want that of the %s, and none for nodes and namespaces", o.Namespace, o.Kind)
	}
	return o, nil
}

// known says whether a response, or a record, can be of that name.
func known(name string) bool {
	return len(validation.IsDNS1123Label(name)) == 0 &&
		map[string]bool{"isolate": true, "taint": true, "label": true}[restore.ResponseOf(name)]
}

func namespaced(r kube.Resource) bool { return r != kube.Nodes && r != kube.Namespaces }

// Techniques implements response.Defender.
func (*responder) Techniques() []response.Technique {
	return []response.Technique{response.RestoreConfiguration}
}
