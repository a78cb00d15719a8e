package platforms

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fieldAt is what the only object of that kind and name has at a path, as text; "" if there is nothing.
func fieldAt(t *testing.T, objects []*unstructured.Unstructured, kind, name string, path ...string) string {
	t.Helper()
	for _, o := range objects {
		if o.GetAPIVersion()+" "+o.GetKind() == kind && o.GetName() == name {
			value, found, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
			if !found {
				return ""
			}
			return fmt.Sprint(value)
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return ""
}

// workloadOf is what runs a function.
func workloadOf(t *testing.T, objects []*unstructured.Unstructured, function string) workload {
	t.Helper()
	for _, w := range workloads(t, objects) {
		if w.GetName() == function {
			return w
		}
	}
	t.Fatalf("nothing runs %s", function)
	return workload{}
}

const (
	knativeService = "serving.knative.dev/v1 Service"
	configMap      = "v1 ConfigMap"
)

// What each value of the chart changes, and that it changes nothing else.
func TestHelmValues(t *testing.T) {
	plain := substances(t, helm(t))
	for name, c := range map[string]struct {
		values []string
		// changed are the objects that differ from what the chart makes without any value.
		changed []string
		check   func(t *testing.T, objects []*unstructured.Unstructured)
	}{
		"one function acts": {
			values: []string{"functions.label.dryRun=false"}, changed: []string{"serving.knative.dev/v1 Service label"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if got := workloadOf(t, objects, "label").environ()["DRY_RUN"].Value + workloadOf(t, objects, "taint").environ()["DRY_RUN"].Value; got != "falsetrue" {
					t.Errorf("DRY_RUN of label and taint are %s", got)
				}
			},
		},
		"one function does not act": {
			values: []string{"dryRun=false", "functions.label.dryRun=true"},
			changed: []string{
				"serving.knative.dev/v1 Service collect-evidence", "serving.knative.dev/v1 Service delete-pod", "serving.knative.dev/v1 Service isolate",
				"serving.knative.dev/v1 Service lambda", "serving.knative.dev/v1 Service release", "serving.knative.dev/v1 Service slack",
				"serving.knative.dev/v1 Service taint",
			},
		},
		"variables": {
			values:  []string{"functions.slack.env.WHEN=1 < 2", "functions.slack.env.GOMEMLIMIT=1MiB", "functions.slack.env.SLACK_WEBHOOK_URL=null", "functions.slack.env.TOKEN.secretKeyRef.name=mine,functions.slack.env.TOKEN.secretKeyRef.key=token"},
			changed: []string{"serving.knative.dev/v1 Service slack"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				env := workloadOf(t, objects, "slack").environ()
				want := map[string]corev1.EnvVar{
					"DRY_RUN": {Name: "DRY_RUN", Value: "true"}, "WHEN": {Name: "WHEN", Value: "1 < 2"}, "GOMEMLIMIT": {Name: "GOMEMLIMIT", Value: "1MiB"},
					"TOKEN": {Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "mine"}, Key: "token"}}},
				}
				if diff := cmp.Diff(want, env); diff != "" {
					t.Errorf("variables (-want +got):\n%s", diff)
				}
			},
		},
		"resources, scale and account": {
			values: []string{
				"functions.slack.resources.limits.cpu=2", "functions.slack.scale.min=1", "functions.slack.scale.metric=rps", "functions.slack.concurrency=7000000",
				`functions.slack.serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/x`,
			},
			changed: []string{"serving.knative.dev/v1 Service slack", "v1 ServiceAccount riposte-slack"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				w := workloadOf(t, objects, "slack")
				annotations, _, _ := unstructured.NestedStringMap(w.Object, "spec", "template", "metadata", "annotations")
				got := []string{
					w.pod.Containers[0].Resources.Limits.Cpu().String(), annotations["autoscaling.knative.dev/min-scale"], annotations["autoscaling.knative.dev/metric"],
					fieldAt(t, objects, knativeService, "slack", "spec", "template", "spec", "containerConcurrency"),
					fieldAt(t, objects, "v1 ServiceAccount", "riposte-slack", "metadata", "annotations", "eks.amazonaws.com/role-arn"),
				}
				if diff := cmp.Diff([]string{"2", "1", "rps", "7000000", "arn:aws:iam::1:role/x"}, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			},
		},
		"settings": {
			values: []string{"settings.MIN_PRIORITY=Warning"}, changed: []string{"v1 ConfigMap riposte-settings"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				annotation := []string{"spec", "template", "metadata", "annotations", "riposte.dev/settings"}
				if fieldAt(t, objects, knativeService, "slack", annotation...) == fieldAt(t, helm(t), knativeService, "slack", annotation...) {
					t.Error("with other settings there is no other revision")
				}
				if got := fieldAt(t, objects, configMap, "riposte-settings", "data", "MIN_PRIORITY"); got != "Warning" {
					t.Errorf("MIN_PRIORITY is %q", got)
				}
			},
		},
		"the clock": {
			values: []string{"release.schedule=*/5 * * * *"}, changed: []string{"sources.knative.dev/v1 PingSource release"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if got := fieldAt(t, objects, "sources.knative.dev/v1 PingSource", "release", "spec", "schedule"); got != "*/5 * * * *" {
					t.Errorf("the schedule is %q", got)
				}
			},
		},
		"another volume": {
			values: []string{"deadLetter.storage.size=5Gi", "deadLetter.storage.class=fast"}, changed: []string{"v1 PersistentVolumeClaim dead-letters"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				kind := "v1 PersistentVolumeClaim"
				if got := fieldAt(t, objects, kind, "dead-letters", "spec", "resources", "requests", "storage") + fieldAt(t, objects, kind, "dead-letters", "spec", "storageClassName"); got != "5Gifast" {
					t.Errorf("size and class are %s", got)
				}
				if got := fieldAt(t, objects, kind, "dead-letters", "metadata", "annotations", "helm.sh/resource-policy"); got != "keep" {
					t.Errorf("Helm's policy for the volume is %q: dead letters would go with the release", got)
				}
			},
		},
		"a bucket instead of the volume": {
			values: []string{"deadLetter.url=s3://dead"}, changed: []string{"apps/v1 Deployment dead-letter", "v1 PersistentVolumeClaim dead-letters"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				w := workloadOf(t, objects, "dead-letter")
				if len(w.pod.Volumes)+len(w.pod.Containers[0].VolumeMounts) > 0 || w.environ()["DEAD_LETTER_URL"].Value != "s3://dead" || has(objects, "v1", "PersistentVolumeClaim", "dead-letters") {
					t.Errorf("dead-letter is %v", w.pod)
				}
				if !sends(t, policies(t, objects), w.labels, peer{namespace: "elsewhere"}, 443) {
					t.Error("dead-letter may not speak to the bucket")
				}
			},
		},
		"no network policies": {
			values: []string{"networkPolicies.enabled=false"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if n := len(find(objects, "networking.k8s.io/v1", "NetworkPolicy")); n > 0 {
					t.Errorf("there are %d", n)
				}
			},
		},
		"somebody else's Broker": {
			values: []string{"broker.class=none", "broker.url=http://broker.example/x"},
			changed: []string{
				"eventing.knative.dev/v1 Broker default", "serving.knative.dev/v1 Service router", "v1 ConfigMap broker-channel",
			},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if got := workloadOf(t, objects, "router").environ()["K_SINK"].Value; got != "http://broker.example/x" {
					t.Errorf("the router sends to %s", got)
				}
			},
		},
		"images": {
			values: []string{"image.registry=registry.example:5000/team", "image.tag=v7", "image.digests.slack=sha256:" + strings.Repeat("a", 64), "image.pullSecrets[0].name=mine"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				for _, w := range workloads(t, objects) {
					want := "registry.example:5000/team/riposte-" + w.GetName() + ":v7"
					if w.GetName() == "slack" {
						want = "registry.example:5000/team/riposte-slack@sha256:" + strings.Repeat("a", 64)
					}
					if got := w.pod.Containers[0].Image; got != want {
						t.Errorf("the image is %s, want %s", got, want)
					}
					if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: "mine"}}, w.pod.ImagePullSecrets); diff != "" {
						t.Errorf("secrets for the registry (-want +got):\n%s", diff)
					}
				}
			},
		},
		"Kafka": {
			values: []string{"broker.class=kafka", `broker.kafka.bootstrapServers=a:1\,b:2`, "broker.kafka.partitions=3", "broker.kafka.authSecret=sasl"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				for key, want := range map[string]string{
					"bootstrap.servers": "a:1,b:2", "default.topic.partitions": "3", "auth.secret.ref.name": "sasl", "default.topic.config.retention.ms": "86400000",
				} {
					if got := fieldAt(t, objects, configMap, "kafka-broker", "data", key); got != want {
						t.Errorf("%s is %q, want %q", key, got, want)
					}
				}
			},
		},
		"NATS": {
			values: []string{"broker.class=nats", "broker.nats.replicas=5"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if got := fieldAt(t, objects, configMap, "broker-channel", "data", "channel-template-spec"); !strings.Contains(got, "\n      replicas: 5\n") {
					t.Errorf("the channel is\n%s", got)
				}
			},
		},
		"RabbitMQ": {
			values: []string{"broker.class=rabbitmq", "broker.rabbitmq.cluster.name=mine"},
			check: func(t *testing.T, objects []*unstructured.Unstructured) {
				t.Helper()
				if got := fieldAt(t, objects, "eventing.knative.dev/v1alpha1 RabbitmqBrokerConfig", "intake", "spec", "rabbitmqClusterReference"); got != "map[name:mine namespace:rabbitmq-system]" {
					t.Errorf("the cluster is %s", got)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := helm(t, c.values...)
			if c.check != nil {
				c.check(t, objects)
			}
			if c.changed == nil {
				return
			}
			var changed []string
			now := substances(t, objects)
			for name, o := range plain {
				if !cmp.Equal(o, now[name]) {
					changed = append(changed, name)
				}
			}
			slices.Sort(changed)
			if diff := cmp.Diff(c.changed, changed); diff != "" || len(now) > len(plain) {
				t.Errorf("changed are (-want +got), and there are %d objects after %d:\n%s", len(now), len(plain), diff)
			}
		})
	}
}

// A function that is left out leaves nothing behind: no rights, no triggers, and nothing that waits for them.
func TestHelmWithoutFunctions(t *testing.T) {
	for _, function := range functions(t) {
		if function == "dead-letter" { // Everything else sends it what it cannot deliver.
			continue
		}
		t.Run(function, func(t *testing.T) {
			off := "functions." + function + ".enabled=false"
			var triggers []string
			for _, o := range helm(t) {
				if o.GetKind() == "Trigger" && o.GetLabels()["app.kubernetes.io/name"] == function {
					triggers = append(triggers, o.GetName())
				}
			}
			gone := 0
			for _, o := range helm(t, "oidc.enabled=true") {
				if o.GetLabels()["app.kubernetes.io/name"] == function {
					gone++
				}
			}
			objects := helm(t, "oidc.enabled=true", off)
			for _, o := range objects {
				if o.GetLabels()["app.kubernetes.io/name"] == function {
					t.Errorf("%s is there", called(o))
				}
				from, _, _ := unstructured.NestedSlice(o.Object, "spec", "from")
				for _, f := range from {
					name, _, _ := unstructured.NestedString(f.(map[string]any), "ref", "name")
					if slices.Contains(triggers, name) {
						t.Errorf("%s names the Trigger %s", called(o), name)
					}
				}
			}
			if gone == 0 {
				t.Error("nothing was there before")
			}
			if function == "router" {
				return
			}
			routed := helm(t, "broker.class=rabbitmq", off)
			for _, name := range triggers {
				if strings.Contains(fieldAt(t, routed, configMap, "riposte-triggers", "data"), "\n  name: "+name+"\n") {
					t.Errorf("the router has the Trigger %s", name)
				}
			}
		})
	}
}

// Each function that has a dry run can be taken out of it alone.
func TestHelmOneFunctionActs(t *testing.T) {
	for _, w := range workloads(t, helm(t)) {
		if w.environ()["DRY_RUN"].Value != "true" {
			continue
		}
		t.Run(w.GetName(), func(t *testing.T) {
			for _, other := range workloads(t, helm(t, "functions."+w.GetName()+".dryRun=false")) {
				want := w.environ()["DRY_RUN"].Value
				if other.GetName() == w.GetName() {
					want = "false"
				} else if _, dry := other.environ()["DRY_RUN"]; !dry {
					want = ""
				}
				if got := other.environ()["DRY_RUN"].Value; got != want {
					t.Errorf("DRY_RUN of %s is %q, want %q", other.GetName(), got, want)
				}
			}
		})
	}
}
