package response

import (
	"strconv"
	"time"

	"github.com/riposte-dev/riposte/shared/plainjson"
)

// appendJSON writes the record as json.Marshal does, member for member: most of what a duplicate costs would else be the
// reflection on its outcome.
func (r *Record) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text(`"id":`, r.ID)
	w.text(`"response":`, r.Response)
	w.text(`"outcome":`, string(r.Outcome))
	w.some(`"reason":`, string(r.Reason))
	w.text(`"message":`, r.Message)
	w.flag(`"dry_run":`, r.DryRun)
	if r.Repeat {
		w.flag(`"repeat":`, true)
	}
	w.number(`"hops":`, int64(r.Hops))
	w.text(`"alert_id":`, r.AlertID)
	w.member(`"alert":`, r.Alert.AppendJSON)
	if r.Target != nil {
		w.member(`"target":`, r.Target.appendJSON)
	}
	if len(r.Changes) > 0 {
		w.member(`"changes":`, r.appendChanges)
	}
	if len(r.Details) > 0 {
		w.value(`"details":`, r.Details)
	}
	w.member(`"timings":`, r.Timings.appendJSON)
	r.write(&w)
	return w.end()
}

func (t *Target) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text(`"kind":`, t.Kind)
	w.some(`"namespace":`, t.Namespace)
	w.text(`"name":`, t.Name)
	w.some(`"uid":`, t.UID)
	w.some(`"resource":`, t.Resource)
	return w.end()
}

func (r *Record) appendChanges(b []byte) ([]byte, error) {
	return appendAll(b, r.Changes, func(w *writer, c Change) {
		w.text(`"field":`, c.Field)
		w.value(`"before":`, c.Before)
		w.value(`"after":`, c.After)
	})
}

func (t *Timings) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.moment(`"alert":`, t.Alert)
	w.moment(`"received":`, t.Received)
	w.moment(`"done":`, t.Done)
	w.value(`"response_ms":`, t.ResponseMS)
	return w.end()
}

// write adds the attributes to those of the record.
func (o *OCSF) write(w *writer) {
	w.number(`"class_uid":`, int64(o.ClassUID))
	w.text(`"class_name":`, o.ClassName)
	w.number(`"category_uid":`, int64(o.CategoryUID))
	w.text(`"category_name":`, o.CategoryName)
	w.number(`"activity_id":`, int64(o.ActivityID))
	w.text(`"activity_name":`, o.ActivityName)
	w.number(`"type_uid":`, int64(o.TypeUID))
	w.text(`"type_name":`, o.TypeName)
	w.number(`"severity_id":`, int64(o.SeverityID))
	w.text(`"severity":`, o.Severity)
	w.number(`"status_id":`, int64(o.StatusID))
	w.text(`"status":`, o.Status)
	w.text(`"status_code":`, o.StatusCode)
	w.text(`"status_detail":`, o.StatusDetail)
	w.text(`"command_uid":`, o.CommandUID)
	w.number(`"time":`, o.Time)
	w.number(`"start_time":`, o.StartTime)
	w.number(`"end_time":`, o.EndTime)
	w.number(`"duration":`, o.Duration)
	w.number(`"timezone_offset":`, int64(o.TimezoneOffset))
	if len(o.Countermeasures) > 0 {
		w.member(`"countermeasures":`, o.appendCountermeasures)
	}
	if len(o.Observables) > 0 {
		w.member(`"observables":`, o.appendObservables)
	}
	w.member(`"metadata":`, o.Metadata.appendJSON)
	w.number(`"action_id":`, int64(o.ActionID))
	w.text(`"action":`, o.Action)
	w.number(`"disposition_id":`, int64(o.DispositionID))
	w.text(`"disposition":`, o.Disposition)
	if len(o.Attacks) > 0 {
		w.member(`"attacks":`, o.appendAttacks)
	}
}

func (o *OCSF) appendCountermeasures(b []byte) ([]byte, error) {
	return appendAll(b, o.Countermeasures, func(w *writer, c d3fend) {
		w.member(`"d3f_tactic":`, c.Tactic.appendJSON)
		if c.Technique != nil {
			w.member(`"d3f_technique":`, c.Technique.appendJSON)
		}
		w.text(`"version":`, c.Version)
	})
}

func (n *d3fendName) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text(`"name":`, n.Name)
	w.some(`"uid":`, n.UID)
	w.text(`"src_url":`, n.URL)
	return w.end()
}

func (o *OCSF) appendObservables(b []byte) ([]byte, error) {
	return appendAll(b, o.Observables, func(w *writer, x observable) {
		w.text(`"name":`, x.Name)
		w.number(`"type_id":`, int64(x.TypeID))
		w.text(`"value":`, x.Value)
	})
}

func (m *ocsfMetadata) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text(`"version":`, m.Version)
	w.text(`"uid":`, m.UID)
	w.text(`"correlation_uid":`, m.CorrelationUID)
	w.value(`"profiles":`, m.Profiles)
	w.member(`"product":`, m.Product.appendJSON)
	return w.end()
}

func (p *ocsfProduct) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text(`"name":`, p.Name)
	w.text(`"vendor_name":`, p.VendorName)
	w.some(`"version":`, p.Version)
	w.member(`"feature":`, func(b []byte) ([]byte, error) {
		w := writer{b: append(b, '{')}
		w.text(`"name":`, p.Feature.Name)
		return w.end()
	})
	return w.end()
}

func (o *OCSF) appendAttacks(b []byte) ([]byte, error) {
	return appendAll(b, o.Attacks, func(w *writer, a attack) {
		for _, named := range []struct {
			member string
			name   *attackName
		}{{`"tactic":`, a.Tactic}, {`"technique":`, a.Technique}, {`"sub_technique":`, a.SubTechnique}} {
			if named.name != nil {
				w.member(named.member, named.name.appendJSON)
			}
		}
	})
}

func (n *attackName) appendJSON(b []byte) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.some(`"name":`, n.Name)
	w.some(`"uid":`, n.UID)
	w.some(`"src_url":`, n.URL)
	return w.end()
}

// writer writes the members of an object, up to the first error. Their names are given as they stand in it, with quotes and
// colon.
type writer struct {
	b   []byte
	err error
}

func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, name...)
}

func (w *writer) text(name, value string) {
	if w.err == nil {
		w.name(name)
		w.b = plainjson.AppendString(w.b, value)
	}
}

// some leaves an empty text out.
func (w *writer) some(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *writer) number(name string, value int64) {
	if w.err == nil {
		w.name(name)
		w.b = strconv.AppendInt(w.b, value, 10)
	}
}

func (w *writer) flag(name string, value bool) {
	if w.err == nil {
		w.name(name)
		w.b = strconv.AppendBool(w.b, value)
	}
}

func (w *writer) moment(name string, value time.Time) {
	if w.err == nil {
		w.name(name)
		w.b, w.err = plainjson.AppendTime(w.b, value)
	}
}

func (w *writer) value(name string, value any) {
	if w.err == nil {
		w.name(name)
		w.b, w.err = plainjson.Append(w.b, value)
	}
}

// member writes what encode appends.
func (w *writer) member(name string, encode func([]byte) ([]byte, error)) {
	if w.err == nil {
		w.name(name)
		w.b, w.err = encode(w.b)
	}
}

func (w *writer) end() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return append(w.b, '}'), nil
}

// appendAll writes a list of objects.
func appendAll[T any](b []byte, all []T, members func(*writer, T)) (_ []byte, err error) {
	separator := byte('[')
	for _, one := range all {
		w := writer{b: append(b, separator, '{')}
		members(&w, one)
		if b, err = w.end(); err != nil {
			return nil, err
		}
		separator = ','
	}
	return append(b, ']'), nil
}
