package function

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// How many bytes of each text are shown.
const (
	maxOutput = 2000
	maxField  = 1000
	maxRule   = 300
	maxName   = 260 // A Kubernetes name has 253.
)

// View is what MESSAGE_TEMPLATE can use. Every text in it is escaped, in one line and without backticks, so that it
// can stand in code; Output and Message keep their line breaks.
type View struct {
	AlertID, Rule, Priority, Source, Hostname, Output string
	Namespace, Pod, Container                         string
	// Time is the alert's, in RFC 3339.
	Time string
	Tags []string
	// Fields are the output fields, as text.
	Fields map[string]string
	// Response, Outcome, Reason, Message and Target are set for outcomes only; DryRun says that nothing was changed.
	Response, Outcome, Reason, Message, Target string
	DryRun                                     bool
}

func viewAlert(a falco.Alert) View {
	ref := a.Pod()
	v := View{
		AlertID: a.ID(), Rule: escape(a.Rule, maxRule), Priority: a.Priority.String(), Source: escape(a.Source, maxName),
		Hostname: escape(a.Hostname, maxName), Output: escapeLines(a.Output, maxOutput), Namespace: escape(ref.Namespace, maxName),
		Pod: escape(ref.Name, maxName), Container: escape(ref.Container, maxName), Time: a.Time.Format(time.RFC3339Nano),
		Fields: map[string]string{},
	}
	for _, tag := range a.Tags {
		v.Tags = append(v.Tags, escape(tag, maxName))
	}
	for key, value := range a.Fields {
		v.Fields[escape(key, maxName)] = escape(plain(value), maxField)
	}
	return v
}

func viewOutcome(r response.Record) View {
	v := viewAlert(r.Alert)
	v.AlertID = escape(r.AlertID, maxName)
	v.Response, v.Outcome, v.Reason = escape(r.Response, maxName), escape(string(r.Outcome), maxName), escape(string(r.Reason), maxName)
	v.Message, v.DryRun = escapeLines(r.Message, maxField), r.DryRun
	if t := r.Target; t != nil {
		v.Target = escape(t.Kind+" "+strings.TrimPrefix(t.Namespace+"/"+t.Name, "/"), 2*maxName)
	}
	return v
}

// plain is a field's value as text.
func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
