package doctor_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/triggers"
)

// brokers are the manifests of deploy/knative. Their test is here because this module has Knative's types.
const brokers = "../../knative/brokers"

type kustomization struct {
	Namespace          string
	Resources          []string
	ConfigMapGenerator []struct {
		Name     string
		Files    []string
		Literals []string
	}
	GeneratorOptions struct{ DisableNameSuffixHash bool }
}

func readKustomization(t *testing.T, class string) kustomization {
	t.Helper()
	var k kustomization
	if err := yaml.Unmarshal([]byte(readFile(t, brokers, class, "kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// shippedWith are the shipped triggers with a Broker.
func shippedWith(t *testing.T, broker string) fstest.MapFS {
	t.Helper()
	files, err := filepath.Glob("../../../triggers/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d triggers: %v", len(files), err)
	}
	all := fstest.MapFS{"the-broker.yaml": &fstest.MapFile{Data: []byte(broker)}}
	for _, file := range files {
		all[filepath.Base(file)] = &fstest.MapFile{Data: []byte(readFile(t, file))}
	}
	return all
}

// The strict loader takes every Broker, which is Knative's own validation too, and the shipped triggers find it.
func TestBrokerClasses(t *testing.T) {
	for class, c := range map[string]struct{ folder, annotation, name string }{
		"in-memory":      {".", "MTChannelBasedBroker", "default"},
		"kafka":          {".", "Kafka", "default"},
		"nats-jetstream": {".", "MTChannelBasedBroker", "default"},
		"rabbitmq":       {"eventing", "RabbitMQBroker", "intake"},
	} {
		t.Run(class, func(t *testing.T) {
			folder := filepath.Join(brokers, class, c.folder)
			set, err := triggers.Load(os.DirFS(folder))
			if err != nil || len(set.Brokers()) != 1 {
				t.Fatalf("loaded %v: %v", set, err)
			}
			b := set.Brokers()[0]
			if b.Name != c.name || b.Namespace != "riposte" || b.Annotations["eventing.knative.dev/broker.class"] != c.annotation {
				t.Errorf("Broker %s/%s has the annotations %v", b.Namespace, b.Name, b.Annotations)
			}
			d := b.Spec.Delivery
			if d == nil || d.DeadLetterSink == nil || d.Retry == nil || *d.Retry == 0 || d.BackoffPolicy == nil || *d.BackoffPolicy != "exponential" ||
				d.Timeout == nil {
				t.Errorf("delivery is %+v: want retries, exponential back-off, a time-out and a dead letter", d)
			}
			if d != nil && d.RetryAfterMax != nil {
				t.Error("retryAfterMax is set: Knative's webhook refuses it as it is installed")
			}
			if b.Spec.Config == nil || b.Spec.Config.Namespace != "riposte" {
				t.Errorf("config is %+v: want an object of the namespace riposte", b.Spec.Config)
			}
			together, err := triggers.Load(shippedWith(t, readFile(t, folder, "broker.yaml")))
			if found := err == nil && len(together.Triggers()) > 5; found != (c.name == "default") {
				t.Errorf("the shipped triggers find the Broker: %v (%v)", found, err)
			}
		})
	}
}

// RabbitMQ's Broker does not read spec.filters: a trigger with nothing else would get every event.
func TestRabbitMQTriggersUseTheOlderFilter(t *testing.T) {
	set, err := triggers.LoadDir(filepath.Join(brokers, "rabbitmq", "eventing"))
	if err != nil || len(set.Triggers()) == 0 {
		t.Fatalf("loaded %v: %v", set, err)
	}
	for _, trigger := range set.Triggers() {
		spec := trigger.Manifest.Spec
		if len(spec.Filters) > 0 || spec.Filter == nil || len(spec.Filter.Attributes) == 0 {
			t.Errorf("trigger %s has no spec.filter alone", trigger.Name)
		}
		n, err := strconv.Atoi(trigger.Manifest.Annotations["rabbitmq.eventing.knative.dev/parallelism"])
		if err != nil || n < 2 || n > 1000 {
			t.Errorf("trigger %s handles %d events at once: %v", trigger.Name, n, err)
		}
	}
}

// What kustomize would apply is there, and the names that Brokers refer to are the generated ones.
func TestBrokerKustomizations(t *testing.T) {
	folders, err := os.ReadDir(brokers)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		class := folder.Name()
		if !folder.IsDir() {
			continue
		}
		t.Run(class, func(t *testing.T) {
			k := readKustomization(t, class)
			if k.Namespace != "riposte" {
				t.Errorf("namespace is %q", k.Namespace)
			}
			listed := map[string]bool{"kustomization.yaml": true}
			text := ""
			for _, file := range k.Resources {
				listed[file] = true
				text += readFile(t, brokers, class, file)
			}
			for _, generated := range k.ConfigMapGenerator {
				if !k.GeneratorOptions.DisableNameSuffixHash || !strings.Contains(text, "name: "+generated.Name) {
					t.Errorf("the Broker does not name the ConfigMap %s", generated.Name)
				}
				for _, file := range generated.Files {
					listed[file] = true
				}
			}
			err := filepath.WalkDir(filepath.Join(brokers, class), func(path string, entry os.DirEntry, err error) error {
				name, _ := filepath.Rel(filepath.Join(brokers, class), path)
				if err == nil && !entry.IsDir() && !listed[filepath.ToSlash(name)] {
					t.Errorf("%s is not applied by kustomization.yaml", name)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The channels' templates are as Knative's controller for Brokers reads them.
func TestChannelTemplates(t *testing.T) {
	for class, kind := range map[string]string{"in-memory": "InMemoryChannel", "nats-jetstream": "NatsJetStreamChannel"} {
		var template messagingv1.ChannelTemplateSpec
		if err := yaml.UnmarshalStrict([]byte(readFile(t, brokers, class, "channel-template-spec")), &template); err != nil {
			t.Fatal(err)
		}
		if template.Kind != kind || !strings.HasPrefix(template.APIVersion, "messaging.knative.dev/") {
			t.Errorf("%s makes a channel of %s %s", class, template.APIVersion, template.Kind)
		}
	}
}

// The keys are those that the controller of the Kafka Broker reads; it takes no other for a mistake.
func TestKafkaSettings(t *testing.T) {
	known := []string{"auth.secret.ref.name", "bootstrap.servers", "default.topic.partitions", "default.topic.replication.factor"}
	settings := map[string]string{}
	for _, literal := range readKustomization(t, "kafka").ConfigMapGenerator[0].Literals {
		key, value, _ := strings.Cut(literal, "=")
		settings[key] = value
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if topic := strings.HasPrefix(key, "default.topic.config."); !topic && !slices.Contains(known, key) {
			t.Errorf("%s is no setting", key)
		}
	}
	number := func(key string) int {
		n, err := strconv.Atoi(settings[key])
		if err != nil || n < 1 {
			t.Errorf("%s is %q: %v", key, settings[key], err)
		}
		return n
	}
	number("default.topic.partitions")
	number("default.topic.config.retention.ms")
	if number("default.topic.config.min.insync.replicas") >= number("default.topic.replication.factor") {
		t.Error("min.insync.replicas is not less than the replicas: the loss of one stops the Broker")
	}
	if settings["bootstrap.servers"] == "" {
		t.Error("bootstrap.servers is empty")
	}
}
