package triggers

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const apiVersion = "eventing.knative.dev/v1"

// LoadDir reads the manifests in folders: the triggers', and that of a Broker if it has one of its own. Of several
// folders, problems name files with their folder. Folders without any Trigger are an error: so looks a volume that is
// not mounted, and every event would be for nobody.
func LoadDir(dirs ...string) (*Set, error) {
	var all []source
	for _, dir := range dirs {
		fsys, err := openDir(dir)
		if err != nil {
			return nil, err
		}
		sources, err := readAll(fsys)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			if len(dirs) > 1 {
				s.name = path.Join(dir, s.name)
			}
			all = append(all, s)
		}
	}
	set, err := parse(all)
	if err == nil && len(set.Triggers()) == 0 {
		return nil, fmt.Errorf("read trigger manifests: there is no Trigger in %s: name the folder that has the manifests, and see that it is mounted",
			strings.Join(dirs, ", "))
	}
	return set, err
}

// Load reads the manifests in fsys. A [*LoadError] lists everything that is wrong
// with them.
func Load(fsys fs.FS) (*Set, error) {
	sources, err := readAll(fsys)
	if err != nil {
		return nil, err
	}
	return parse(sources)
}

func readAll(fsys fs.FS) ([]source, error) {
	files, err := list(fsys)
	if err != nil {
		return nil, err
	}
	return read(fsys, files)
}

func parse(sources []source) (*Set, error) {
	ctx, err := knativeDefaults()
	if err != nil {
		return nil, err
	}
	l := loader{
		ctx:      ctx,
		brokers:  map[types.NamespacedName]*eventingv1.Broker{},
		triggers: map[types.NamespacedName]*declared{},
	}
	for _, s := range sources {
		for _, doc := range split(s.name, s.content) {
			l.read(&doc)
		}
	}
	l.checkBrokers()
	if len(l.problems) > 0 {
		return nil, &LoadError{Problems: l.problems}
	}
	set, err := compile(l.brokers, l.triggers)
	if err != nil {
		return nil, err
	}
	l.checkLoops(set)
	if len(l.problems) > 0 {
		return nil, &LoadError{Problems: l.problems}
	}
	return set, nil
}

// declared is a Trigger and the document it was read from.
type declared struct {
	trigger *eventingv1.Trigger
	doc     *document
}

type loader struct {
	ctx      context.Context //nolint:containedctx // carries Knative's feature flags and defaults, no deadline.
	brokers  map[types.NamespacedName]*eventingv1.Broker
	triggers map[types.NamespacedName]*declared
	problems []Problem
}

// reporter adds problems of one document.
type reporter struct {
	loader *loader
	doc    *document
	object string
	count  int
}

func (r *reporter) add(field, message, cure string) { r.addAt(r.doc.line(field), field, message, cure) }

func (r *reporter) addAt(line int, field, message, cure string) {
	r.count++
	r.loader.problems = append(r.loader.problems, Problem{
		File: r.doc.file, Line: line, Document: r.doc.index,
		Object: r.object, Field: field, Message: message, Cure: cure,
	})
}

// knative adds what Knative's own validation says, unless our checks have found
// something already: they say the same with a line and a cure.
func (r *reporter) knative(ctx context.Context, object apis.Validatable) {
	if r.count > 0 {
		return
	}
	for _, fe := range object.Validate(ctx).WrappedErrors() {
		field := strings.Join(fe.Paths, ", ")
		message := strings.TrimSuffix(fe.Message, ": ")
		if fe.Details != "" {
			message += " (" + strings.Join(strings.Fields(fe.Details), " ") + ")"
		}
		r.add(field, message, "see Knative's reference of the field")
	}
}

func (l *loader) read(doc *document) {
	r := &reporter{loader: l, doc: doc}
	raw, err := yaml.YAMLToJSONStrict(doc.text)
	if err != nil {
		line, message := doc.yamlError(err)
		r.addAt(line, "", "not valid YAML: "+message, "correct the indentation and the quotes")
		return
	}
	var meta struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, &meta); err != nil {
		field, message := doc.typeError(err)
		r.add(field, "not a Kubernetes object: "+message, "start it with apiVersion, kind and metadata")
		return
	}
	r.object = strings.TrimSpace(strings.ToLower(meta.Kind) + " " + meta.Name)
	if meta.APIVersion != apiVersion || (meta.Kind != "Trigger" && meta.Kind != "Broker") {
		field := "kind"
		if meta.APIVersion != apiVersion {
			field = "apiVersion"
		}
		r.add(field, fmt.Sprintf("%q %q is neither a Broker nor a Trigger", meta.APIVersion, meta.Kind),
			fmt.Sprintf("write apiVersion %s and kind Trigger or Broker, or keep the object in another folder", apiVersion))
		return
	}
	if line, message := doc.rest(); message != "" {
		r.addAt(line, "", message, "put three dashes, and nothing else, on a line of their own between two objects")
		return
	}
	if meta.Name == "" {
		r.add("metadata.name", "the name is missing", "give it one that says what it is for")
		return
	}
	if meta.Kind == "Broker" {
		l.readBroker(r, raw)
		return
	}
	l.readTrigger(r, raw)
}

func (l *loader) readBroker(r *reporter, raw []byte) {
	broker := &eventingv1.Broker{}
	if !decode(r, raw, broker) {
		return
	}
	key := types.NamespacedName{Namespace: broker.Namespace, Name: broker.Name}
	if l.brokers[key] != nil {
		r.add("metadata.name", fmt.Sprintf("broker %s is declared twice", key), "keep one of the two")
		return
	}
	broker.SetDefaults(l.ctx)
	checkDelivery(r, "spec.delivery", broker.Spec.Delivery)
	r.knative(l.ctx, broker)
	l.brokers[key] = broker
}

func (l *loader) readTrigger(r *reporter, raw []byte) {
	trigger := &eventingv1.Trigger{}
	if !decode(r, raw, trigger) {
		return
	}
	key := types.NamespacedName{Namespace: trigger.Namespace, Name: trigger.Name}
	if l.triggers[key] != nil {
		r.add("metadata.name", fmt.Sprintf("trigger %s is declared twice, the other time in %s", key, l.triggers[key].doc.file),
			"give each its own name")
		return
	}
	if trigger.Namespace == "" {
		r.add("metadata.namespace", "it is missing: kubectl takes whichever is set at the moment, and without one the function has no address",
			"write the namespace of the Broker and the function, riposte for instance")
	}
	checkFilters(r, &trigger.Spec)
	checkDelivery(r, "spec.delivery", trigger.Spec.Delivery)
	if _, err := SubscriberURI(&trigger.Spec.Subscriber, trigger.Namespace); err != nil {
		r.add("spec.subscriber", oneLine(err),
			"name the function: ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: FUNCTION}")
	}
	trigger.SetDefaults(l.ctx)
	r.knative(l.ctx, trigger)
	l.triggers[key] = &declared{trigger: trigger, doc: r.doc}
}

// decode reads raw into the object. Fields that the type does not have are
// problems: without strict validation the API server drops them.
func decode(r *reporter, raw []byte, object any) bool {
	strict, err := json.UnmarshalStrict(raw, object)
	if err != nil {
		field, message := r.doc.typeError(err)
		r.add(field, "cannot be read: "+message, "give the field the type that Knative's reference says")
		return false
	}
	for _, err := range strict {
		field, message, cure := "", oneLine(err), ""
		if fe, ok := err.(json.FieldError); ok { //nolint:errorlint // An interface of sigs.k8s.io/json.
			field = fe.FieldPath()
			message = "there is no such field: applied without strict validation it is dropped"
			cure = "correct its name, or remove it"
			if name, allowed, ok := filterField(field); ok {
				message = fmt.Sprintf("%q is no filter dialect: applied without strict validation it is dropped and the filter lets every event through", name)
				cure = "write one of " + strings.Join(allowed, ", ")
			}
		}
		r.add(field, message, cure)
	}
	return len(strict) == 0
}

// checkBrokers finds Triggers of a Broker that the folder does not declare. A
// folder without any Broker is one whose Broker is declared elsewhere.
func (l *loader) checkBrokers() {
	if len(l.brokers) == 0 {
		return
	}
	for _, key := range sortedKeys(l.triggers) {
		d := l.triggers[key]
		broker := types.NamespacedName{Namespace: key.Namespace, Name: d.trigger.Spec.Broker}
		if l.brokers[broker] == nil && d.trigger.Spec.BrokerRef == nil {
			r := &reporter{loader: l, doc: d.doc, object: "trigger " + key.Name}
			r.add("spec.broker", fmt.Sprintf("there is no broker %s here, so the trigger would never get an event", broker),
				"declare it, or name one of "+strings.Join(names(l.brokers), ", "))
		}
	}
}

func names(brokers map[types.NamespacedName]*eventingv1.Broker) []string {
	var out []string
	for _, key := range sortedKeys(brokers) {
		out = append(out, key.String())
	}
	return out
}

func sortedKeys[V any](m map[types.NamespacedName]V) []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
