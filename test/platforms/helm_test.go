package platforms

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// choices are the overlays of deploy/knative, and what the chart is told for the same.
func choices() map[string][]string {
	return map[string][]string{
		"dry-run":         nil,
		"enforce":         {"dryRun=false"},
		"broker-kafka":    {"broker.class=kafka"},
		"broker-nats":     {"broker.class=nats"},
		"broker-rabbitmq": {"broker.class=rabbitmq"},
		"oidc":            {"oidc.enabled=true"},
	}
}

// The chart and kustomize make the same of deploy/knative, but for the namespace, which Helm makes itself.
func TestHelmEqualsKustomize(t *testing.T) {
	all := choices()
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			values, ok := all[overlay]
			if !ok {
				t.Fatalf("nothing is said of the overlay %s: want values of the chart that make the same", overlay)
			}
			want := substances(t, objects)
			if _, ok := want["v1 Namespace riposte"]; !ok {
				t.Error("the overlay has no Namespace")
			}
			delete(want, "v1 Namespace riposte")
			if diff := cmp.Diff(want, substances(t, helm(t, values...))); diff != "" {
				t.Errorf("objects (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// The API server, and Knative's own code, take all that the chart makes.
func TestAPIServerTakesChart(t *testing.T) {
	s, types := withKnative(t), knativeTypes()
	s.settle(t, kustomized(t, "deploy/knative/base"))
	all := choices()
	all["everything that may be set"] = []string{
		"image.pullSecrets[0].name=mine", "functions.slack.scale.max=9", "functions.slack.serviceAccount.annotations.a=b",
		"deadLetter.storage.class=fast", "functions.label.env.WHEN=true == true", "broker.kafka.authSecret=kafka",
	}
	all["a bucket for dead letters"] = []string{"deadLetter.url=s3://dead?region=eu-west-1", "broker.class=none"}
	for name, values := range all {
		t.Run(name, func(t *testing.T) {
			for _, o := range helm(t, values...) {
				kind := o.GetAPIVersion() + " " + o.GetKind()
				if withoutDefinition()[kind] != "" {
					continue
				}
				if err := s.apply(t.Context(), pulled(o), metav1.DryRunAll); err != nil {
					t.Errorf("%s: %v", called(o), err)
				}
				if types[kind] != nil {
					if err := refusal(knativeContext(t, name), t, o, types[kind]()); err != nil {
						t.Errorf("%s: %v", called(o), err)
					}
				}
			}
		})
	}
}

func TestHelmLint(t *testing.T) {
	for name, values := range choices() {
		if out, err := helmCommand(t, append([]string{"lint", "--strict", "--namespace", "riposte", "CHART"}, helmFlags(values)...)...).CombinedOutput(); err != nil {
			t.Errorf("helm lint as %s: %v\n%s", name, err, out)
		}
	}
}

// In another namespace everything is as in riposte, and nothing is left of that name.
func TestHelmInAnotherNamespace(t *testing.T) {
	for name, values := range choices() {
		t.Run(name, func(t *testing.T) {
			template := func(namespace string) string {
				out, err := helmCommand(t, append([]string{"template", "riposte", "CHART", "--namespace", namespace}, helmFlags(values)...)...).Output()
				if err != nil {
					t.Fatal(err)
				}
				return string(out)
			}
			there := template("elsewhere")
			for _, left := range []string{"namespace: riposte\n", "/riposte/default", ".riposte.svc", ":riposte:"} {
				if strings.Contains(there, left) {
					t.Errorf("%q is left", left)
				}
			}
			if diff := cmp.Diff(template("riposte"), strings.ReplaceAll(there, "elsewhere", "riposte")); diff != "" {
				t.Errorf("objects (-in riposte +elsewhere):\n%s", diff)
			}
		})
	}
}

func TestHelmRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		values []string
		// named are the value and what is allowed.
		named []string
	}{
		"a class there is not":         {[]string{"broker.class=redis"}, []string{"/broker/class", "in-memory", "kafka", "nats", "rabbitmq", "none"}},
		"a dry run that is a word":     {[]string{"dryRun=maybe"}, []string{"/dryRun", "boolean"}},
		"a misspelt value":             {[]string{"dryrun=false"}, []string{"dryrun"}},
		"a function there is not":      {[]string{"functions.delete-node.enabled=true"}, []string{"/functions", "delete-node"}},
		"a misspelt setting of one":    {[]string{"functions.slack.resource.limits.cpu=1"}, []string{"/functions/slack", "resource"}},
		"a registry with a scheme":     {[]string{"image.registry=https://ghcr.io/you"}, []string{"/image/registry", "https://ghcr.io/you"}},
		"a digest that is none":        {[]string{"image.digests.slack=latest"}, []string{"/image/digests/slack", "latest"}},
		"a digest of nothing":          {[]string{"image.digests.router2=sha256:" + strings.Repeat("0", 64)}, []string{"router2"}},
		"DRY_RUN among the variables":  {[]string{"functions.slack.env.DRY_RUN=off"}, []string{"/functions/slack/env/DRY_RUN"}},
		"a variable that is a number":  {[]string{"functions.slack.env.RATE=5"}, []string{"/functions/slack/env/RATE", "string"}},
		"a scale below zero":           {[]string{"functions.slack.scale.min=-1"}, []string{"/functions/slack/scale/min"}},
		"no dead-letter":               {[]string{"functions.dead-letter.enabled=false"}, []string{"/functions/dead-letter", "enabled"}},
		"dead letters in a folder":     {[]string{"deadLetter.url=file:///tmp"}, []string{"/deadLetter/url", "file:///tmp"}},
		"dead letters where none go":   {[]string{"deadLetter.url=gs://dead"}, []string{"/deadLetter/url", "gs://dead"}},
		"a schedule that is none":      {[]string{"release.schedule=hourly"}, []string{"/release/schedule", "hourly"}},
		"Kafka without a port":         {[]string{"broker.kafka.bootstrapServers=kafka"}, []string{"/broker/kafka/bootstrapServers", "kafka"}},
		"OIDC on RabbitMQ":             {[]string{"broker.class=rabbitmq", "oidc.enabled=true"}, []string{"oidc.enabled", "rabbitmq"}},
		"RabbitMQ without the router":  {[]string{"broker.class=rabbitmq", "functions.router.enabled=false"}, []string{"functions.router.enabled", "rabbitmq"}},
		"the address of RabbitMQ's":    {[]string{"broker.class=rabbitmq", "broker.url=http://x"}, []string{"broker.url", "http://x", "rabbitmq"}},
		"a setting in lower-case":      {[]string{"settings.log_level=INFO"}, []string{"/settings", "log_level"}},
		"a volume of no size":          {[]string{"deadLetter.storage.size=much"}, []string{"/deadLetter/storage/size", "much"}},
		"a reference to nothing":       {[]string{"functions.slack.env.A.key=b"}, []string{"/functions/slack/env/A", "key"}},
		"a metric Knative has not":     {[]string{"functions.slack.scale.metric=cpu"}, []string{"/functions/slack/scale/metric", "concurrency", "rps"}},
		"a network policy of a string": {[]string{"networkPolicies=true"}, []string{"networkPolicies"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := helmCommand(t, append([]string{"template", "riposte", "CHART", "--namespace", "riposte"}, helmFlags(c.values)...)...).CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) {
				t.Fatalf("it ended with %v, want that it is refused", err)
			}
			for _, n := range c.named {
				if !strings.Contains(string(out), n) {
					t.Errorf("the error does not name %q:\n%s", n, out)
				}
			}
		})
	}
}

// What is said after the installation: what has to be there, and whether functions act.
func TestHelmNotes(t *testing.T) {
	for name, c := range map[string]struct{ values, says, not []string }{
		"as it is":               {nil, []string{"It is in dry run", "riposte-slack, key webhook-url, for slack", "enforce=restricted", "for trials", "broker-ingress.knative-eventing"}, []string{"ACTS", "EventPolicies"}},
		"one function acts":      {[]string{"functions.label.dryRun=false"}, []string{"It is in dry run", "but for label"}, []string{"ACTS"}},
		"all but one act":        {[]string{"dryRun=false", "functions.taint.dryRun=true"}, []string{"It ACTS on alerts, but for taint"}, []string{"It is in dry run"}},
		"without slack":          {[]string{"functions.slack.enabled=false"}, []string{"riposte-router"}, []string{"riposte-slack"}},
		"RabbitMQ":               {[]string{"broker.class=rabbitmq"}, []string{"enforce=baseline", "broker intake"}, []string{"for trials", "broker-ingress"}},
		"Kafka, in another name": {[]string{"broker.class=kafka", "oidc.enabled=true"}, []string{"kafka-broker-ingress", "EventPolicies"}, []string{"for trials"}},
	} {
		t.Run(name, func(t *testing.T) {
			notes := helmNotes(t, c.values...)
			for _, s := range c.says {
				if !strings.Contains(notes, s) {
					t.Errorf("the notes do not say %q:\n%s", s, notes)
				}
			}
			if i := slices.IndexFunc(c.not, func(s string) bool { return strings.Contains(notes, s) }); i >= 0 {
				t.Errorf("the notes say %q:\n%s", c.not[i], notes)
			}
		})
	}
}
