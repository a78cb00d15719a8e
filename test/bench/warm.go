package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// change is a job that a function does, and that bare client-go does as the floor.
type change struct {
	function string
	settings []string
	// bare is the floor, after the GET.
	bare func(ctx context.Context, c *rest.RESTClient, target metav1.Object) error
	// done says whether an object shows the change.
	done func(e event) bool
	node bool
}

// event is what a watch says of an object.
type event struct {
	Type   string
	Object struct {
		Metadata metav1.ObjectMeta
		Spec     struct{ Taints []corev1.Taint }
	}
	at time.Time
}

func podPath(o metav1.Object) string {
	return "/api/v1/namespaces/" + o.GetNamespace() + "/pods/" + o.GetName()
}

func changes() []change {
	patch := func(path func(metav1.Object) string, kind types.PatchType, body string) func(context.Context, *rest.RESTClient, metav1.Object) error {
		return func(ctx context.Context, c *rest.RESTClient, target metav1.Object) error {
			return c.Patch(kind).AbsPath(path(target)).Body([]byte(body)).Do(ctx).Error()
		}
	}
	nodePath := func(o metav1.Object) string { return "/api/v1/nodes/" + o.GetName() }
	label := patch(podPath, types.MergePatchType, `{"metadata":{"labels":{"riposte.dev/suspect":"true"}}}`)
	return []change{
		{
			function: "delete-pod",
			bare: func(ctx context.Context, c *rest.RESTClient, target metav1.Object) error {
				uid, now := target.GetUID(), int64(0)
				body, err := json.Marshal(metav1.DeleteOptions{
					TypeMeta:      metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
					Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: &now,
				})
				if err != nil {
					return err
				}
				return c.Delete().AbsPath(podPath(target)).Body(body).Do(ctx).Error()
			},
			done: func(e event) bool { return e.Type == "DELETED" },
		},
		{
			function: "label", settings: []string{"LABELS=riposte.dev/suspect=true"}, bare: label,
			done: func(e event) bool { return e.Object.Metadata.Labels["riposte.dev/suspect"] == "true" },
		},
		{
			function: "isolate",
			bare:     patch(podPath, types.MergePatchType, `{"metadata":{"labels":{"app":null,"riposte.dev/isolated":"true"}}}`),
			done:     func(e event) bool { return e.Type == "MODIFIED" && e.Object.Metadata.Labels["app"] == "" },
		},
		{
			function: "taint", node: true,
			bare: patch(nodePath, types.StrategicMergePatchType, `{"spec":{"taints":[{"key":"falco/alert","value":"true","effect":"NoSchedule"}]}}`),
			done: func(e event) bool { return len(e.Object.Spec.Taints) > 0 },
		},
	}
}

// everything is what costs requests beside the response itself. The limits are of a size from which each draw is a write of its
// own, as of those that are shipped, and of a window so short that they last for all samples.
func everything(collector string) []string {
	return []string{
		"CLAIMS=lease", "BUDGET_FUNCTION=39/1s", "BUDGET_WORKLOAD=39/1s", "BUDGET_CLUSTER=39/1s",
		"WHEN=target.namespace != 'kube-system' && alert.rule.startsWith('Rule ')", "AUTH_TOKEN=" + token,
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector,
	}
}

const token = "a-token-of-the-benchmarks"

// warm measures one alert to a function that runs already, until the object has changed as somebody who watches sees it. The
// floor is a GET and the change by bare client-go, under the same account.
func (c change) warm(b *B) {
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(collector.Close)
	kubeconfig := b.Env.ServiceAccountKubeconfig(b, c.function)
	bare := bareClient(b, kubeconfig)
	f := c.ground(b)
	variants := map[string]func(pod corev1.Pod, target metav1.Object, alert []byte) (changed, answered time.Time){
		"floor": func(_ corev1.Pod, target metav1.Object, _ []byte) (time.Time, time.Time) {
			path := podPath(target)
			if c.node {
				path = "/api/v1/nodes/" + target.GetName()
			}
			got, err := bare.Get().AbsPath(path).DoRaw(b.Context())
			var object corev1.Pod
			if err == nil {
				err = json.Unmarshal(got, &object)
			}
			if err == nil {
				err = c.bare(b.Context(), bare, target)
			}
			if err != nil {
				b.Fatalf("the floor of %s: %v", c.function, err)
			}
			return f.await(b, c, target), time.Now()
		},
	}
	programs := map[string]*process.Process{}
	for name, settings := range map[string][]string{"alone": {"CLAIMS=none"}, "everything": everything(collector.URL)} {
		p := process.Start(b.T, c.function, kubeconfig, append(c.settings, settings...)...)
		programs[name] = p
		variants[name] = func(_ corev1.Pod, target metav1.Object, alert []byte) (time.Time, time.Time) {
			done := make(chan time.Time, 1)
			go func() {
				a, err := p.Send(b.Context(), alert, token)
				done <- time.Now()
				if err != nil || a.Verdict() != "200 applied" {
					b.Errorf("%s answers %s (%v): %s", c.function, a.Verdict(), err, a.Body)
				}
			}()
			changed := f.await(b, c, target)
			return changed, <-done
		}
	}
	changed, answered, before := map[string]times{}, map[string]times{}, map[string]time.Duration{}
	const warm = 20
	for i := range b.Samples + warm {
		for name, p := range programs {
			if i == warm {
				before[name] = p.CPU()
			}
		}
		for _, name := range []string{"floor", "alone", "everything"} {
			pod, target := f.next(b)
			alert := testkit.AlertFor(b, pod, testkit.Set("rule", fmt.Sprintf("Rule %d of %s", i, name)),
				testkit.Set("hostname", f.node.Name)) // as Falco's chart can set it
			began := time.Now()
			at, end := variants[name](pod, target, alert)
			if i >= warm {
				changed[name], answered[name] = append(changed[name], at.Sub(began)), append(answered[name], end.Sub(began))
			}
			f.reset(b, pod)
		}
	}
	c.report(b, changed, answered)
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		used := (programs[name].CPU() - before[name]) / time.Duration(b.Samples)
		b.Add(Figure{
			ID: "warm/" + c.function + "/" + name + "/cpu", What: c.function + ", one alert, CPU time of the function, " + says(name),
			Unit: "ms", Value: used.Seconds() * 1000,
		})
	}
}

// says is what a variant is to people.
func says(variant string) string {
	return map[string]string{"alone": "CLAIMS=none", "everything": "claims, budgets, WHEN, token, Events, OTLP"}[variant]
}

// report adds the figures. The goals are those of the change; the answer comes after it, and after the records of it.
func (c change) report(b *B, changed, answered map[string]times) {
	b.Helper()
	goals := map[string]map[float64]*Goal{"alone": {0.5: AtMost(1.2), 0.99: AtMost(1.5)}, "everything": {0.5: AtMost(1.6)}}
	for _, name := range []string{"alone", "everything"} {
		for i, part := range []float64{0.5, 0.95, 0.99} {
			ratio, detail := changed[name].against(changed["floor"], part)
			b.Add(Figure{
				ID: fmt.Sprintf("warm/%s/%s/p%.0f", c.function, name, part*100), Unit: "x", Value: ratio, Detail: detail, Goal: goals[name][part], Noise: []float64{0.15, 0.4, 0.8}[i],
				What: fmt.Sprintf("%s, one alert until the change is seen, %s, p%.0f", c.function, says(name), part*100),
			})
		}
		ratio, detail := answered[name].against(answered["floor"], 0.5)
		b.Add(Figure{
			ID: fmt.Sprintf("warm/%s/%s/answer", c.function, name), Unit: "x", Value: ratio, Detail: detail, Noise: 0.2,
			What: fmt.Sprintf("%s, one alert until it is answered, %s, p50", c.function, says(name)),
		})
	}
}

// ground is what the samples are taken on: a Deployment on a node.
type ground struct {
	deployment testkit.Object
	node       *corev1.Node
	onNode     bool
	events     <-chan event
	fresh      []corev1.Pod
}

func (c change) ground(b *B) *ground {
	b.Helper()
	node := b.Env.Node(b)
	namespace := b.Env.Namespace(b)
	d := testkit.Deployment(namespace, "web", 6, testkit.OnNode(node))
	f := &ground{deployment: d, node: node, onNode: c.node, fresh: b.Env.Deploy(b, d)}
	path := "/api/v1/namespaces/" + namespace + "/pods"
	if c.node {
		path = "/api/v1/nodes"
	}
	f.events = watch(b, path)
	return f
}

// next is a pod that no sample has been taken on, and the object that is going to change.
func (f *ground) next(b *B) (corev1.Pod, metav1.Object) {
	b.Helper()
	if len(f.fresh) == 0 {
		b.Env.Ready(b, f.deployment)
		f.fresh = b.Env.Pods(b, f.deployment)
	}
	pod := f.fresh[0]
	if f.onNode {
		return pod, f.node
	}
	f.fresh = f.fresh[1:]
	return pod, &pod
}

// reset makes everything as it was, and waits until the controllers are done.
func (f *ground) reset(b *B, pod corev1.Pod) {
	b.Helper()
	if f.onNode {
		b.Env.Patch(b, f.node, map[string]any{"spec": map[string]any{"taints": nil}})
		f.until(b, f.node.Name, func(e event) bool { return len(e.Object.Spec.Taints) == 0 })
		return
	}
	b.Env.Remove(b, &pod)
	b.Env.Remove(b, testkit.NetworkPolicy(pod.Namespace, restore.PolicyName(string(pod.UID)), nil)) // What isolate made, if it was isolate.
	b.Env.Ready(b, f.deployment)
}

// await waits until the watch shows the change, and says when it did.
func (f *ground) await(b *B, c change, target metav1.Object) time.Time {
	b.Helper()
	return f.until(b, target.GetName(), c.done)
}

func (f *ground) until(b *B, name string, done func(event) bool) time.Time {
	b.Helper()
	var last event
	limit := time.After(30 * time.Second)
	for {
		select {
		case e := <-f.events:
			last = e
			if e.Object.Metadata.Name == name && done(e) {
				return e.at
			}
		case <-limit:
			b.Fatalf("%s does not change as it should: %+v", name, last)
		}
	}
}

// bareClient is client-go's REST client with nothing around it.
func bareClient(b *B, kubeconfig string) *rest.RESTClient {
	b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// watch tells of what happens to the objects of a path from now on.
func watch(b *B, path string) <-chan event {
	b.Helper()
	client := bareClient(b, b.Env.Kubeconfig)
	stream, err := client.Get().AbsPath(path).Param("watch", "true").Stream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stream.Close() })
	events := make(chan event, 1000)
	go func() {
		lines := bufio.NewReader(stream)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			e := event{at: time.Now()}
			if err := json.Unmarshal(line, &e); err != nil {
				b.Errorf("read the watch of %s: %v", path, err)
				return
			}
			events <- e
		}
	}()
	return events
}
