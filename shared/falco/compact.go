package falco

import (
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"
)

const (
	// compactBytes is the size from which an alert is cut before it is passed on: an outcome must
	// stay well below the 1 MiB that the next function accepts.
	compactBytes  = 64 << 10
	compactString = 512
	compactFields = 64
)

// Compact is the alert, cut to a bounded size if it is very large: long strings end in "[...]",
// as Falcosidekick cuts them, and beyond 64 fields those needed to find the pod are kept first.
func (a Alert) Compact() Alert {
	size := len(a.UUID) + len(a.Output) + len(a.Rule) + len(a.Source) + len(a.Hostname)
	for k, v := range a.Fields {
		size += len(k) + weight(v)
	}
	for _, t := range a.Tags {
		size += len(t)
	}
	if size <= compactBytes {
		return a
	}
	a.UUID, a.Output, a.Rule, a.Source, a.Hostname = cut(a.UUID), cut(a.Output), cut(a.Rule), cut(a.Source), cut(a.Hostname)
	a.Tags = slices.Clone(a.Tags[:min(len(a.Tags), compactFields)])
	for i := range a.Tags {
		a.Tags[i] = cut(a.Tags[i])
	}
	fields := Fields{}
	for _, key := range append([]string{
		"ct.id", "ka.auditid", "k8s.ns.name", "k8s.pod.name", "k8s.pod.uid", "container.id", "container.full_id", "container.name",
		"proc.name", "proc.cmdline", "user.name",
	}, slices.Sorted(maps.Keys(a.Fields))...) {
		v, ok := a.Fields[key]
		if !ok || len(fields) >= compactFields {
			continue
		}
		switch s := v.(type) {
		case string:
			v = cut(s)
		case json.Number:
			if len(s) > compactString {
				v = "[...]"
			}
		case bool, nil:
		default:
			v = "[...]"
		}
		fields[cut(key)] = v
	}
	a.Fields = fields
	return a
}

// weight is about the size of a value in JSON; nested values are encoded to find out.
func weight(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case json.Number:
		return len(v)
	case nil, bool:
		return 5
	}
	b, err := json.Marshal(v)
	if err != nil {
		return compactBytes
	}
	return len(b)
}

func cut(s string) string {
	if len(s) <= compactString {
		return s
	}
	end := compactString
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "[...]"
}
