package generate

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/riposte-dev/riposte/deploy/source"
)

const (
	// secretsFolder is where OpenFaaS mounts the secrets that a function lists, each as the files that it has.
	secretsFolder = "/var/openfaas/secrets/"
	// callersToken is the secret that the router shows to functions: the gateway asks nobody who calls them.
	callersToken = "riposte-function-token"
	// communityReplicas is the most that the Community Edition takes as com.openfaas.scale.max, and refuses what is above.
	communityReplicas = 5
	// responseTimeout is RESPONSE_TIMEOUT of a function that does not set it.
	responseTimeout = 25 * time.Second
	// beyond is what the watchdog waits longer than the function, whose own answer is the better one.
	beyond = 5 * time.Second
)

// openFaaSFunction is a function's entry in the stack files.
type openFaaSFunction struct {
	source.Function
	// skip is why it is not there; empty if it is.
	skip string
	// comment is what stands above it.
	comment string
	// entry is as OpenFaaS Pro takes it.
	entry *yaml.Node
	// shared are the variables that it sets although they are shared settings.
	shared []source.Env
}

// openFaaS makes the entry of func.yaml, and merges openfaas.yaml into it.
func openFaaS(f source.Function, settings []source.Env) (openFaaSFunction, error) {
	o := openFaaSFunction{Function: f}
	overrides, err := o.read()
	if err != nil || o.skip != "" {
		return o, err
	}
	if err := o.build(value(overrides, "environment")); err != nil {
		return o, err
	}
	if err := merge(o.entry, overrides); err != nil {
		return o, fmt.Errorf("openfaas.yaml: %w", err)
	}
	environment := value(o.entry, "environment")
	files := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{text(openfaasEnvironment + "/settings.yaml")}}
	for _, s := range settings {
		if own := value(environment, s.Name); own != nil {
			o.shared = append(o.shared, source.Env{Name: s.Name, Value: own.Value})
			drop(environment, s.Name)
		}
	}
	if len(o.shared) > 0 {
		files.Content = append(files.Content, text(openfaasEnvironment+"/"+f.Name+".yaml"))
	}
	put(o.entry, "environment_file", files)
	return o, o.validate()
}

// read reads openfaas.yaml: its head is the comment above the entry.
func (o *openFaaSFunction) read() (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(o.OpenFaaS, &document); err != nil {
		return nil, fmt.Errorf("openfaas.yaml: %w", err)
	}
	o.comment = document.HeadComment
	if document.Kind == 0 {
		return nil, nil
	}
	overrides := document.Content[0]
	if overrides.Kind != yaml.MappingNode {
		return nil, errors.New("openfaas.yaml: want fields of an entry of stack.yml, or skip with a reason")
	}
	if skip := value(overrides, "skip"); skip != nil {
		if o.skip = skip.Value; o.skip == "" || skip.Tag != "!!str" || len(overrides.Content) > 2 {
			return nil, fmt.Errorf("openfaas.yaml: skip is %q: want a reason, and nothing else in the file", skip.Value)
		}
	}
	return overrides, nil
}

// build makes the entry of func.yaml. What openfaas.yaml sets need not make sense there.
func (o *openFaaSFunction) build(overridden *yaml.Node) error {
	if len(o.Run.Volumes) > 0 {
		return errors.New("func.yaml: run.volumes has entries: OpenFaaS mounts nothing but secrets; want skip in openfaas.yaml, or no volumes")
	}
	environment, secrets, err := o.environment(overridden)
	if err != nil {
		return err
	}
	labels := mapping()
	for _, l := range o.Deploy.Labels {
		if !strings.HasPrefix(l.Key, "networking.knative.dev/") {
			put(labels, l.Key, text(l.Value))
		}
	}
	options := o.Deploy.Options
	put(labels, "com.openfaas.scale.min", text(strconv.Itoa(max(1, options.Scale.Min))))
	put(labels, "com.openfaas.scale.max", text(strconv.Itoa(options.Scale.Max)))
	put(labels, "com.openfaas.scale.zero", text(strconv.FormatBool(options.Scale.Min == 0)))
	if options.Scale.Min == 0 {
		put(labels, "com.openfaas.scale.zero-duration", text("15m"))
	}
	kind, known := map[string]string{"concurrency": "capacity", "rps": "rps"}[options.Scale.Metric]
	if !known {
		return fmt.Errorf("func.yaml: deploy.options.scale.metric is %q: want concurrency or rps", options.Scale.Metric)
	}
	put(labels, "com.openfaas.scale.type", text(kind))
	put(labels, "com.openfaas.scale.target", text(strconv.Itoa(options.Scale.Target)))
	o.entry = mapping(
		"lang", text("golang-http"),
		"handler", text("${HANDLERS:-./.stage/openfaas}/"+o.Name),
		"image", text("${REGISTRY:-ghcr.io/riposte-dev}/riposte-"+o.Name+":${TAG:-latest}"),
		"environment_file", &yaml.Node{Kind: yaml.SequenceNode},
		"environment", environment,
		"secrets", secrets,
		"labels", labels,
		"annotations", mapping(
			"com.openfaas.serviceaccount", text(o.Deploy.ServiceAccountName),
			// The watchdog's own: the template hands no path on to the function. Ready is also no more requests than max_inflight.
			"com.openfaas.health.http.path", text("/_/health"),
			"com.openfaas.ready.http.path", text("/_/ready"),
		),
		"limits", amounts(options.Resources.Limits.Amounts),
		"requests", amounts(options.Resources.Requests),
		"readonly_root_filesystem", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"},
	)
	return nil
}

// amounts is resources as one line.
func amounts(a source.Amounts) *yaml.Node {
	m := mapping("memory", text(a.Memory), "cpu", text(a.CPU))
	m.Style = yaml.FlowStyle
	return m
}

// environment is func.yaml's variables, with secrets as files, the token that callers have to show unless openfaas.yaml says
// otherwise, and those of OpenFaaS's watchdog.
func (o *openFaaSFunction) environment(overridden *yaml.Node) (environment, secrets *yaml.Node, err error) {
	environment, secrets = mapping(), &yaml.Node{Kind: yaml.SequenceNode}
	timeout := responseTimeout
	for _, e := range o.Run.Envs {
		r := e.Reference()
		switch {
		case value(overridden, e.Name) != nil:
			put(environment, e.Name, text(e.Value)) // The merge puts the other in its place.
		case r == nil && strings.Contains(e.Value, "${"):
			return nil, nil, fmt.Errorf("func.yaml: %s is %q: want no ${, which faas-cli would substitute", e.Name, e.Value)
		case r == nil && e.Name == "DRY_RUN":
			// One variable of whoever deploys decides for all.
			set := text("${DRY_RUN:-" + e.Value + "}")
			set.Style = yaml.DoubleQuotedStyle
			put(environment, e.Name, set)
		case r == nil:
			put(environment, e.Name, text(e.Value))
		case r.Kind == "configMap" && r.Name == source.Settings && r.Key == "":
			// environment_file has them.
		case r.Kind == "secret" && r.Key != "" && !strings.HasPrefix(e.Name, "AWS_"):
			put(environment, e.Name+"_FILE", text(secretsFolder+r.Name+"-"+r.Key))
			secrets.Content = append(secrets.Content, text(r.Name+"-"+r.Key))
		default:
			return nil, nil, fmt.Errorf("func.yaml: %s is %q: OpenFaaS has secrets as files only; want environment and secrets in openfaas.yaml", e.Name, e.Value)
		}
		if e.Name == "RESPONSE_TIMEOUT" {
			if timeout, err = time.ParseDuration(e.Value); err != nil {
				return nil, nil, fmt.Errorf("func.yaml: RESPONSE_TIMEOUT is %q: want a duration such as 30s", e.Value)
			}
		}
	}
	if guards := slices.ContainsFunc(o.Run.Envs, func(e source.Env) bool { return e.Name == "AUTH_TOKEN" }); !guards && value(overridden, "AUTH_TOKEN_FILE") == nil {
		put(environment, "AUTH_TOKEN_FILE", text(secretsFolder+callersToken))
		secrets.Content = append(secrets.Content, text(callersToken))
	}
	// The template and its watchdog cut off what takes longer, by default 10s. https://github.com/openfaas/of-watchdog
	for _, name := range []string{"read_timeout", "write_timeout", "exec_timeout"} {
		put(environment, name, text((timeout + beyond).String()))
	}
	// How long both still take requests after SIGTERM; by default as long as write_timeout, and no time is left to answer.
	put(environment, "healthcheck_interval", text("5s"))
	if most := o.Deploy.Options.Resources.Limits.Concurrency; most > 0 {
		put(environment, "max_inflight", text(strconv.Itoa(most)))
	}
	return environment, secrets, nil
}

// pro is the entry for OpenFaaS Pro.
func (o openFaaSFunction) pro() ([]byte, error) { return o.write(o.entry) }

// community is the entry without what the Community Edition refuses, and with the token that it does not give.
// https://github.com/openfaas/faas-netes/blob/master/pkg/handlers/validate.go
func (o openFaaSFunction) community() ([]byte, error) {
	entry := clone(o.entry)
	labels, annotations := value(entry, "labels"), value(entry, "annotations")
	for _, name := range []string{"zero", "zero-duration", "type", "target", "target-proportion"} {
		drop(labels, "com.openfaas.scale."+name)
	}
	for _, name := range []string{"com.openfaas.scale.min", "com.openfaas.scale.max"} {
		if n, err := strconv.Atoi(value(labels, name).Value); err == nil && n > communityReplicas {
			put(labels, name, text(strconv.Itoa(communityReplicas)))
		}
	}
	for _, name := range []string{"com.openfaas.health.http.path", "com.openfaas.ready.http.path"} {
		drop(annotations, name)
	}
	token, err := hasToken(o.Function)
	if err != nil {
		return nil, err
	}
	if token {
		put(value(entry, "environment"), "KUBECONFIG", text(secretsFolder+kubeconfigKey))
		secrets := value(entry, "secrets")
		secrets.Content = append(secrets.Content, text(tokenSecret(o.Function)))
	}
	return o.write(entry)
}

// write is the entry below functions.
func (o openFaaSFunction) write(entry *yaml.Node) ([]byte, error) {
	entry = clone(entry)
	for _, name := range []string{"secrets", "annotations", "environment"} {
		if v := value(entry, name); v != nil && len(v.Content) == 0 {
			drop(entry, name)
		}
	}
	var content bytes.Buffer
	encoder := yaml.NewEncoder(&content)
	encoder.SetIndent(2)
	all := mapping(o.Name, entry)
	all.Content[0].HeadComment = o.comment
	if err := encoder.Encode(all); err != nil {
		return nil, err
	}
	return regexp.MustCompile(`(?m)^.`).ReplaceAll(content.Bytes(), []byte("  $0")), nil
}

// clone is a node of its own.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = slices.Clone(n.Content)
	for i := range c.Content {
		c.Content[i] = clone(c.Content[i])
	}
	return &c
}
