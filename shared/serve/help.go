package serve

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/config"
)

// help writes what --help shows: settings with types and defaults, and permissions.
func (s Spec) help(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nReceives Falco alerts as CloudEvents (or bare JSON) by POST, on AWS Lambda by invocation.\n", s.Name, s.Summary)
	fmt.Fprintf(&b, "\nSettings of %s (environment variables):\n", s.Name)
	table(&b, s.own)
	b.WriteString("\nSettings of every function:\n")
	table(&b, s.shared())
	b.WriteString("\nSettings of the server:\n")
	table(&b, config.Params(&hosting{}))
	b.WriteString("\nPermissions on Kubernetes (rbac.yaml):\n")
	rules, err := s.permissions()
	if err != nil {
		return err
	}
	for _, r := range rules {
		b.WriteString("  " + r + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, params []config.Param) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, p := range params {
		_, _ = fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", p.Name, typeOf(p), defaultOf(p), p.Help)
	}
	_ = t.Flush() // a strings.Builder takes everything
}

func typeOf(p config.Param) string {
	if len(p.Allowed) > 0 {
		return strings.Join(p.Allowed, " | ")
	}
	return p.Type
}

func defaultOf(p config.Param) string {
	switch {
	case p.Required:
		return "(required)"
	case p.Default == "":
		return "(none)"
	}
	return p.Default
}

// markdown writes the part of the function's README that is generated.
func (s Spec) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| variable | type | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, p := range s.params() {
		def := defaultOf(p)
		if !strings.HasPrefix(def, "(") {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, strings.ReplaceAll(typeOf(p), "|", `\|`), def, strings.ReplaceAll(p.Help, "|", `\|`))
	}
	rules, err := s.permissions()
	if err != nil {
		return err
	}
	b.WriteString("\nPermissions on Kubernetes (`rbac.yaml`):\n\n")
	for _, r := range rules {
		b.WriteString("- " + r + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// manifest is what counts of an object in rbac.yaml.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	RoleRef struct {
		Name string `json:"name"`
	} `json:"roleRef"`
	Rules []struct {
		APIGroups []string `json:"apiGroups"`
		Resources []string `json:"resources"`
		Verbs     []string `json:"verbs"`
	} `json:"rules"`
}

// permissions are the rules of rbac.yaml, a line each; a role that the file does not bind is named.
func (s Spec) permissions() ([]string, error) {
	var objects []manifest
	bound := map[string]bool{}
	for doc := range strings.SplitSeq(s.RBAC, "\n---\n") {
		var object manifest
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			return nil, fmt.Errorf("read rbac.yaml of %s: %w", s.Name, err)
		}
		objects = append(objects, object)
		if object.RoleRef.Name != "" {
			bound[object.RoleRef.Name] = true
		}
	}
	var lines []string
	for _, object := range objects {
		for _, r := range object.Rules {
			line := strings.Join(r.Verbs, ", ") + ": " + strings.Join(r.Resources, ", ")
			if groups := strings.Join(r.APIGroups, ", "); groups != "" {
				line += " (" + groups + ")"
			}
			if object.Kind == "Role" {
				line += ", in namespace " + object.Metadata.Namespace
			}
			if len(bound) > 0 && !bound[object.Metadata.Name] {
				line += ", if you bind " + object.Metadata.Name
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		lines = []string{"none"}
	}
	return lines, nil
}
