package generate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/riposte-dev/riposte/deploy/source"
)

// dig is what is at the end of a path through maps, or nil.
func dig(of any, path ...string) any {
	for _, p := range path {
		o, ok := of.(object)
		if !ok {
			return nil
		}
		of = o[p]
	}
	return of
}

func textAt(of any, path ...string) string {
	s, _ := dig(of, path...).(string)
	return s
}

func listAt(of any, path ...string) []any {
	l, _ := dig(of, path...).([]any)
	return l
}

// containerOf is the container of a Knative Service or a Deployment, or nil.
func containerOf(o object) object {
	if containers := listAt(o, "spec", "template", "spec", "containers"); len(containers) == 1 {
		c, _ := containers[0].(object)
		return c
	}
	return nil
}

const scaling = "autoscaling.knative.dev/"

// scales are the settings of Knative's autoscaler, by their names in values.yaml.
func scales() map[string]string {
	return map[string]string{"min": "min-scale", "max": "max-scale", "metric": "metric", "target": "target"}
}

// functionDefaults are what a user may change of a function.
func functionDefaults(o, container object) object {
	env := object{}
	for _, e := range listAt(container, "env") {
		name := textAt(e, "name")
		if slices.Contains(chosen(), name) || spoken.MatchString(textAt(e, "value")) || owner(o) == deadLetter && name == "DEAD_LETTER_URL" {
			continue
		}
		if from := dig(e, "valueFrom"); from != nil {
			env[name] = from
		} else {
			env[name] = textAt(e, "value")
		}
	}
	all := object{"env": env, "resources": container["resources"], "serviceAccount": object{"annotations": object{}}}
	if concurrency := dig(o, "spec", "template", "spec", "containerConcurrency"); concurrency != nil {
		scale, annotations := object{}, dig(o, "spec", "template", "metadata", "annotations")
		for name, annotation := range scales() {
			value := textAt(annotations, scaling+annotation)
			if scale[name] = value; name != "metric" {
				scale[name], _ = strconv.Atoi(value)
			}
		}
		all["scale"], all["concurrency"] = scale, concurrency
	}
	return all
}

// chosen are the variables that other values set: dryRun and broker.
func chosen() []string { return []string{"DRY_RUN", "K_SINK"} }

// open is a copy of the object with openings for what may be set.
func (c *charting) open(o object, v variant) (object, error) {
	opened, _ := c.names(o).(object)
	metadata, _ := opened["metadata"].(object)
	labels, _ := metadata["labels"].(object)
	if labels == nil {
		labels = object{}
		metadata["labels"] = labels
	}
	labels[c.items(`{{- include "riposte.labels" . | nindent %d }}`)] = nil
	switch kind := textAt(o, "kind"); {
	case containerOf(o) != nil:
		return opened, c.workload(o, opened, v)
	case kind == "ServiceAccount" && owner(o) != "":
		metadata[c.items("{{- with $f.serviceAccount.annotations }}\nannotations: {{- toYaml . | nindent 4 }}\n{{- end }}")] = nil
	case kind == "PersistentVolumeClaim":
		// Dead letters are nowhere else. Neither helm uninstall nor a change to a bucket takes them.
		metadata["annotations"] = object{"helm.sh/resource-policy": "keep"}
		spec, _ := opened["spec"].(object)
		resources, _ := spec["resources"].(object)
		resources["requests"] = object{"storage": c.value(".Values.deadLetter.storage.size | quote")}
		spec[c.items("{{- with .Values.deadLetter.storage.class }}\nstorageClassName: {{ . | quote }}\n{{- end }}")] = nil
	case kind == "PingSource":
		spec, _ := opened["spec"].(object)
		spec["schedule"] = c.value(".Values.release.schedule | quote")
	case kind == "EventPolicy":
		return opened, c.policy(o, opened)
	case kind == "ConfigMap" || kind == "RabbitmqBrokerConfig":
		return opened, c.data(o, opened, v)
	}
	return opened, nil
}

var (
	// spoken are the places in texts where the namespace stands.
	spoken   = regexp.MustCompile(`(/|\.|system:serviceaccount:|namespace: )` + source.Namespace + `(/default|\.svc|:|\n)`)
	koImages = regexp.MustCompile(`^ko://` + regexp.QuoteMeta(source.Root) + `/functions/([a-z-]+)/cmd$`)
)

// names copies the tree and opens what is the same everywhere: the namespace and the images.
func (c *charting) names(of any) any {
	switch of := of.(type) {
	case object:
		copied := object{}
		for key, value := range of {
			if key == "namespace" && value == source.Namespace {
				value = c.value(".Release.Namespace")
			}
			copied[key] = c.names(value)
		}
		return copied
	case []any:
		copied := make([]any, 0, len(of))
		for _, value := range of {
			copied = append(copied, c.names(value))
		}
		return copied
	case string:
		if m := koImages.FindStringSubmatch(of); m != nil {
			return c.value(fmt.Sprintf(`include "riposte.image" (list $ %q) | quote`, m[1]))
		}
		return spoken.ReplaceAllString(of, "${1}"+c.value("$.Release.Namespace")+"${2}")
	}
	return of
}

// workload opens what runs a function.
func (c *charting) workload(o, opened object, v variant) error {
	function := owner(o)
	defaults, container := c.defaults[function], containerOf(opened)
	template, _ := dig(opened, "spec", "template").(object)
	pod, _ := template["spec"].(object)
	if fmt.Sprint(defaults["resources"]) != fmt.Sprint(container["resources"]) {
		return fmt.Errorf("resources are %v: want those of the function, %v", container["resources"], defaults["resources"])
	}
	container["resources"] = c.node("toYaml $f.resources")
	pod[c.items("{{- with .Values.image.pullSecrets }}\nimagePullSecrets: {{- toYaml . | nindent %d }}\n{{- end }}")] = nil
	if annotations, ok := dig(template, "metadata", "annotations").(object); ok {
		annotations["riposte.dev/settings"] = c.value(`include "riposte.settings" .`)
		for name, annotation := range scales() {
			as := " | int64 | quote" // Numbers in values are floats: 1e+06 would be no number to Knative.
			if name == "metric" {
				as = " | quote"
			}
			annotations[scaling+annotation] = c.value("$f.scale." + name + as)
		}
	}
	if pod["containerConcurrency"] != nil {
		pod["containerConcurrency"] = c.value("$f.concurrency | int64")
	}
	env, err := c.environment(function, listAt(container, "env"), v)
	if err != nil {
		return err
	}
	container["env"] = env
	if v.url && function == deadLetter {
		delete(pod, "volumes")
		delete(container, "volumeMounts")
	}
	return nil
}

// environment puts the values of the function in the place of its variables. What is not among them stays, unless a user
// says otherwise; what the function has and this object has not, or has differently, stays out.
func (c *charting) environment(function string, env []any, v variant) ([]any, error) {
	defaults, _ := c.defaults[function]["env"].(object)
	var fixed []any
	here, omitted := object{}, []string{}
	for _, e := range env {
		name := textAt(e, "name")
		value := dig(e, "valueFrom")
		if value == nil {
			value = textAt(e, "value")
		}
		here[name] = value
		wanted, ours := defaults[name]
		switch {
		case ours && fmt.Sprint(wanted) == fmt.Sprint(value):
			continue
		case ours:
			omitted = append(omitted, name)
			fixed = append(fixed, e)
			continue
		case name == "DRY_RUN":
			fixed = append(fixed, object{"name": name, "value": c.value(`include "riposte.dryRun" (list . $f) | quote`)})
			continue
		case name == "K_SINK":
			value = c.value(`include "riposte.sink" . | quote`)
		case v.url && name == "DEAD_LETTER_URL" && function == deadLetter:
			value = c.value(".Values.deadLetter.url | quote")
		}
		item, err := c.text([]any{object{"name": name, "value": value}})
		if err != nil {
			return nil, err
		}
		fixed = append(fixed, c.items(fmt.Sprintf("{{- if not (hasKey $f.env %q) }}\n%s{{- end }}", name, item)))
	}
	for name := range defaults {
		if _, ok := here[name]; !ok {
			omitted = append(omitted, name)
		}
	}
	slices.Sort(omitted)
	omit := "list"
	if names := slices.Compact(omitted); len(names) > 0 {
		omit += ` "` + strings.Join(names, `" "`) + `"`
	}
	return append(fixed, c.items(fmt.Sprintf(`{{- include "riposte.env" (list $f.env (%s)) | nindent %%d }}`, omit))), nil
}

// policy leaves out of an EventPolicy the triggers of functions that are not there.
func (c *charting) policy(o, opened object) error {
	from := listAt(opened, "spec", "from")
	owners := map[string]bool{}
	for _, f := range listAt(o, "spec", "from") {
		owners[c.ownerOf(f)] = true
	}
	if len(owners) < 2 {
		return nil
	}
	for i, f := range listAt(o, "spec", "from") {
		item, err := c.text([]any{from[i]})
		if err != nil {
			return err
		}
		if function := c.ownerOf(f); function != "" {
			from[i] = c.items("{{- if " + enabled(function) + " }}\n" + item + "{{- end }}")
		}
	}
	return nil
}

// data opens what Brokers are configured by, the settings that functions share, and the triggers of a router.
func (c *charting) data(o, opened object, v variant) error {
	data, _ := opened["data"].(object)
	switch name := textAt(o, "metadata", "name"); {
	case textAt(o, "kind") == "RabbitmqBrokerConfig":
		spec, _ := opened["spec"].(object)
		spec["rabbitmqClusterReference"] = c.node("toYaml .Values.broker.rabbitmq.cluster")
		return nil
	case name == source.Settings:
		opened["data"] = c.node(`include "riposte.data" .Values.settings`)
	case name == "riposte-triggers":
		return c.triggers(opened, data)
	case v.broker == "kafka":
		for key := range data {
			value, ok := kafkaValues()[key]
			if !ok {
				return fmt.Errorf("data has %q: want one of %v, or a value in deploy/generate/chart_open.go", key, slices.Sorted(maps.Keys(kafkaValues())))
			}
			as := " | int64 | quote"
			if value == "bootstrapServers" {
				as = " | quote"
			}
			data[key] = c.value(".Values.broker.kafka." + value + as)
		}
		data[c.items("{{- with .Values.broker.kafka.authSecret }}\nauth.secret.ref.name: {{ . | quote }}\n{{- end }}")] = nil
	case v.broker == "nats":
		template := textAt(data, "channel-template-spec")
		opening := regexp.MustCompile(`(?m)^( +replicas: )\d+$`)
		if len(opening.FindAllString(template, -1)) != 1 {
			return fmt.Errorf("channel-template-spec has no one line with replicas:\n%s", template)
		}
		data["channel-template-spec"] = opening.ReplaceAllString(template, "${1}"+c.value(".Values.broker.nats.replicas | int64"))
	}
	return nil
}

// kafkaValues are the names in values.yaml of what the Broker on Kafka is told.
func kafkaValues() map[string]string {
	return map[string]string{
		"bootstrap.servers":                        "bootstrapServers",
		"default.topic.partitions":                 "partitions",
		"default.topic.replication.factor":         "replicationFactor",
		"default.topic.config.min.insync.replicas": "minInSyncReplicas",
		"default.topic.config.retention.ms":        "retentionMilliseconds",
	}
}

// triggers leaves out of the router's triggers those of functions that are not there.
func (c *charting) triggers(opened, data object) error {
	all, err := readTriggers(c.Root)
	if err != nil {
		return err
	}
	conditional := object{}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		var functions []string
		for _, t := range all {
			if t.file == key {
				functions = append(functions, t.Spec.Subscriber.Ref.Name)
			}
		}
		slices.Sort(functions)
		if functions = slices.Compact(functions); len(functions) != 1 {
			return fmt.Errorf("triggers/%s calls %q: want one function, which it is left out without", key, functions)
		}
		item, err := c.text(object{key: data[key]})
		if err != nil {
			return err
		}
		conditional[c.items("{{- if "+enabled(functions[0])+" }}\n"+item+"{{- end }}")] = nil
	}
	opened["data"] = conditional
	return nil
}

// sinks is the part of the helpers that says where the Broker's ingress is.
func (c *charting) sinks() string {
	var out strings.Builder
	out.WriteString("\n{{- /* Where the Broker takes events: broker.url, or the address that the class has. */}}\n{{- define \"riposte.sink\" -}}\n")
	out.WriteString("{{- if .Values.broker.url }}{{ .Values.broker.url }}\n")
	usual := ""
	for i, v := range c.variants {
		for _, o := range v.objects {
			for _, e := range listAt(containerOf(o), "env") {
				if textAt(e, "name") != "K_SINK" {
					continue
				}
				url := spoken.ReplaceAllString(textAt(e, "value"), "${1}{{ .Release.Namespace }}${2}")
				if i == 0 {
					usual = url
				} else if url != usual {
					fmt.Fprintf(&out, "{{- else if eq .Values.broker.class %q }}%s\n", v.broker, url)
				}
			}
		}
	}
	fmt.Fprintf(&out, "{{- else }}%s\n{{- end }}\n{{- end }}\n", usual)
	return out.String()
}
