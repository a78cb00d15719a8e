package function

import (
	"fmt"

	"github.com/riposte-dev/riposte/shared/response"
)

// artifacts is what the outcome says of the bundle: where it is and what it is made of, and nothing of what stands in it,
// since a pod's manifest and logs hold secrets. The fields are in the order of their names: a redelivery is answered with
// the recorded outcome, in which they are.
type artifacts struct {
	Files          []summary `json:"files"`
	ManifestSHA256 string    `json:"manifest_sha256"`
	Missing        []missing `json:"missing"`
	URL            string    `json:"url"`
}

type summary struct {
	Bytes  int64  `json:"bytes"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// outcome says what is stored. Nothing of the target is changed.
func (b *bundle) outcome(m manifest, done string) response.Outcome {
	a := artifacts{URL: b.store.URL(b.folder), ManifestSHA256: b.sum, Files: []summary{}, Missing: m.Missing}
	var bytes int64
	for _, f := range m.Files {
		a.Files = append(a.Files, summary{f.Bytes, f.Name, f.SHA256})
		bytes += f.Bytes
	}
	message := fmt.Sprintf("evidence of pod %s/%s %s: %d files, %d bytes", m.Pod.Namespace, m.Pod.Name, done, len(m.Files), bytes)
	if n := len(m.Missing); n > 0 {
		message += fmt.Sprintf("; %d parts are missing or not whole", n)
	}
	return response.Outcome{Verdict: response.Applied, Message: message, Details: map[string]any{"artifacts": a}}
}
