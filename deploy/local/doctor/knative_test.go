package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const (
	crds          kube.Resource = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	triggerObject kube.Resource = "apis/eventing.knative.dev/v1/triggers"
	brokerObject  kube.Resource = "apis/eventing.knative.dev/v1/brokers"
)

// cluster is the real API server with Knative's types, and the test for its control plane.
type cluster struct {
	t         *testing.T
	client    *kube.Client
	config    *rest.Config
	namespace string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	env := testkit.Cluster(t)
	client, err := kube.NewClient(env.Config, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, client: client, config: env.Config}
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "knative.dev/eventing").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"broker", "trigger"} {
		file := filepath.Join(strings.TrimSpace(string(folder)), "config", "core", "resources", name+".yaml")
		var crd map[string]any
		if err := yaml.Unmarshal([]byte(readFile(t, file)), &crd); err != nil {
			t.Fatal(err)
		}
		// Left in the cluster, which ends with the tests: other packages may have them in use.
		if err := client.Apply(t.Context(), crds, "", name+"s.eventing.knative.dev", "test", true, crd, nil); err != nil {
			t.Fatal(err)
		}
	}
	namespace := struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}{}
	err = client.Apply(t.Context(), kube.Namespaces, "", "doctor-"+strings.ToLower(t.Name()), "test", true,
		map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "doctor-" + strings.ToLower(t.Name())}}, &namespace)
	if err != nil {
		t.Fatal(err)
	}
	c.namespace = namespace.Metadata.Name
	t.Cleanup(func() {
		_ = client.Delete(context.WithoutCancel(t.Context()), kube.Namespaces, "", c.namespace, metav1.DeleteOptions{})
	})
	testkit.Eventually(t, "Knative's types are served", func(ctx context.Context) error {
		if err := client.List(ctx, brokerObject, c.namespace, nil); err != nil {
			return err
		}
		return client.List(ctx, triggerObject, c.namespace, nil)
	})
	return c
}

// create makes a Broker or Trigger, and says for Knative that it is ready, or why not.
func (c *cluster) create(r kube.Resource, name string, labels map[string]string, ready string) {
	c.t.Helper()
	object := map[string]any{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": map[string]any{"name": name, "labels": labels}, "spec": map[string]any{},
	}
	if r == triggerObject {
		object["kind"] = "Trigger"
		object["spec"] = map[string]any{"broker": "default", "subscriber": map[string]string{"uri": "http://x"}}
	}
	if err := c.client.Create(c.t.Context(), r, c.namespace, object); err != nil {
		c.t.Fatal(err)
	}
	c.status(c.t.Context(), r, name, ready)
}

func (c *cluster) status(ctx context.Context, r kube.Resource, name, ready string) {
	c.t.Helper()
	condition := map[string]string{"type": "Ready", "status": "True"}
	if ready != "" {
		condition = map[string]string{"type": "Ready", "status": "False", "reason": "Broken", "message": ready}
	}
	patch := map[string]any{"status": map[string]any{"conditions": []any{condition}}}
	if err := c.client.Merge(ctx, r, c.namespace, name+"/status", patch, nil); err != nil && !apierrors.IsNotFound(err) {
		c.t.Errorf("write the status of %s: %v", name, err)
	}
}

func (c *cluster) triggers() []string {
	c.t.Helper()
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
		} `json:"items"`
	}
	if err := c.client.List(c.t.Context(), triggerObject, c.namespace, &list); err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Metadata.Name)
	}
	slices.Sort(names)
	return names
}

func (c *cluster) knative(now func() time.Time) *doctor.Knative {
	return &doctor.Knative{Client: c.client, Namespace: c.namespace, Broker: "default", Trigger: "canary", Now: now}
}

func taps() []doctor.Tap {
	return []doctor.Tap{
		{Name: "doctor-1-alert", Types: []string{"falco.rule.output.v1"}, Attributes: map[string]string{"rule": "Riposte canary"}, URI: "http://192.0.2.1/alert"},
		{Name: "doctor-1-outcome", Types: []string{"dev.riposte.response.v1"}, Attributes: map[string]string{"alertid": "1"}, URI: "http://192.0.2.1/outcome"},
	}
}

// The Triggers pass the API server's own schema, are waited for, and go. Those that a killed run has left behind go
// too, and nobody else's.
func TestKnative(t *testing.T) {
	c := newCluster(t)
	c.create(brokerObject, "default", nil, "")
	c.create(triggerObject, "canary", nil, "")
	c.create(triggerObject, "doctor-0-alert", map[string]string{doctor.Label: "true"}, "")
	c.create(triggerObject, "somebody-elses", map[string]string{"a": "b"}, "")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	k := c.knative(time.Now)
	opened := make(chan error, 1)
	go func() { opened <- k.Open(ctx, taps()) }()
	for _, tap := range taps() {
		testkit.Eventually(t, tap.Name+" is made", func(ctx context.Context) error {
			return c.client.Get(ctx, triggerObject, c.namespace, tap.Name, nil)
		})
		select {
		case err := <-opened:
			t.Fatalf("opened before %s was ready: %v", tap.Name, err)
		default:
		}
		c.status(ctx, triggerObject, tap.Name, "")
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if got, want := c.triggers(), []string{"canary", "doctor-0-alert", "doctor-1-alert", "doctor-1-outcome", "somebody-elses"}; !slices.Equal(got, want) {
		t.Errorf("triggers are %v, want %v: those of another run that may still be under way stay", got, want)
	}
	if err := k.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(ctx); err != nil { // Nothing is left to remove.
		t.Error(err)
	}
	later := c.knative(func() time.Time { return time.Now().Add(11 * time.Minute) })
	later.Trigger = "somebody-elses"
	if err := later.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := c.triggers(), []string{"canary", "somebody-elses"}; !slices.Equal(got, want) {
		t.Errorf("triggers are %v, want %v", got, want)
	}
}

func TestKnativeProblems(t *testing.T) {
	c := newCluster(t)
	expect := func(detail, look string, prepare func() *doctor.Knative) {
		t.Helper()
		k := prepare()
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		err := k.Open(ctx, taps())
		var p *doctor.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Detail, detail) || !strings.Contains(p.Look, look) {
			t.Errorf("got %#v, want %q and %q", err, detail, look)
		}
		if err := k.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for _, name := range c.triggers() {
			if strings.HasPrefix(name, "doctor-1") {
				t.Errorf("%s was left behind", name)
			}
		}
	}
	usual := func() *doctor.Knative { return c.knative(time.Now) }

	expect("there is no Broker default", "deploy/knative/brokers", usual)
	expect("Broker default is not ready: Broken: no channel", "describe brokers/default", func() *doctor.Knative {
		c.create(brokerObject, "default", nil, "no channel")
		return usual()
	})
	expect("there is no Trigger canary", "triggers/canary.yaml", func() *doctor.Knative {
		c.status(t.Context(), brokerObject, "default", "")
		return usual()
	})
	expect("Trigger canary is not ready", "describe triggers/canary", func() *doctor.Knative {
		c.create(triggerObject, "canary", nil, "no such Service")
		return usual()
	})
	expect("did not become ready in time: Knative has not looked at it yet", "controller", func() *doctor.Knative {
		c.status(t.Context(), triggerObject, "canary", "")
		return usual()
	})
	expect("forbidden", "the doctor's rights", func() *doctor.Knative {
		k := usual()
		nobody := rest.CopyConfig(c.config)
		nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
		client, err := kube.NewClient(nobody, false, "test")
		if err != nil {
			t.Fatal(err)
		}
		// Close has nothing to remove, and needs no right for that.
		k.Client = client
		return k
	})
}

// The manifest in docs/doctor.md grants just what the doctor needs.
func TestRights(t *testing.T) {
	c := newCluster(t)
	c.create(brokerObject, "default", nil, "")
	c.create(triggerObject, "canary", nil, "")
	page := readFile(t, "..", "..", "..", "docs", "doctor.md")
	_, after, _ := strings.Cut(page, "kind: Role\n")
	role, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatal("docs/doctor.md has no Role")
	}
	var object map[string]any
	if err := yaml.Unmarshal([]byte("kind: Role\napiVersion: rbac.authorization.k8s.io/v1\n"+role), &object); err != nil {
		t.Fatal(err)
	}
	object["metadata"] = map[string]any{"name": "doctor"}
	binding := map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "doctor"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "doctor"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "doctor"}},
	}
	for resource, o := range map[kube.Resource]any{
		"apis/rbac.authorization.k8s.io/v1/roles": object, "apis/rbac.authorization.k8s.io/v1/rolebindings": binding,
	} {
		if err := c.client.Create(t.Context(), resource, c.namespace, o); err != nil {
			t.Fatal(err)
		}
	}
	user := rest.CopyConfig(c.config)
	user.Impersonate = rest.ImpersonationConfig{UserName: "doctor"}
	client, err := kube.NewClient(user, false, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	c.create(triggerObject, "doctor-0-alert", map[string]string{doctor.Label: "true"}, "")
	k := c.knative(func() time.Time { return time.Now().Add(11 * time.Minute) })
	k.Client = client
	testkit.Eventually(t, "the rights are granted", func(ctx context.Context) error {
		if err := k.Open(ctx, nil); err != nil {
			return err
		}
		return k.Close(ctx)
	})
	if got := c.triggers(); !slices.Equal(got, []string{"canary"}) {
		t.Errorf("triggers are %v", got)
	}
	// Not waited for: nobody makes it ready here, and that the API server takes it is what matters.
	if err := client.Create(t.Context(), triggerObject, c.namespace, taps()[0].Manifest(c.namespace, "default")); err != nil {
		t.Error(err)
	}
	if err := client.Delete(t.Context(), triggerObject, c.namespace, taps()[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if b, err := json.Marshal(object["rules"]); err != nil || strings.Contains(string(b), `"*"`) {
		t.Errorf("the rules are %s: %v", b, err)
	}
	if err := client.List(t.Context(), "api/v1/secrets", c.namespace, nil); !apierrors.IsForbidden(err) {
		t.Error(fmt.Errorf("secrets can be read: %w", err))
	}
}
