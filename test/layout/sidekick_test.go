package layout_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// sidekickKeys are the keys of the Falcosidekick chart that are of use here; what is below extraVolumes and
// extraVolumeMounts is Kubernetes' own. The chart drops a key that it does not know in silence.
//
// Chart 0.14.0, which has Falcosidekick 2.32.0:
// https://github.com/falcosecurity/charts/blob/master/charts/falcosidekick/values.yaml
func sidekickKeys() []string {
	keys := []string{"extraVolumes", "extraVolumeMounts", "config.extraEnv", "config.tlsclient.cacertfile"}
	add := func(prefix, names string) {
		for name := range strings.FieldsSeq(names) {
			keys = append(keys, "config."+prefix+"."+name)
		}
	}
	add("mutualtlsclient", "certfile keyfile cacertfile")
	add("cloudevents", "address minimumpriority") // And extension, which does nothing: see sidekickVariables.
	add("webhook", "address method customHeaders minimumpriority mutualtls checkcert")
	add("openfaas", "functionname functionnamespace gatewayservice gatewayport gatewaynamespace minimumpriority mutualtls checkcert")
	add("nats", "hostport subjecttemplate minimumpriority mutualtls checkcert")
	add("aws", "useirsa rolearn externalid region checkidentity")
	add("aws.sns", "topicarn rawjson minimumpriority")
	add("aws.sqs", "url minimumpriority")
	add("aws.lambda", "functionname minimumpriority")
	add("aws.kinesis", "streamname minimumpriority")
	add("gcp", "credentials workloadIdentityServiceAccount")
	add("gcp.pubsub", "projectid topic customattributes minimumpriority")
	return keys
}

// sidekickVariables are those that Falcosidekick reads and the chart has no key for, or that hold a secret, which then has to
// come from one. The chart's cloudevents.extension sets CLOUDEVENTS_EXTENSION, without its S: no release reads that.
//
// Falcosidekick 2.34.1: https://github.com/falcosecurity/falcosidekick/blob/master/config.go
func sidekickVariables() map[string]bool {
	return map[string]bool{
		"CLOUDEVENTS_EXTENSIONS": false, "WEBHOOK_MAXCONCURRENTREQUESTS": false, "OPENFAAS_MAXCONCURRENTREQUESTS": false, "AWS_LAMBDA_INVOCATIONTYPE": false,
		"WEBHOOK_CUSTOMHEADERS": true, "NATS_HOSTPORT": true,
	}
}

// falcoKeys are the keys of the Falco chart that are of use here. Below falco they are Falco's own.
//
// Chart 9.1.0, which has Falco 0.44.1: https://github.com/falcosecurity/charts/blob/master/charts/falco/values.yaml and
// https://github.com/falcosecurity/falco/blob/master/userspace/falco/config_json_schema.h
func falcoKeys() []string {
	keys := []string{"falcosidekick.enabled", "certs.existingSecret", "certs.existingClientSecret"}
	for name := range strings.FieldsSeq("append_output json_output json_include_output_property json_include_output_fields_property json_include_tags_property") {
		keys = append(keys, "falco."+name)
	}
	for name := range strings.FieldsSeq("enabled url user_agent insecure ca_cert ca_bundle ca_path mtls client_cert client_key echo compress_uploads") {
		keys = append(keys, "falco.http_output."+name)
	}
	return keys
}

// leaves are the values of a document by their paths; lists are values.
func leaves(prefix string, value any, into map[string]any) {
	inner, ok := value.(map[string]any)
	if !ok {
		into[prefix] = value
		return
	}
	for name, v := range inner {
		leaves(strings.TrimPrefix(prefix+"."+name, "."), v, into)
	}
}

// values reads each values*.yaml of a folder of config/, strictly: a key that stands twice is an error.
func values(t *testing.T, folder string) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "config", folder, "values*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("config/%s has %v (%v)", folder, files, err)
	}
	all := map[string]map[string]any{}
	for _, file := range files {
		var document map[string]any
		if err := yaml.UnmarshalStrict([]byte(read(t, "config", folder, filepath.Base(file))), &document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found := map[string]any{}
		leaves("", document, found)
		all[filepath.Base(file)] = found
	}
	return all
}

// Every key is one that the chart has, or it would do nothing.
func TestValuesOfCharts(t *testing.T) {
	for folder, known := range map[string][]string{"falcosidekick": sidekickKeys(), "falco": falcoKeys()} {
		for file, found := range values(t, folder) {
			for key := range found {
				if !slices.Contains(known, key) {
					t.Errorf("config/%s/%s: the chart has no %s", folder, file, key)
				}
			}
		}
	}
}

// What turns each output on is there once in the files, and with it the least priority: Falcosidekick sends everything where
// that is none it knows.
func TestFalcosidekickOutputs(t *testing.T) {
	want := map[string]string{
		"values.yaml":                 "config.cloudevents.address",
		"values-router.yaml":          "config.webhook.address",
		"values-router-mtls.yaml":     "config.webhook.address",
		"values-openfaas.yaml":        "config.webhook.address",
		"values-openfaas-output.yaml": "config.openfaas.functionname",
		"values-nats.yaml":            "NATS_HOSTPORT",
		"values-aws-sns.yaml":         "config.aws.sns.topicarn",
		"values-aws-sqs.yaml":         "config.aws.sqs.url",
		"values-aws-lambda.yaml":      "config.aws.lambda.functionname",
		"values-aws-kinesis.yaml":     "config.aws.kinesis.streamname",
		"values-gcp-pubsub.yaml":      "config.gcp.pubsub.topic",
	}
	all := values(t, "falcosidekick")
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("config/falcosidekick has %v, and here are %v", got, slices.Sorted(maps.Keys(want)))
	}
	priorities := []string{"emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"}
	for file, found := range all {
		switches := slices.Collect(maps.Values(want))
		var on, least []string
		for key, value := range found {
			if slices.Contains(switches, key) {
				on = append(on, key)
			}
			if strings.HasSuffix(key, ".minimumpriority") {
				least = append(least, fmt.Sprint(value))
			}
		}
		for name := range variables(t, file, found) {
			if slices.Contains(switches, name) {
				on = append(on, name)
			}
		}
		if !slices.Equal(on, []string{want[file]}) {
			t.Errorf("%s turns on %v, want %s", file, on, want[file])
		}
		if len(least) != 1 || !slices.Contains(priorities, least[0]) {
			t.Errorf("%s has the least priorities %q: want one of %v", file, least, priorities)
		}
	}
}

// variables are those of extraEnv. A secret is in none of them as it is.
func variables(t *testing.T, file string, found map[string]any) map[string]string {
	t.Helper()
	out := map[string]string{}
	list, _ := found["config.extraEnv"].([]any)
	for _, one := range list {
		variable, _ := one.(map[string]any)
		name, _ := variable["name"].(string)
		value, plain := variable["value"].(string)
		secret, known := sidekickVariables()[name]
		if !known {
			t.Errorf("%s: Falcosidekick reads no variable %q, or the chart has a key for it", file, name)
		}
		source := map[string]any{}
		leaves("", variable, source)
		delete(source, "name")
		wanted := []string{"value"}
		if secret {
			wanted = []string{"valueFrom.secretKeyRef.key", "valueFrom.secretKeyRef.name"}
		}
		if got := slices.Sorted(maps.Keys(source)); !slices.Equal(got, wanted) || plain == secret {
			t.Errorf("%s: %s has %v, want %v", file, name, got, wanted)
		}
		out[name] = value
	}
	return out
}

// Falcosidekick fails at every alert with an attribute that CloudEvents does not allow, and overwrites those it sets itself.
func TestFalcosidekickExtensions(t *testing.T) {
	taken := []string{"id", "source", "type", "specversion", "subject", "time", "data", "datacontenttype", "dataschema", "priority", "rule", "eventsource", "hostname"}
	extension := regexp.MustCompile(`^([a-z0-9]{1,20}):[^:,]+$`)
	some := 0
	for file, found := range values(t, "falcosidekick") {
		text, ok := variables(t, file, found)["CLOUDEVENTS_EXTENSIONS"]
		if !ok {
			continue
		}
		for one := range strings.SplitSeq(text, ",") {
			some++
			if m := extension.FindStringSubmatch(one); m == nil || slices.Contains(taken, m[1]) {
				t.Errorf("%s: the extension %q is none: want NAME:VALUE with a name of lower-case letters and digits that is not taken", file, one)
			}
		}
	}
	if some == 0 {
		t.Error("no values have an extension")
	}
}

// The pod's UID proves which incarnation of the pod raised the alert.
func TestFalcoSendsTheUID(t *testing.T) {
	list, _ := values(t, "falco")["values.yaml"]["falco.append_output"].([]any)
	for _, one := range list {
		entry := map[string]any{}
		leaves("", one, entry)
		fields, _ := entry["extra_fields"].([]any)
		if entry["match.source"] == "syscall" && slices.Contains(fields, any("k8s.pod.uid")) {
			return
		}
	}
	t.Errorf("append_output is %v: want k8s.pod.uid in the extra_fields of the source syscall", list)
}
