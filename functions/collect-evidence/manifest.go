package function

import (
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/target"
)

// manifestName is the file that makes a bundle complete.
const manifestName = "manifest.json"

// manifest is manifest.json: what the bundle is about, what is in it, and what is not.
type manifest struct {
	// Format is 1; a form that readers of 1 cannot read will have another number.
	Format int           `json:"format"`
	Alert  manifestAlert `json:"alert"`
	Pod    manifestPod   `json:"pod"`
	// Started is when the first part was asked for, Finished when the last was stored.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Complete says that nothing is missing.
	Complete bool      `json:"complete"`
	Files    []file    `json:"files"`
	Missing  []missing `json:"missing"`
}

type manifestAlert struct {
	ID       string    `json:"id"`
	Rule     string    `json:"rule"`
	Priority string    `json:"priority"`
	Time     time.Time `json:"time"`
}

type manifestPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Node      string `json:"node,omitempty"`
}

// file is one file of the bundle, as it was stored.
type file struct {
	Name      string    `json:"name"`
	SHA256    string    `json:"sha256"`
	Bytes     int64     `json:"bytes"`
	MediaType string    `json:"media_type"`
	Stored    time.Time `json:"stored"`
}

// missing is a part that could not be had, or not all of it, and why.
type missing struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

func newManifest(found *target.Found, alert falco.Alert) manifest {
	return manifest{
		Format:  1,
		Alert:   manifestAlert{ID: alert.ID(), Rule: alert.Rule, Priority: alert.Priority.String(), Time: alert.Time},
		Pod:     manifestPod{Namespace: found.Pod.Namespace, Name: found.Pod.Name, UID: string(found.Pod.UID), Node: found.Pod.Spec.NodeName},
		Started: time.Now().UTC(), Files: []file{}, Missing: []missing{},
	}
}
