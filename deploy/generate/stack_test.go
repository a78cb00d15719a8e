package generate

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/riposte-dev/riposte/deploy/source"
)

// sample is a function with one of everything that func.yaml may say of it.
func sample(t *testing.T, edits ...func(*source.Function)) source.Function {
	t.Helper()
	f := source.Function{Name: "act", Folder: "functions/act", RBAC: []byte(`apiVersion: v1
kind: ServiceAccount
metadata: {name: riposte-act, namespace: riposte}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: riposte-act}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: riposte-act}
roleRef: {kind: ClusterRole, name: riposte-act}
subjects: [{kind: ServiceAccount, name: riposte-act, namespace: riposte}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: riposte-act, namespace: riposte}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: riposte-act, namespace: riposte}, {kind: ServiceAccount, name: other, namespace: elsewhere}]
`)}
	f.Run.Envs = []source.Env{
		{Value: "{{ configMap:riposte-settings }}"},
		{Name: "DRY_RUN", Value: "true"},
		{Name: "MIN_PRIORITY", Value: "Error"},
		{Name: "TOKEN", Value: "{{ secret:riposte-act:token }}"},
	}
	f.Deploy.ServiceAccountName = "riposte-act"
	f.Deploy.Labels = []source.Label{{Key: "part", Value: "yes"}, {Key: "networking.knative.dev/visibility", Value: "cluster-local"}}
	f.Deploy.Options.Scale.Max, f.Deploy.Options.Scale.Metric, f.Deploy.Options.Scale.Target = 9, "concurrency", 10
	f.Deploy.Options.Resources.Limits.Concurrency = 20
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

func settings() []source.Env {
	return []source.Env{{Name: "LOG_LEVEL", Value: "INFO"}, {Name: "MIN_PRIORITY", Value: "Debug"}}
}

func overridden(text string) func(*source.Function) {
	return func(f *source.Function) { f.OpenFaaS = []byte(text) }
}

// entries are the functions of a generated stack file.
func entries(t *testing.T, content []byte) map[string]stackEntry {
	t.Helper()
	var s struct {
		Functions map[string]stackEntry `yaml:"functions"`
	}
	if err := yaml.Unmarshal(content, &s); err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return s.Functions
}

func TestStackEntry(t *testing.T) {
	files, err := stack(Input{Functions: []source.Function{sample(t)}, Settings: settings()})
	if err != nil {
		t.Fatal(err)
	}
	community := stackEntry{
		Lang: "golang-http", Handler: "${HANDLERS:-./.stage/openfaas}/act", Image: "${REGISTRY:-ghcr.io/riposte-dev}/riposte-act:${TAG:-latest}",
		EnvironmentFile: []string{"config/openfaas/settings.yaml", "config/openfaas/act.yaml"},
		Environment: map[string]string{
			"DRY_RUN": "${DRY_RUN:-true}", "TOKEN_FILE": "/var/openfaas/secrets/riposte-act-token", "KUBECONFIG": "/var/openfaas/secrets/kubeconfig",
			"AUTH_TOKEN_FILE": "/var/openfaas/secrets/riposte-function-token",
			"read_timeout":    "30s", "write_timeout": "30s", "exec_timeout": "30s", "healthcheck_interval": "5s", "max_inflight": "20",
		},
		Secrets:     []string{"riposte-act-token", "riposte-function-token", "riposte-act-account"},
		Labels:      map[string]string{"part": "yes", "com.openfaas.scale.min": "1", "com.openfaas.scale.max": "5"},
		Annotations: map[string]string{"com.openfaas.serviceaccount": "riposte-act"},
		Limits:      map[string]string{"cpu": "", "memory": ""}, Requests: map[string]string{"cpu": "", "memory": ""},
		ReadOnlyRootFilesystem: true,
	}
	if diff := cmp.Diff(map[string]stackEntry{"act": community}, entries(t, files["stack.yml"])); diff != "" {
		t.Errorf("stack.yml (-want +got):\n%s", diff)
	}
	pro := entries(t, files["deploy/openfaas/pro/stack.yml"])["act"]
	want := map[string]string{
		"part": "yes", "com.openfaas.scale.min": "1", "com.openfaas.scale.max": "9", "com.openfaas.scale.zero": "true",
		"com.openfaas.scale.zero-duration": "15m", "com.openfaas.scale.type": "capacity", "com.openfaas.scale.target": "10",
	}
	if diff := cmp.Diff(want, pro.Labels); diff != "" {
		t.Errorf("Pro's labels (-want +got):\n%s", diff)
	}
	if pro.Environment["KUBECONFIG"] != "" || len(pro.Secrets) != 2 {
		t.Errorf("Pro has an account for the pod and %v, %v beside it", pro.Environment, pro.Secrets)
	}
	if diff := cmp.Diff(map[string]string{"LOG_LEVEL": "INFO", "MIN_PRIORITY": "Error", "POD_NAMESPACE": "openfaas-fn"}, read(t, files, community.EnvironmentFile)); diff != "" {
		t.Errorf("environment files, as faas-cli adds them up (-want +got):\n%s", diff)
	}
}

// read adds environment files up as faas-cli does: the last one wins.
func read(t *testing.T, files Files, names []string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		var f struct {
			Environment map[string]string `yaml:"environment"`
		}
		if err := yaml.Unmarshal(files[name], &f); err != nil || len(f.Environment) == 0 {
			t.Fatalf("%s: %v\n%s", name, err, files[name])
		}
		maps.Copy(all, f.Environment)
	}
	return all
}

func TestStackOverrides(t *testing.T) {
	files, err := stack(Input{Settings: settings(), Functions: []source.Function{
		sample(t, overridden(`# Above it.

environment:
  DRY_RUN: null
  # Beside it.
  MORE: ${MORE:-some}
  LOG_LEVEL: WARN
secrets: [more, riposte-act-token]
annotations: {topic: cron-function}
labels:
  # Above what is there.
  com.openfaas.scale.max: "2"
limits: {cpu: 100m}
`)),
		sample(t, func(f *source.Function) { f.Name = "gone" }, overridden("skip: it is of no use.\n")),
	}})
	if err != nil {
		t.Fatal(err)
	}
	text := string(files["stack.yml"])
	for _, want := range []string{"  # Above it.\n  act:\n", "      # Beside it.\n      MORE: ${MORE:-some}\n", "      # Above what is there.\n      com.openfaas.scale.max: \"2\"\n", "  # Without gone: it is of no use.\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("stack.yml has no\n%s\n%s", want, text)
		}
	}
	all := entries(t, files["stack.yml"])
	act := all["act"]
	if _, has := act.Environment["DRY_RUN"]; has || len(all) != 1 || act.Labels["com.openfaas.scale.max"] != "2" || act.Limits["cpu"] != "100m" ||
		act.Annotations["topic"] != "cron-function" || act.Annotations["com.openfaas.serviceaccount"] == "" {
		t.Errorf("the entries are %+v", all)
	}
	if diff := cmp.Diff([]string{"riposte-act-token", "riposte-function-token", "more", "riposte-act-account"}, act.Secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	free, err := stack(Input{Settings: settings(), Functions: []source.Function{sample(t, overridden("environment: {AUTH_TOKEN_FILE: null}\n"))}})
	if err != nil {
		t.Fatal(err)
	}
	if e := entries(t, free["stack.yml"])["act"]; e.Environment["AUTH_TOKEN_FILE"] != "" || slices.Contains(e.Secrets, "riposte-function-token") {
		t.Errorf("a function that asks for no token has %v and %v", e.Environment, e.Secrets)
	}
	if got := read(t, files, act.EnvironmentFile)["LOG_LEVEL"]; got != "WARN" {
		t.Errorf("LOG_LEVEL is %q: the override of a shared setting is lost", got)
	}
	if accounts := string(files["deploy/openfaas/accounts/rbac.yaml"]); strings.Count(accounts, "kind: ServiceAccount\nmetadata") != 1 {
		t.Errorf("accounts of what is left out, or none:\n%s", accounts)
	}
}

func TestStackRefuses(t *testing.T) {
	env := func(name, value string) func(*source.Function) {
		return func(f *source.Function) { f.Run.Envs = append(f.Run.Envs, source.Env{Name: name, Value: value}) }
	}
	for name, edits := range map[string][]func(*source.Function){
		"a ConfigMap's key":                            {env("X", "{{ configMap:other:key }}")},
		"a whole ConfigMap":                            {env("", "{{ configMap:other }}")},
		"a whole Secret":                               {env("", "{{ secret:other }}")},
		"a secret that AWS reads":                      {env("AWS_SECRET_ACCESS_KEY", "{{ secret:aws:key }}")},
		"what faas-cli would substitute":               {env("X", "${HOME}")},
		"a time-out that is none":                      {env("RESPONSE_TIMEOUT", "long")},
		"a volume":                                     {func(f *source.Function) { f.Run.Volumes = []source.Volume{{Path: "/x"}} }},
		"a metric that OpenFaaS has not":               {func(f *source.Function) { f.Deploy.Options.Scale.Metric = "cpu" }},
		"an account that is not there":                 {func(f *source.Function) { f.Deploy.ServiceAccountName = "riposte-other" }},
		"openfaas.yaml with a field that there is not": {overridden("environments: {A: b}\n")},
		"openfaas.yaml with a list":                    {overridden("- a\n")},
		"openfaas.yaml that is no YAML":                {overridden("{\n")},
		"a list where a map is":                        {overridden("environment: [A]\n")},
		"skip without a reason":                        {overridden("skip:\n")},
		"skip beside other fields":                     {overridden("skip: no\nlang: node\n")},
		"two topics":                                   {overridden("annotations: {topic: 'a,b'}\n")},
		"a secret's file without the secret": {
			overridden("environment: {KEY_FILE: /var/openfaas/secrets/key}\n"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if files, err := stack(Input{Settings: settings(), Functions: []source.Function{sample(t, edits...)}}); err == nil {
				t.Errorf("it is taken:\n%s", files["stack.yml"])
			}
		})
	}
	if _, err := stack(Input{Settings: settings(), Functions: []source.Function{sample(t, env("X", "{{ configMap:other:key }}"), overridden("environment: {X: y}\n"))}}); err != nil {
		t.Errorf("what openfaas.yaml has a value for is refused: %v", err)
	}
}

func TestStackAccounts(t *testing.T) {
	files, err := stack(Input{Functions: []source.Function{sample(t), sample(t, func(f *source.Function) {
		f.Name, f.Deploy.ServiceAccountName = "quiet", "riposte-quiet"
		f.RBAC = []byte("kind: ServiceAccount\nmetadata: {name: riposte-quiet, namespace: riposte}\nautomountServiceAccountToken: false\n")
	})}})
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Kind     string
		Metadata struct {
			Name, Namespace string
			Labels          map[string]string
		}
		RoleRef  struct{ Name string } `yaml:"roleRef"`
		Subjects []struct{ Name, Namespace string }
	}
	var got []object
	for d := yaml.NewDecoder(strings.NewReader(string(files["deploy/openfaas/accounts/rbac.yaml"]))); ; {
		var o object
		if d.Decode(&o) != nil {
			break
		}
		got = append(got, o)
	}
	subject := []struct{ Name, Namespace string }{{"riposte-act", "openfaas-fn"}}
	want := make([]object, 5)
	want[0].Kind, want[0].Metadata.Name, want[0].Metadata.Namespace = "ServiceAccount", "riposte-act", "openfaas-fn"
	want[1].Kind, want[1].Metadata.Name = "ClusterRole", "riposte-act-openfaas"
	want[2].Kind, want[2].Metadata.Name, want[2].RoleRef.Name, want[2].Subjects = "ClusterRoleBinding", "riposte-act-openfaas", "riposte-act-openfaas", subject
	want[3].Kind, want[3].Metadata.Name, want[3].Metadata.Namespace, want[3].RoleRef.Name = "RoleBinding", "riposte-act", "openfaas-fn", "view"
	want[3].Subjects = append(subject[:1:1], struct{ Name, Namespace string }{"other", "elsewhere"})
	want[4].Kind, want[4].Metadata.Name, want[4].Metadata.Namespace = "ServiceAccount", "riposte-quiet", "openfaas-fn"
	for i := range want {
		want[i].Metadata.Labels = map[string]string{"app.kubernetes.io/name": "act", "app.kubernetes.io/part-of": "riposte"}
	}
	want[4].Metadata.Labels["app.kubernetes.io/name"] = "quiet"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	if tokens := string(files["deploy/openfaas/tokens.yaml"]); strings.Count(tokens, "kind: Secret\n") != 1 || !strings.Contains(tokens, "service-account.name: riposte-act\n") {
		t.Errorf("want one token, for the account that may have one:\n%s", tokens)
	}
	if quiet := entries(t, files["stack.yml"])["quiet"]; quiet.Environment["KUBECONFIG"] != "" {
		t.Errorf("a function without a token is told of one: %v", quiet.Environment)
	}
}

// What faas-netes of the Community Edition refuses, it refuses for every function of the stack.
// https://github.com/openfaas/faas-netes/blob/master/pkg/handlers/validate.go and deploy.go
func TestCommunityEditionTakesTheStack(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "stack.yml"))
	if err != nil {
		t.Fatal(err)
	}
	substituted := regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(string(content), "$1")
	if strings.Contains(substituted, "${") {
		t.Errorf("stack.yml has a ${ that is no ${VAR:-default}")
	}
	all := entries(t, []byte(substituted))
	if len(all) == 0 || len(all) > 15 {
		t.Errorf("%d functions: the Community Edition takes 15", len(all))
	}
	label := regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
	for name, e := range all {
		for _, refused := range []string{"zero-duration", "target", "type"} {
			if _, has := e.Labels["com.openfaas.scale."+refused]; has {
				t.Errorf("%s has the label com.openfaas.scale.%s", name, refused)
			}
		}
		if e.Labels["com.openfaas.scale.zero"] == "true" || e.Labels["com.openfaas.scale.max"] > "5" || len(e.Labels["com.openfaas.scale.max"]) != 1 {
			t.Errorf("%s has the labels %v", name, e.Labels)
		}
		for key, v := range e.Labels {
			if !label.MatchString(v) {
				t.Errorf("%s: label %s is %q, which Kubernetes refuses", name, key, v)
			}
		}
		for key, v := range e.Annotations {
			if strings.Contains(key, "amazonaws.com") || strings.Contains(key, "gke.io") || (key == "topic" && strings.Contains(v, ",")) {
				t.Errorf("%s has the annotation %s: %s", name, key, v)
			}
		}
		for _, file := range e.EnvironmentFile {
			if _, err := os.Stat(filepath.Join("..", "..", file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
