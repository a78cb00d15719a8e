// Package source reads what each function's folder says of its deployment: func.yaml and rbac.yaml, which are the one
// truth for every platform. Package generate writes what the other platforms read.
package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	// Root is the path of the repository's root as Go imports it.
	Root = "github.com/riposte-dev/riposte"
	// Namespace is where functions live on Knative.
	Namespace = "riposte"
	// Settings is the ConfigMap with what all functions share: config/settings.env.
	Settings = "riposte-settings"
)

// Function is one folder of functions/.
type Function struct {
	// Name is the name of the folder, and of the function on every platform.
	Name string
	// Folder is where it is, below the repository's root.
	Folder string
	Manifest
	// RBAC is the text of rbac.yaml.
	RBAC []byte
	// OpenFaaS is the text of openfaas.yaml: what its entry in stack.yml has otherwise than func.yaml would make it. Nil
	// where there is none.
	OpenFaaS []byte
	// Lambda is the text of lambda.yaml: what its resources in deploy/lambda/template.yaml have beside what func.yaml would
	// make of them. Nil where there is none.
	Lambda []byte
}

// Manifest is func.yaml, as far as Riposte's functions use it.
// https://github.com/knative/func/blob/main/docs/reference/func_yaml.md
type Manifest struct {
	SpecVersion string `json:"specVersion"`
	Name        string `json:"name"`
	Runtime     string `json:"runtime"`
	Created     string `json:"created"`
	Invoke      string `json:"invoke"`
	Build       struct {
		Builder string `json:"builder"`
	} `json:"build"`
	Run struct {
		Envs    []Env    `json:"envs"`
		Volumes []Volume `json:"volumes,omitempty"`
	} `json:"run"`
	Deploy Deploy `json:"deploy"`
}

// Deploy is the part of func.yaml that says how a function runs.
type Deploy struct {
	Namespace          string            `json:"namespace"`
	ServiceAccountName string            `json:"serviceAccountName"`
	HealthEndpoints    HealthEndpoints   `json:"healthEndpoints"`
	Annotations        map[string]string `json:"annotations,omitempty"`
	Labels             []Label           `json:"labels"`
	Options            Options           `json:"options"`
	Subscriptions      []Subscription    `json:"subscriptions,omitempty"`
}

// HealthEndpoints are the paths of the probes.
type HealthEndpoints struct {
	Liveness  string `json:"liveness"`
	Readiness string `json:"readiness"`
}

// Label is one label of the Service and its pods.
type Label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Options are scale and resources.
type Options struct {
	Scale struct {
		Min    int    `json:"min"`
		Max    int    `json:"max"`
		Metric string `json:"metric"`
		Target int    `json:"target"`
	} `json:"scale"`
	Resources struct {
		Requests Amounts `json:"requests"`
		Limits   struct {
			Amounts
			Concurrency int `json:"concurrency"`
		} `json:"limits"`
	} `json:"resources"`
}

// Amounts are quantities of CPU and memory in Kubernetes' notation.
type Amounts struct {
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
}

// Subscription names events by the Broker they come from and the attributes they have.
type Subscription struct {
	Source  string            `json:"source"`
	Filters map[string]string `json:"filters"`
}

// Volume is a mounted ConfigMap, Secret, claim or empty folder.
type Volume struct {
	Path      string  `json:"path"`
	ConfigMap *string `json:"configMap,omitempty"`
	Secret    *string `json:"secret,omitempty"`
}

// Env is one variable of func.yaml. Value is a text, or a reference in func's notation.
type Env struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}

// Reference is what an Env's value refers to: a key of a Secret or a ConfigMap, or with an empty Key all of it.
type Reference struct {
	// Kind is "secret" or "configMap".
	Kind, Name, Key string
}

var reference = regexp.MustCompile(`^\{\{ *(secret|configMap):([a-z0-9.-]+)(?::([A-Za-z0-9._-]+))? *\}\}$`)

// Reference is what the value refers to; nil if it is a text.
func (e Env) Reference() *Reference {
	m := reference.FindStringSubmatch(e.Value)
	if m == nil {
		return nil
	}
	return &Reference{Kind: m[1], Name: m[2], Key: m[3]}
}

// Functions are all functions below root, the repository's, in the order of their names.
func Functions(root string) ([]Function, error) {
	manifests, err := filepath.Glob(filepath.Join(root, "functions", "*", "func.yaml"))
	if err != nil {
		return nil, err
	}
	if len(manifests) == 0 {
		return nil, fmt.Errorf("%s has no functions/*/func.yaml: want the root of the repository", root)
	}
	all := make([]Function, 0, len(manifests))
	for _, m := range manifests {
		f, err := read(root, filepath.Base(filepath.Dir(m)))
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// One is the function of that name. The error for a name that there is none of lists those there are.
func One(root, name string) (Function, error) {
	all, err := Functions(root)
	if err != nil {
		return Function{}, err
	}
	names := make([]string, 0, len(all))
	for _, f := range all {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Function{}, fmt.Errorf("FUNCTION is %q: want one of %s", name, strings.Join(names, ", "))
}

func read(root, name string) (Function, error) {
	f := Function{Name: name, Folder: filepath.Join("functions", name)}
	file := filepath.Join(root, f.Folder, "func.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return f, err
	}
	if err := yaml.UnmarshalStrict(content, &f.Manifest); err != nil {
		return f, fmt.Errorf("%s: %w", file, err)
	}
	if f.Manifest.Name != name {
		return f, fmt.Errorf("%s: name is %q: want %q, as its folder", file, f.Manifest.Name, name)
	}
	for _, e := range f.Run.Envs {
		if strings.HasPrefix(strings.TrimSpace(e.Value), "{{") && e.Reference() == nil {
			return f, fmt.Errorf("%s: value of %q is %q: want {{ secret:NAME:KEY }}, {{ configMap:NAME:KEY }} or {{ configMap:NAME }}", file, e.Name, e.Value)
		}
	}
	if f.RBAC, err = os.ReadFile(filepath.Join(root, f.Folder, "rbac.yaml")); err != nil {
		return f, err
	}
	if f.OpenFaaS, err = optional(filepath.Join(root, f.Folder, "openfaas.yaml")); err != nil {
		return f, err
	}
	f.Lambda, err = optional(filepath.Join(root, f.Folder, "lambda.yaml"))
	return f, err
}

func optional(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// SharedSettings are the lines of config/settings.env, NAME=value, in their order.
func SharedSettings(root string) ([]Env, error) {
	file := filepath.Join(root, "config", "settings.env")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []Env
	for line := range bytes.Lines(content) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, found := strings.Cut(text, "=")
		if !found {
			return nil, fmt.Errorf("%s: %q: want NAME=value", file, text)
		}
		all = append(all, Env{name, value})
	}
	return all, nil
}
