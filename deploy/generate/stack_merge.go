package generate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// stackEntry is an entry of stack.yml as faas-cli reads it.
// https://docs.openfaas.com/reference/yaml/
type stackEntry struct {
	Lang                   string            `yaml:"lang"`
	Handler                string            `yaml:"handler"`
	Image                  string            `yaml:"image"`
	EnvironmentFile        []string          `yaml:"environment_file"`
	Environment            map[string]string `yaml:"environment"`
	Secrets                []string          `yaml:"secrets"`
	Labels                 map[string]string `yaml:"labels"`
	Annotations            map[string]string `yaml:"annotations"`
	Constraints            []string          `yaml:"constraints"`
	Limits                 map[string]string `yaml:"limits"`
	Requests               map[string]string `yaml:"requests"`
	ReadOnlyRootFilesystem bool              `yaml:"readonly_root_filesystem"`
	BuildArgs              map[string]string `yaml:"build_args"`
	Platforms              string            `yaml:"platforms"`
}

// merge merges overrides into the entry: maps key by key, lists are added to, null takes a key away. Comments come with
// the keys that they stand above.
func merge(entry, overrides *yaml.Node) error {
	for i := 0; overrides != nil && i+1 < len(overrides.Content); i += 2 {
		key, to := overrides.Content[i], overrides.Content[i+1]
		have := value(entry, key.Value)
		switch {
		case to.Tag == "!!null":
			drop(entry, key.Value)
			continue
		case have == nil:
			entry.Content = append(entry.Content, clone(key), clone(to))
			continue
		case have.Kind != to.Kind:
			return fmt.Errorf("line %d: %s is not of the kind that the entry has", to.Line, key.Value)
		case to.Kind == yaml.MappingNode:
			if err := merge(have, to); err != nil {
				return err
			}
		case to.Kind == yaml.SequenceNode:
			for _, item := range to.Content {
				if !slices.ContainsFunc(have.Content, func(n *yaml.Node) bool { return n.Value == item.Value }) {
					have.Content = append(have.Content, clone(item))
				}
			}
		default:
			put(entry, key.Value, clone(to))
		}
		for j := 0; j+1 < len(entry.Content); j += 2 {
			if entry.Content[j].Value == key.Value && key.HeadComment != "" {
				entry.Content[j].HeadComment = key.HeadComment
			}
		}
	}
	return nil
}

// validate holds the entry against what faas-cli reads. A field that it does not know would be dropped without a word.
func (o *openFaaSFunction) validate() error {
	content, err := yaml.Marshal(o.entry)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	var e stackEntry
	if err := decoder.Decode(&e); err != nil {
		return fmt.Errorf("openfaas.yaml: %w", err)
	}
	for name, set := range e.Environment {
		if secret, is := strings.CutPrefix(set, secretsFolder); is && strings.HasSuffix(name, "_FILE") && !slices.Contains(e.Secrets, secret) {
			err = errors.Join(err, fmt.Errorf("openfaas.yaml: %s is %q: want %s in secrets, too", name, set, secret))
		}
	}
	if strings.Contains(e.Annotations["topic"], ",") {
		err = errors.Join(err, fmt.Errorf("openfaas.yaml: annotation topic is %q: want one topic, or the Community Edition refuses it", e.Annotations["topic"]))
	}
	return err
}
