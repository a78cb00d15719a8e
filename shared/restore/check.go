package restore

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// most bounds the changes of a record.
const most = 512

// longestMemory bounds for how long a release is remembered.
const longestMemory = 366 * 24 * time.Hour

// namePattern are the NAMEs of the responses that can be undone.
var namePattern = regexp.MustCompile(`^(isolate|(label|taint)-[0-9a-f]{8})$`)

// check says why the record must not be acted on, whoever wrote it. signed says that its signature is checked beside this.
func (r Record) check(o *Object, name string, signed bool) error {
	switch {
	case !namePattern.MatchString(name):
		return errors.New("no response makes records of this name")
	case r.Version != version:
		return fmt.Errorf("version is %d: want %d", r.Version, version)
	case r.Response != name:
		return fmt.Errorf("response is %.80q: want %s", r.Response, name)
	case r.UID == "" || r.UID != string(o.UID):
		return fmt.Errorf("uid is %.80q, another object's", r.UID)
	case r.Times < 1 || r.Times > 1<<20:
		return fmt.Errorf("times is %d: want 1 or more", r.Times)
	case r.Applied.IsZero():
		return errors.New("applied is no time")
	case r.Remember < 0 || r.Remember > int64(longestMemory/time.Second):
		return fmt.Errorf("remember_s is %d: want 0 to %d", r.Remember, int64(longestMemory/time.Second))
	case len(r.Changes) > most:
		return fmt.Errorf("it has %d changes: want %d or fewer", len(r.Changes), most)
	}
	if err := r.Alert.check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, c := range r.Changes {
		if seen[c.Field] {
			return fmt.Errorf("changes[%d]: %.200q stands twice", i, c.Field)
		}
		seen[c.Field] = true
		if err := c.check(o, name, signed); err != nil {
			return fmt.Errorf("changes[%d]: %w", i, err)
		}
	}
	return nil
}

// check says why the response of that NAME cannot have made the change, or why it must not be undone.
func (c Change) check(o *Object, name string, signed bool) error {
	f, err := parseField(c.Field)
	if err != nil {
		return err
	}
	reserved := o.Kind == "Node" && Reserved(f.key)
	switch foreign := errors.New("not a field that " + ResponseOf(name) + " changes there"); {
	case reserved && !signed:
		return errUnsigned
	case ResponseOf(name) == "isolate" && f.kind == policyField:
		return okUnless(o.Kind != "Pod" || f.key != PolicyName(string(o.UID)) || c.Before != nil || c.After != policyMade, foreign)
	case ResponseOf(name) == "isolate" && f.kind == labelField && f.key == Isolated:
		return okUnless(o.Kind != "Pod" || c.After != string(o.UID) || c.Before != nil, foreign)
	case ResponseOf(name) == "isolate" && f.kind == labelField:
		return okUnless(o.Kind != "Pod" || c.After != nil || c.Before == nil || !isLabel(c.Before) || own(f.key), foreign)
	case ResponseOf(name) == "label" && f.kind == labelField:
		return okUnless(!isLabel(c.Before) || !isLabel(c.After) || own(f.key), foreign)
	case ResponseOf(name) == "taint" && f.kind == taintField:
		ours := name == TaintName(f.key, f.effect)
		return okUnless(o.Kind != "Node" || !ours || c.After == nil || !isTaint(c.After, f) || !isTaint(c.Before, f), foreign)
	default:
		return fmt.Errorf("field is %.200q: %w", c.Field, foreign)
	}
}

func okUnless(wrong bool, err error) error {
	if wrong {
		return err
	}
	return nil
}

// own says whether a label is one of Riposte's marks, which no record speaks of.
func own(key string) bool { return key == Contained || key == Isolated }

// isLabel says whether the value is none, or one that a label can have.
func isLabel(v any) bool {
	text, ok := v.(string)
	return v == nil || (ok && len(validation.IsValidLabelValue(text)) == 0)
}

// isTaint says whether the value is none, or a taint of that key and effect.
func isTaint(v any, f field) bool {
	if v == nil {
		return true
	}
	t, err := asTaint(v)
	return err == nil && t.Key == f.key && string(t.Effect) == f.effect && len(validation.IsValidLabelValue(t.Value)) == 0
}

// Reserved says whether the key of a label or taint is one that Kubernetes keeps for itself. On their own node kubelets
// may write annotations, but not these: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
func Reserved(key string) bool {
	domain, _, has := strings.Cut(key, "/")
	if !has {
		return false
	}
	for _, d := range []string{"kubernetes.io", "k8s.io"} {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}

// TaintName is the NAME of taint's record for taints of that key and effect: a node has at most one of them.
func TaintName(key, effect string) string { return Name("taint", key+":"+effect) }

// PolicyName is the name of the NetworkPolicy that isolate makes for the pod of that UID.
func PolicyName(uid string) string { return "riposte-isolate-" + uid }

// policyMade is what a record has as the value of a policy that isolate made.
const policyMade = "made"

// Field kinds.
type fieldKind int

const (
	labelField fieldKind = iota
	taintField
	policyField
)

// field is a parsed field of a change.
type field struct {
	kind        fieldKind
	key, effect string
}

// LabelField is the field of a label.
func LabelField(key string) string { return "metadata.labels[" + key + "]" }

// TaintField is the field of a taint: a node has one of each key and effect.
func TaintField(t api.Taint) string { return "spec.taints[" + t.Key + ":" + string(t.Effect) + "]" }

// policyPath begins the field of a policy.
const policyPath = "networkpolicies/"

// parseField reads a field and checks the names in it.
func parseField(s string) (field, error) {
	f, wrong := field{}, fmt.Errorf("field is %.200q: want a label, a taint or isolate's policy", s)
	inner, isLabel := strings.CutPrefix(s, "metadata.labels[")
	if rest, ok := strings.CutPrefix(s, "spec.taints["); ok {
		f.kind, inner = taintField, rest
	} else if name, ok := strings.CutPrefix(s, policyPath); ok {
		return field{kind: policyField, key: name}, okUnless(len(validation.IsDNS1123Subdomain(name)) > 0, wrong)
	} else if !isLabel {
		return field{}, wrong
	}
	key, closed := strings.CutSuffix(inner, "]")
	f.key = key
	if f.kind == taintField {
		f.key, f.effect, _ = strings.Cut(key, ":")
		switch f.effect {
		case api.TaintEffectNoSchedule, api.TaintEffectPreferNoSchedule, api.TaintEffectNoExecute:
		default:
			return field{}, wrong
		}
	}
	return f, okUnless(!closed || len(validation.IsQualifiedName(f.key)) > 0, wrong)
}

// PolicyMade is the change that isolate's policy is, in a record.
func PolicyMade(uid string) response.Change {
	return response.Change{Field: policyPath + PolicyName(uid), After: policyMade}
}
