package falco

import "encoding/json"

// Fields are the output fields of an alert. A value may be of any JSON type; numbers are json.Number.
type Fields map[string]any

// String is the text of a field, and whether the field holds text.
func (f Fields) String(key string) (string, bool) {
	s, ok := f[key].(string)
	return s, ok
}

// Int is a whole number, and whether the field holds one that fits 64 bits.
func (f Fields) Int(key string) (int64, bool) {
	n, ok := f[key].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// known is the text of a field, or "" where Falco does not know the value: absent, null, "", "<NA>" or no text.
// https://falco.org/docs/reference/rules/supported-fields/ : fields without a value print <NA>.
func (f Fields) known(key string) string {
	s, _ := f.String(key)
	if s == "<NA>" {
		return ""
	}
	return s
}

// PodRef is what an alert says about its pod. It is a claim, not yet a fact: it has to be verified against
// the API server before anything acts on it. Empty means unknown.
type PodRef struct {
	Namespace string
	Name      string
	// UIDs are the values of k8s.pod.uid and its old alias k8s.pod.id: none, one, or two that should be equal.
	UIDs []string
	// ContainerIDs are the values of container.id (12 hexadecimal digits) and container.full_id (64).
	ContainerIDs []string
	// Container is the container's name.
	Container string
}

// isContainerID recognises what container runtimes give out: a prefix of the 64 hexadecimal digits, 12 in Falco.
// Anything shorter would match by chance.
func isContainerID(id string) bool {
	if len(id) < 12 || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Pod is the pod the alert names, from its output fields alone: those of system calls, or those of a
// Kubernetes audit event about a pod.
func (a Alert) Pod() PodRef {
	f := a.Fields
	ref := PodRef{Namespace: f.known("k8s.ns.name"), Name: f.known("k8s.pod.name")}
	if ref.Namespace == "" && ref.Name == "" && f.known("ka.target.resource") == "pods" {
		ref.Namespace, ref.Name = f.known("ka.target.namespace"), f.known("ka.target.name")
	}
	for _, key := range []string{"k8s.pod.uid", "k8s.pod.id"} {
		if uid := f.known(key); uid != "" {
			ref.UIDs = append(ref.UIDs, uid)
		}
	}
	for _, key := range []string{"container.id", "container.full_id"} {
		if id := f.known(key); isContainerID(id) { // "host" is no container
			ref.ContainerIDs = append(ref.ContainerIDs, id)
		}
	}
	if name := f.known("container.name"); name != "host" {
		ref.Container = name
	}
	return ref
}
