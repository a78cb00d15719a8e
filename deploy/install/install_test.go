package install

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/riposte-dev/riposte/deploy/source"
)

const root = "../.."

func object(apiVersion, kind, name, owner string) unstructured.Unstructured {
	var o unstructured.Unstructured
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetName(name)
	if owner != "" {
		o.SetLabels(map[string]string{nameLabel: owner})
	}
	return o
}

func names(objects []unstructured.Unstructured) []string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = Name(o)
	}
	return out
}

func TestObjectsOfFunctions(t *testing.T) {
	all := []unstructured.Unstructured{
		object("v1", "Namespace", "riposte", ""), object("v1", "ServiceAccount", "a", "a"), object("v1", "ServiceAccount", "b", "b"),
		object("v1", "Service", "dead-letter", deadLetter),
	}
	for name, tc := range map[string]struct {
		functions []string
		of, own   []string
	}{
		"all":         {nil, names(all), names(all)},
		"one":         {[]string{"a"}, []string{"Namespace riposte", "ServiceAccount a", "Service dead-letter"}, []string{"ServiceAccount a"}},
		"two":         {[]string{"b", "a"}, names(all), []string{"ServiceAccount a", "ServiceAccount b"}},
		"dead-letter": {[]string{deadLetter}, []string{"Namespace riposte", "Service dead-letter"}, []string{"Service dead-letter"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.of, names(Of(all, tc.functions))); diff != "" {
				t.Errorf("Of (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.own, names(Own(all, tc.functions))); diff != "" {
				t.Errorf("Own (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(4, len(all)); diff != "" || all[1].GetName() != "a" {
				t.Error("the objects given were changed")
			}
		})
	}
}

// What is applied first must not need what is applied later.
func TestOrder(t *testing.T) {
	objects, err := Build(filepath.Join(root, "deploy", "knative", "overlays", "dry-run"))
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int{}
	first := map[string]int{}
	for i, o := range objects {
		last[o.GetKind()] = i
		if _, ok := first[o.GetKind()]; !ok {
			first[o.GetKind()] = i
		}
	}
	if objects[0].GetKind() != "Namespace" {
		t.Errorf("the first is %s: want the Namespace", Name(objects[0]))
	}
	for _, pair := range [][2]string{
		{"ServiceAccount", "Service"},
		{"ClusterRole", "ClusterRoleBinding"},
		{"Role", "RoleBinding"},
		{"RoleBinding", "Service"},
		{"NetworkPolicy", "Service"},
		{"ConfigMap", "Service"},
		{"PersistentVolumeClaim", "Deployment"},
		{"Service", "Trigger"},
		{"Broker", "Trigger"},
		{"Trigger", "PingSource"},
	} {
		if _, ok := first[pair[1]]; !ok || last[pair[0]] > first[pair[1]] {
			t.Errorf("%s %d comes after %s %d", pair[0], last[pair[0]], pair[1], first[pair[1]])
		}
	}
}

func TestBadOptions(t *testing.T) {
	good := Options{Root: root, Platform: "knative", With: "ko", DryRun: true}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"another platform":            {func(o *Options) { o.Platform = "nomad" }, `PLATFORM is "nomad"`},
		"no platform":                 {func(o *Options) { o.Platform = "" }, `PLATFORM is ""`},
		"another builder":             {func(o *Options) { o.With = "docker" }, `WITH is "docker"`},
		"func elsewhere":              {func(o *Options) { o.With, o.Platform = "func", "lambda" }, `WITH is func`},
		"a function there is not":     {func(o *Options) { o.Functions = []string{"delete-pods"} }, `FUNCTION is "delete-pods"`},
		"an overlay there is not":     {func(o *Options) { o.Overlay = "deploy/knative/overlays/prod" }, `OVERLAY is "deploy/knative/overlays/prod"`},
		"a name there is not":         {func(o *Options) { o.Overlay = "prod" }, `OVERLAY is "prod"`},
		"an overlay and no dry run":   {func(o *Options) { o.Overlay, o.DryRun = "deploy/knative/overlays/dry-run", false }, `DRY_RUN is false`},
		"an overlay elsewhere":        {func(o *Options) { o.Overlay, o.Platform = "deploy/knative/overlays/dry-run", "openfaas" }, `OVERLAY is`},
		"a wait that is less than no": {func(o *Options) { o.Wait = -1 }, `WAIT is`},
		"two words about dry run":     {func(o *Options) { o.Platform, o.Parameters = "lambda", []string{"DryRun=false"} }, `want DRY_RUN`},
		"two words about a function":  {func(o *Options) { o.Platform, o.Parameters = "lambda", []string{"DeletePod=false"} }, `want FUNCTION`},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			tc.change(&o)
			if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want one with %s", err, tc.want)
			}
		})
	}
	if err := good.Validate(); err != nil {
		t.Errorf("the options that were changed are not good themselves: %v", err)
	}
}

// Without anything installed, everything that is missing is named at once, and nothing is done.
func TestMissing(t *testing.T) {
	empty := t.TempDir()
	t.Setenv("PATH", empty)
	t.Setenv("HOME", empty)
	t.Setenv("KUBECONFIG", filepath.Join(empty, "config"))
	for name, tc := range map[string]struct {
		options Options
		want    []string
	}{
		"knative":           {Options{Platform: "knative", With: "ko"}, []string{"a cluster: ", "REGISTRY: "}},
		"knative with func": {Options{Platform: "knative", With: "func"}, []string{"a cluster: ", "REGISTRY: ", "the program func: "}},
		"openfaas":          {Options{Platform: "openfaas", With: "ko"}, []string{"a cluster: ", "REGISTRY: ", "the program faas-cli: ", "the program docker: "}},
		"lambda":            {Options{Platform: "lambda", With: "ko"}, []string{"the program sam: "}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tc.options.Root, tc.options.DryRun, tc.options.Out = root, true, &out
			err := Run(t.Context(), tc.options)
			if err == nil || out.Len() > 0 {
				t.Fatalf("the error is %v, and this was done:\n%s", err, out.Bytes())
			}
			tc.options.Plan = true
			if err := Run(t.Context(), tc.options); err != nil {
				t.Fatalf("a plan fails: %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), "\n  "+want) {
					t.Errorf("the error does not name %q: %v", want, err)
				}
				if !strings.Contains(out.String(), "missing: "+want) {
					t.Errorf("the plan does not name %q:\n%s", want, out.Bytes())
				}
			}
		})
	}
	left, err := os.ReadDir(empty)
	if err != nil || len(left) > 0 {
		t.Errorf("something was left behind: %v %v", left, err)
	}
}

// func reads func.yaml, so what an overlay says otherwise has to be told to it.
func TestOverlayReachesFunc(t *testing.T) {
	f, err := source.One(root, "label")
	if err != nil {
		t.Fatal(err)
	}
	for overlay, want := range map[string][]string{"dry-run": nil, "enforce": {"DRY_RUN=false"}} {
		objects, err := Build(filepath.Join(root, "deploy", "knative", "overlays", overlay))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if isService(o) && o.GetName() == f.Name {
				if diff := cmp.Diff(want, differs(o, f)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", overlay, diff)
				}
			}
		}
	}
}
