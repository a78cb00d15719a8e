package generate

import (
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// variant is what kustomize makes of deploy/knative for one choice.
type variant struct {
	// broker is the class, a value of broker.class.
	broker string
	// overlay is the folder below deploy/knative/overlays.
	overlay string
	// oidc and url say that it is the class in-memory with this besides: oidc.enabled, or deadLetter.url.
	oidc, url bool
	objects   []object
}

// variants: a set has the first for its bit 0.
func variants() []variant {
	return []variant{
		{broker: "in-memory", overlay: "dry-run"},
		{broker: "kafka", overlay: "broker-kafka"},
		{broker: "nats", overlay: "broker-nats"},
		{broker: "rabbitmq", overlay: "broker-rabbitmq"},
		// Somebody else's Broker: the triggers alone.
		{broker: "none", overlay: "none"},
		{broker: "in-memory", overlay: "oidc", oidc: true},
		{broker: "in-memory", overlay: "bucket", url: true},
	}
}

// extra is the condition for what the variant has besides its Broker, or "".
func (v variant) extra() string {
	switch {
	case v.oidc:
		return ".Values.oidc.enabled"
	case v.url:
		return ".Values.deadLetter.url"
	}
	return ""
}

const noBroker = `resources: [../../base]
components: [../../components/triggers]
`

// toBucket lets the Deployment dead-letter, which writes to its volume else, speak to a bucket.
const toBucket = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: riposte-dead-letter-to-bucket
  namespace: riposte
  labels:
    app.kubernetes.io/name: dead-letter
    app.kubernetes.io/part-of: riposte
spec:
  podSelector:
    matchLabels: {app.kubernetes.io/name: dead-letter}
  policyTypes: [Egress]
  egress:
    - ports:
        - {protocol: TCP, port: 443}
`

// buildVariants runs kustomize over the folders as they will be when everything is generated.
func buildVariants(in Input) ([]variant, error) {
	files, root := filesys.MakeFsInMemory(), os.DirFS(in.Root)
	for _, folder := range []string{"config", "triggers", "deploy/knative", "deploy/release", "functions"} {
		err := fs.WalkDir(root, folder, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(file, ".go") {
				return err
			}
			content, err := fs.ReadFile(root, file)
			if err != nil {
				return err
			}
			return files.WriteFile("/"+file, content)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, of := range []func(Input) (Files, error){services, kustomizations} {
		fresh, err := of(in)
		if err != nil {
			return nil, err
		}
		for name, content := range fresh {
			if err := files.WriteFile("/"+name, content); err != nil {
				return nil, err
			}
		}
	}
	for name, content := range map[string]string{
		"none/kustomization.yaml": noBroker, "bucket/kustomization.yaml": "resources: [../dry-run, policy.yaml]\n", "bucket/policy.yaml": toBucket,
	} {
		if err := files.WriteFile("/deploy/knative/overlays/"+name, []byte(content)); err != nil {
			return nil, err
		}
	}
	all := variants()
	for i, v := range all {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/deploy/knative/overlays/"+v.overlay)
		if err != nil {
			return nil, fmt.Errorf("build deploy/knative/overlays/%s: %w", v.overlay, err)
		}
		for _, r := range built.Resources() {
			o, err := r.Map()
			if err != nil {
				return nil, err
			}
			all[i].objects = append(all[i].objects, o)
		}
	}
	return all, nil
}

// set is a set of variants.
type set uint

func (s set) with(i int) set { return s | 1<<i }

func (s set) has(i int) bool { return s&(1<<i) != 0 }

// ambiguous says that no choice is the condition: what comes with OIDC or a bucket comes with another Broker too.
func (c *charting) ambiguous(s set) bool {
	for i, v := range c.variants {
		if v.extra() != "" && s.has(i) && !s.has(0) && bits.OnesCount(uint(s)) > 1 {
			return true
		}
	}
	return false
}

// choice is the condition under which it is one of these variants; "" if it is whatever is chosen.
func (c *charting) choice(s set) string {
	var with, without []string
	var conditions []string
	for i, v := range c.variants {
		switch extra := v.extra(); {
		case extra == "" && s.has(i):
			with = append(with, v.broker)
		case extra == "":
			without = append(without, v.broker)
		// What these change, they change whatever the Broker is: templates/check.yaml refuses what goes together with none.
		case s.has(i) && !s.has(0):
			return extra
		case !s.has(i) && s.has(0):
			conditions = append(conditions, "not "+extra)
		}
	}
	slices.Sort(with)
	switch {
	case len(without) == 0:
	case len(with) == 1:
		conditions = append(conditions, fmt.Sprintf("eq .Values.broker.class %q", with[0]))
	case len(without) == 1:
		conditions = append(conditions, fmt.Sprintf("ne .Values.broker.class %q", without[0]))
	default:
		conditions = append(conditions, fmt.Sprintf(`has .Values.broker.class (list "%s")`, strings.Join(with, `" "`)))
	}
	if len(conditions) == 0 {
		return ""
	}
	return allOf(conditions)
}
