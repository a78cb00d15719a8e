package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// chartValue is one of values.yaml: what it is by default, what may be given, and why.
type chartValue struct {
	name, help string
	// usual is the default of a value without values of its own.
	usual  any
	schema object
	values []chartValue
	// hint is a line of values.yaml that shows what may stand there and does not.
	hint string
}

func boolean() object { return object{"type": "boolean"} }

func number(least int) object { return object{"type": "integer", "minimum": least} }

func matching(pattern string) object { return object{"type": "string", "pattern": pattern} }

func mapOf(of object) object { return object{"type": "object", "additionalProperties": of} }

// variables are names of the environment, but for the one that dryRun sets.
func variables(of object) object {
	return object{
		"type": "object", "additionalProperties": false, "patternProperties": object{"^[A-Z_][A-Z0-9_]*$": of},
		"properties": object{"DRY_RUN": false},
	}
}

// values are those of the chart, in the order of the file.
func (c *charting) values() []chartValue {
	const dns = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
	var settings []string
	shared := object{}
	for _, s := range c.Settings {
		settings = append(settings, s.Name)
		shared[s.Name] = s.Value
	}
	digests := object{}
	for _, f := range c.Functions {
		digests[f.Name] = matching("^sha256:[0-9a-f]{64}$")
	}
	return []chartValue{
		{name: "dryRun", help: "Functions say what they would do, and do nothing. false makes them act.", usual: true, schema: boolean()},
		{name: "image", help: "The images of the functions, riposte-NAME: make images REGISTRY=... TAG=...", values: []chartValue{
			{
				name: "registry", help: "Where they are: HOST/PATH.", usual: "ghcr.io/riposte-dev",
				schema: matching(`^[a-z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]+)?(/[a-z0-9._-]+)*$`),
			},
			{name: "tag", help: "Empty means v and the version of the chart.", usual: "", schema: matching(`^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`)},
			{
				name: "digests", help: "Digests by the functions' names, sha256:...; they count more than the tag.", usual: object{},
				schema: object{"type": "object", "additionalProperties": false, "properties": digests},
			},
			{name: "pullSecrets", help: "Secrets for the registry: [{name: ...}].", usual: []any{}, schema: object{
				"type": "array", "items": object{"type": "object", "required": []string{"name"}, "additionalProperties": false, "properties": object{"name": matching("^" + dns + "$")}},
			}},
		}},
		{
			name: "settings", help: "What all functions share: " + strings.Join(settings, ", ") + ", and whatever else config/settings.env may have.",
			usual: shared, schema: variables(object{"type": "string"}),
		},
		{name: "broker", help: "The Broker. docs/brokers.md says which.", values: []chartValue{
			{
				name: "class", help: "in-memory (for trials), kafka, nats, rabbitmq, or none: there is a Broker called default already.",
				usual: "in-memory", schema: object{"enum": []string{"in-memory", "kafka", "nats", "rabbitmq", "none"}},
			},
			{name: "url", help: "The ingress of the Broker, where the router sends alerts. Empty means where the class has it.", usual: "", schema: matching(`^(https?://.+)?$`)},
			{name: "kafka", help: "For the class kafka.", values: c.kafka()},
			{name: "nats", help: "For the class nats.", values: []chartValue{
				{name: "replicas", help: "Copies of each message; no more than there are servers.", usual: 3, schema: number(1)},
			}},
			{name: "rabbitmq", help: "For the class rabbitmq.", values: []chartValue{
				{name: "cluster", help: "The RabbitmqCluster.", usual: c.brokerConfig("RabbitmqBrokerConfig", "spec", "rabbitmqClusterReference"), schema: object{
					"type": "object", "additionalProperties": false, "properties": object{
						"name": matching("^" + dns + "$"), "namespace": matching("^" + dns + "$"),
						"connectionSecret": object{"type": "object", "required": []string{"name"}, "additionalProperties": false, "properties": object{"name": matching("^" + dns + "$")}},
					},
				}},
			}},
		}},
		{name: "oidc", help: "The Broker takes events from those it knows only: docs/knative.md.", values: []chartValue{
			{name: "enabled", help: "Not with the class rabbitmq.", usual: false, schema: boolean()},
		}},
		{name: "networkPolicies", help: "Who may reach the pods, and whom they may reach.", values: []chartValue{
			{name: "enabled", help: "It takes a network plugin that enforces them.", usual: true, schema: boolean()},
		}},
		{name: "release", help: "The clock of the function release.", values: []chartValue{
			{name: "schedule", help: "When it looks for what has been contained long enough, as cron has it.", usual: "* * * * *", schema: matching(`^(\S+ +){4}\S+$`)},
		}},
		{name: "deadLetter", help: "Where events are kept that no attempt delivered.", values: []chartValue{
			{name: "url", help: "A bucket instead of the volume: s3://BUCKET/PREFIX?region=REGION.", usual: "", schema: matching(`^(s3://.+)?$`)},
			{name: "storage", help: "The volume, if there is no url.", values: []chartValue{
				{name: "size", help: "Its size.", usual: c.brokerConfig("PersistentVolumeClaim", "spec", "resources", "requests", "storage"), schema: matching(`^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$`)},
				{name: "class", help: "Its StorageClass. Empty means the cluster's default.", usual: "", schema: matching(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`)},
			}},
		}},
		{name: "functions", help: "The functions. Their READMEs say what their variables mean.", values: c.functions()},
	}
}

// brokerConfig is what the objects of this kind have there.
func (c *charting) brokerConfig(kind string, path ...string) any {
	for _, v := range c.variants {
		for _, o := range v.objects {
			if textAt(o, "kind") == kind {
				return dig(o, path...)
			}
		}
	}
	return nil
}

func (c *charting) kafka() []chartValue {
	help := map[string]string{
		"bootstrapServers":      "The servers to begin with, HOST:PORT, with commas between them.",
		"partitions":            "Partitions of the topic: no more dispatcher pods than these help one trigger.",
		"replicationFactor":     "Copies of each event; no more than there are Kafka nodes.",
		"minInSyncReplicas":     "An event is acknowledged when so many copies are there.",
		"retentionMilliseconds": "How long events can be read again.",
	}
	var all []chartValue
	for _, v := range c.variants {
		for _, o := range v.objects {
			for key, name := range kafkaValues() {
				if textAt(o, "kind") != "ConfigMap" || dig(o, "data", key) == nil {
					continue
				}
				one := chartValue{name: name, help: help[name], usual: textAt(o, "data", key), schema: matching(`^[^\s,:]+:[0-9]+(,[^\s,:]+:[0-9]+)*$`)}
				if name != "bootstrapServers" {
					one.usual, _ = strconv.Atoi(textAt(o, "data", key))
					one.schema = number(1)
				}
				all = append(all, one)
			}
		}
	}
	slices.SortFunc(all, func(a, b chartValue) int { return strings.Compare(a.name, b.name) })
	return append(all, chartValue{
		name: "authSecret", help: "The Secret with what TLS and SASL need, in the same namespace. Empty means that neither is on.",
		usual: "", schema: matching(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`),
	})
}

func (c *charting) functions() []chartValue {
	variable := object{"type": []string{"string", "object"}, "properties": object{
		"secretKeyRef": object{"type": "object"}, "configMapKeyRef": object{"type": "object"}, "fieldRef": object{"type": "object"}, "resourceFieldRef": object{"type": "object"},
	}, "additionalProperties": false, "minProperties": 1, "maxProperties": 1}
	quantities := mapOf(object{"type": []string{"string", "number"}})
	var all []chartValue
	for _, f := range c.Functions {
		defaults := c.defaults[f.Name]
		one := chartValue{name: f.Name, help: summary(c.Root, f.Folder)}
		if f.Name != deadLetter {
			one.values = append(one.values, chartValue{name: "enabled", help: "Whether it is there, with its triggers and rights.", usual: true, schema: boolean()})
		}
		if c.runsDry(f.Name) {
			one.values = append(one.values, chartValue{name: "dryRun", help: "true or false for this function alone; else as dryRun above.", schema: boolean(), hint: "dryRun: false"})
		}
		one.values = append(one.values,
			chartValue{
				name: "env", help: "Its variables: a text, or secretKeyRef and the like. null takes one away.", usual: defaults["env"],
				schema: variables(variable),
			},
			chartValue{name: "resources", help: "Requests and limits.", usual: defaults["resources"], schema: object{
				"type": "object", "additionalProperties": false, "properties": object{"requests": quantities, "limits": quantities},
			}},
			chartValue{name: "serviceAccount", help: "Its account.", values: []chartValue{
				{name: "annotations", help: "A role of AWS: {eks.amazonaws.com/role-arn: ...}, or of another cloud.", usual: object{}, schema: mapOf(object{"type": "string"})},
			}},
		)
		if defaults["scale"] != nil {
			scale, _ := defaults["scale"].(object)
			one.values = append(one.values,
				chartValue{name: "concurrency", help: "Alerts at once in one pod, at most.", usual: defaults["concurrency"], schema: number(0)},
				chartValue{name: "scale", help: "How Knative scales it.", values: []chartValue{
					{name: "min", help: "Pods, at least; 0 is none while nothing happens.", usual: scale["min"], schema: number(0)},
					{name: "max", help: "Pods, at most; 0 is any number.", usual: scale["max"], schema: number(0)},
					{name: "metric", help: "What pods are counted by.", usual: scale["metric"], schema: object{"enum": []string{"concurrency", "rps"}}},
					{name: "target", help: "So much of it in one pod.", usual: scale["target"], schema: number(1)},
				}})
		}
		all = append(all, one)
	}
	return all
}

// runsDry says whether the function has DRY_RUN.
func (c *charting) runsDry(function string) bool {
	for _, o := range c.variants[0].objects {
		if owner(o) == function {
			for _, e := range listAt(containerOf(o), "env") {
				if textAt(e, "name") == "DRY_RUN" {
					return true
				}
			}
		}
	}
	return false
}

// summary is the first sentence of a function's README.
func summary(root, folder string) string {
	content, err := os.ReadFile(filepath.Join(root, folder, "README.md"))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(content), "\n\n")
	paragraph, _, _ := strings.Cut(rest, "\n\n")
	paragraph = strings.Join(strings.Fields(paragraph), " ")
	if sentence, _, more := strings.Cut(paragraph, ". "); more {
		paragraph = sentence + "."
	}
	return strings.NewReplacer("`", "", "[", "", "]", "").Replace(paragraph)
}

// valuesFile is values.yaml.
func valuesFile(values []chartValue) ([]byte, error) {
	out := bytes.NewBufferString("# Generated by make generate.\n")
	err := writeValues(out, values, "")
	return out.Bytes(), err
}

func writeValues(out *bytes.Buffer, values []chartValue, indent string) error {
	for _, v := range values {
		if indent == "" {
			out.WriteString("\n")
		}
		if v.help != "" {
			fmt.Fprintf(out, "%s# %s\n", indent, v.help)
		}
		switch {
		case v.values != nil:
			fmt.Fprintf(out, "%s%s:\n", indent, v.name)
			if err := writeValues(out, v.values, indent+"  "); err != nil {
				return err
			}
		case v.hint != "":
			fmt.Fprintf(out, "%s# %s\n", indent, v.hint)
		default:
			content, err := yaml.Marshal(object{v.name: v.usual})
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(content)) {
				out.WriteString(indent + line)
			}
		}
	}
	return nil
}

// valuesSchema is values.schema.json, by which Helm refuses what is wrong.
func valuesSchema(values []chartValue) ([]byte, error) {
	schema := schemaOf(values)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Values of Riposte's chart"
	// What Helm itself adds.
	if properties, ok := schema["properties"].(object); ok {
		properties["global"] = object{"type": "object"}
	}
	content, err := json.MarshalIndent(schema, "", "  ")
	return append(content, '\n'), err
}

func schemaOf(values []chartValue) object {
	properties, required := object{}, []string{}
	for _, v := range values {
		one := maps.Clone(v.schema)
		if v.values != nil {
			one = schemaOf(v.values)
		}
		one["description"] = v.help
		properties[v.name] = one
		if v.hint == "" {
			required = append(required, v.name)
		}
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

// valuesTable is the README's.
func valuesTable(values []chartValue) []byte {
	out := bytes.NewBufferString("| value | default | |\n| --- | --- | --- |\n")
	writeTable(out, values, "")
	return out.Bytes()
}

func writeTable(out *bytes.Buffer, values []chartValue, prefix string) {
	for _, v := range values {
		if v.values != nil {
			writeTable(out, v.values, prefix+v.name+".")
			continue
		}
		usual := ""
		if v.hint == "" {
			content, _ := json.Marshal(v.usual)
			usual = "`" + string(content) + "`"
		}
		fmt.Fprintf(out, "| `%s%s` | %s | %s |\n", prefix, v.name, usual, strings.ReplaceAll(v.help, "|", `\|`))
	}
}
