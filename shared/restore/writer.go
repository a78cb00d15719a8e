package restore

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// Writer writes the restore records of one deployment of a response.
type Writer struct {
	name  string
	terms Terms
	store store.Store
	now   func() time.Time
}

// NewWriter makes a writer of records of that NAME. The store says who was contained before; nil is nobody.
func NewWriter(name string, terms Terms, s store.Store) *Writer {
	return &Writer{name: name, terms: terms, store: s, now: time.Now}
}

// Note are the marks to put on an object, in the very request that contains it. Neither map is nil: a merge patch would take
// that for an order to remove all labels, or all annotations.
type Note struct {
	Labels, Annotations map[string]string
	// Without says why there are no marks, so that the change can be undone by hand alone; empty where there are.
	Without string
}

// Told is the message of an outcome, which says where release cannot undo what was done.
func (n Note) Told(message string) string {
	if n.Without == "" {
		return message
	}
	return message + "; release cannot undo it: " + n.Without
}

// mostAnnotations is what the API server takes as annotations of one object, in bytes.
// https://pkg.go.dev/k8s.io/apimachinery/pkg/api/validation#TotalAnnotationSizeLimitB
const mostAnnotations = 256 << 10

// Note makes the marks for changes that are about to be made to the object, as it was read. A record that the object has
// already grows by them. Nobody can prevent a containment by what he writes on the object: a record that is not believed,
// or was filled up, is replaced, and where there is no room for one the object is contained without.
//
// The same alert again, after an attempt that was cut off, counts as one time and moves no deadline.
func (w *Writer) Note(ctx context.Context, o *Object, alert falco.Alert, changes []response.Change) (Note, error) {
	keys, err := ReadKeys(w.terms.Key)
	if err != nil {
		return Note{}, err
	}
	records, _ := keys.Records(o)
	r, err := w.record(ctx, o, alert, records)
	if err != nil {
		return Note{}, err
	}
	for _, kept := range [][]Change{r.Changes, nil} {
		if r.Changes, err = w.join(kept, changes); err != nil {
			return Note{}, err
		}
		records[w.name] = r
		if err = r.check(o, w.name, true); err != nil {
			continue
		}
		var note Note
		if note, err = w.marks(keys, o, records); err == nil {
			return note, nil
		}
	}
	return Note{Labels: map[string]string{}, Annotations: map[string]string{}, Without: err.Error()}, nil
}

// Wrote says whether the object has a record of this writer that is believed.
func (w *Writer) Wrote(o *Object) (bool, error) {
	keys, err := ReadKeys(w.terms.Key)
	if err != nil {
		return false, err
	}
	records, _ := keys.Records(o)
	_, had := records[w.name]
	return had, nil
}

// marks are those of an object with these records. The error says that they do not fit on it.
func (w *Writer) marks(keys Keys, o *Object, records map[string]Record) (Note, error) {
	text, err := keys.Seal(records[w.name])
	if err != nil {
		return Note{}, err
	}
	if len(text) > largest {
		return Note{}, fmt.Errorf("restore record %s would have %d bytes: want %d or fewer", w.name, len(text), largest)
	}
	note := Note{Labels: map[string]string{Contained: "true"}, Annotations: map[string]string{Prefix + w.name: text}}
	if first := earliest(records); first != nil {
		note.Annotations[ReleaseAt] = moment(*first)
	}
	all, size := map[string]string{}, 0
	maps.Copy(all, o.Annotations)
	maps.Copy(all, note.Annotations)
	for key, value := range all {
		size += len(key) + len(value)
	}
	if size > mostAnnotations {
		return Note{}, fmt.Errorf("its annotations would have %d bytes with a restore record: want %d or fewer", size, mostAnnotations)
	}
	return note, nil
}

// join adds changes that are made now to those of a record.
func (w *Writer) join(list []Change, changes []response.Change) ([]Change, error) {
	at := w.now().UTC().Truncate(time.Millisecond)
	for _, c := range changes {
		var err error
		if list, err = join(list, c, at); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (w *Writer) expires() bool { return w.terms.TTL > 0 }

// record is the object's record without the new changes.
func (w *Writer) record(ctx context.Context, o *Object, alert falco.Alert, records map[string]Record) (Record, error) {
	old, had := records[w.name]
	about := aboutAlert(alert)
	if had && old.Alert.ID == about.ID {
		return old, nil
	}
	r := Record{
		Version: version, Response: w.name, UID: string(o.UID), Alert: about,
		Applied: w.now().UTC().Truncate(time.Millisecond), Times: old.Times + 1, Changes: old.Changes,
	}
	if !w.expires() {
		return r, nil
	}
	if !had && w.terms.Max > w.terms.TTL {
		before, err := recall(ctx, w.store, w.name, r.UID)
		if err != nil {
			return Record{}, err
		}
		r.Times = before + 1
	}
	until := r.Applied.Add(w.terms.lasts(r.Times))
	if had && old.ReleaseAt != nil && old.ReleaseAt.After(until) {
		until = *old.ReleaseAt
	}
	r.ReleaseAt = &until
	if w.terms.Max > w.terms.TTL { // Else it lasts as long each time.
		r.Remember = int64(w.terms.Max / time.Second)
	}
	return r, nil
}

// join adds a change to those of a record. Where it goes on from an earlier one, what that one found is what is to be put
// back; where somebody else has been in between, what they left is.
func join(list []Change, c response.Change, at time.Time) ([]Change, error) {
	before, err := plain(c.Before)
	if err != nil {
		return nil, err
	}
	after, err := plain(c.After)
	if err != nil {
		return nil, err
	}
	next := Change{Change: response.Change{Field: c.Field, Before: before, After: after}, At: at}
	out := make([]Change, 0, len(list)+1)
	for _, old := range list {
		if old.Field != c.Field {
			out = append(out, old)
			continue
		}
		if same(old.After, before) {
			next.Before = old.Before
		}
	}
	if same(next.Before, next.After) {
		return out, nil
	}
	return append(out, next), nil
}
