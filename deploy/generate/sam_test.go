package generate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/source"
)

// samTemplate is what CloudFormation reads.
type samTemplate struct {
	Globals    map[string]any
	Parameters map[string]map[string]any
	Rules      map[string]any
	Conditions map[string]any
	Resources  map[string]struct {
		Type       string
		Condition  string
		Properties map[string]any
	}
	Outputs map[string]struct {
		Condition string
		Value     any
	}
}

// root is the repository's.
const root = "../.."

// shipped is the template of the repository.
func shipped(t *testing.T) samTemplate {
	t.Helper()
	functions, err := source.Functions(root)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := source.SharedSettings(root)
	if err != nil {
		t.Fatal(err)
	}
	return made(t, Input{Root: root, Functions: functions, Settings: shared})
}

func made(t *testing.T, in Input) samTemplate {
	t.Helper()
	files, err := sam(in)
	if err != nil {
		t.Fatal(err)
	}
	var s samTemplate
	if err := yaml.Unmarshal(files["deploy/lambda/template.yaml"], &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// each calls f with every object in v.
func each(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, inner := range v {
			each(inner, f)
		}
	case []any:
		for _, inner := range v {
			each(inner, f)
		}
	}
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z0-9:.]+)\}`)

// references are the parameters and resources that v names, and the resources that it wants an attribute of.
func references(v any) (names []string) {
	each(v, func(m map[string]any) {
		if name, ok := m["Ref"].(string); ok {
			names = append(names, name)
		}
		if of, ok := m["Fn::GetAtt"].([]any); ok && len(of) == 2 {
			names = append(names, fmt.Sprint(of[0]))
		}
		if text, ok := m["Fn::Sub"].(string); ok {
			for _, found := range placeholder.FindAllStringSubmatch(text, -1) {
				names = append(names, found[1])
			}
		}
	})
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "AWS::") })
}

// conditions are those that v names.
func conditions(v any) (names []string) {
	each(v, func(m map[string]any) {
		if name, ok := m["Condition"].(string); ok {
			names = append(names, name)
		}
		if parts, ok := m["Fn::If"].([]any); ok {
			names = append(names, fmt.Sprint(parts[0]))
		}
	})
	return names
}

func TestTemplateResolves(t *testing.T) {
	s := shipped(t)
	sections := map[string][]string{
		"Parameters": slices.Collect(maps.Keys(s.Parameters)), "Resources": slices.Collect(maps.Keys(s.Resources)),
		"Conditions": slices.Collect(maps.Keys(s.Conditions)), "Outputs": slices.Collect(maps.Keys(s.Outputs)), "Rules": slices.Collect(maps.Keys(s.Rules)),
	}
	where := map[string]string{}
	for section, names := range sections {
		for _, name := range names {
			if other, taken := where[name]; taken {
				t.Errorf("%s is in %s and in %s: CloudFormation wants names of their own", name, section, other)
			}
			where[name] = section
			if !regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`).MatchString(name) {
				t.Errorf("%s in %s: want letters and digits", name, section)
			}
		}
	}
	used := map[string]bool{}
	check := func(of string, v any, allowed ...string) {
		for _, name := range references(v) {
			used[name] = true
			if !slices.Contains(allowed, where[name]) {
				t.Errorf("%s names %s, which is in %q: want it in one of %q", of, name, where[name], allowed)
			}
		}
		for _, name := range conditions(v) {
			used[name] = true
			if where[name] != "Conditions" {
				t.Errorf("%s has the condition %s, which is not there", of, name)
			}
		}
	}
	check("Globals", s.Globals, "Parameters", "Resources")
	for name, c := range s.Conditions {
		check(name, c, "Parameters")
	}
	for name, r := range s.Rules {
		check(name, r, "Parameters")
	}
	for name, r := range s.Resources {
		check(name, r.Properties, "Parameters", "Resources")
		used[r.Condition] = true
		if r.Condition != "" && where[r.Condition] != "Conditions" {
			t.Errorf("%s has the condition %s, which is not there", name, r.Condition)
		}
		// What is there under a condition can be named only by what is there under the same, or asks for it.
		for _, other := range references(r.Properties) {
			if of := s.Resources[other].Condition; of != "" && of != r.Condition && other != topic && !strings.HasPrefix(r.Condition, of) && !strings.HasSuffix(other, "Queue") {
				t.Errorf("%s, if %s, names %s, which is there if %s", name, r.Condition, other, of)
			}
		}
	}
	for name, o := range s.Outputs {
		check(name, o.Value, "Parameters", "Resources")
		used[o.Condition] = true
	}
	for _, section := range []string{"Parameters", "Conditions"} {
		for _, name := range sections[section] {
			if !used[name] {
				t.Errorf("%s in %s is used by nobody", name, section)
			}
		}
	}
}

// statements are those of a role that holds whatever is turned on.
func statements(role any) (all []map[string]any) {
	each(role, func(m map[string]any) {
		if m["Effect"] != nil && m["Principal"] == nil {
			all = append(all, m)
		}
	})
	return all
}

// What the code calls is granted, and nothing else; on a resource by name, but where AWS knows no other than any.
func TestRolesMayWhatTheirFunctionDoes(t *testing.T) {
	always := []string{
		"dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan", "events:PutEvents", "logs:CreateLogStream", "logs:PutLogEvents",
		"sqs:SendMessage", "xray:PutTelemetryRecords", "xray:PutTraceSegments",
		"ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
		"ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
	}
	queue := []string{"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
	cluster := []string{"eks:DescribeCluster"}
	want := map[string][]string{
		"DeletePod": slices.Concat(cluster, queue), "Isolate": slices.Concat(cluster, queue), "Label": slices.Concat(cluster, queue),
		"Taint": slices.Concat(cluster, queue), "Release": cluster,
		"CollectEvidence": slices.Concat(cluster, queue, []string{"kms:Decrypt", "kms:GenerateDataKey", "s3:AbortMultipartUpload", "s3:PutObject"}),
		"Lambda":          slices.Concat(queue, []string{"lambda:InvokeFunction"}), "Slack": queue,
	}
	roles := map[string]bool{}
	for name, r := range shipped(t).Resources {
		if r.Type != "AWS::IAM::Role" {
			continue
		}
		function := strings.TrimSuffix(name, "Role")
		roles[function] = true
		var granted []string
		for _, s := range statements(r.Properties) {
			actions, _ := s["Action"].([]any)
			for _, a := range actions {
				action := fmt.Sprint(a)
				if strings.Contains(action, "*") {
					t.Errorf("%s has the action %s: want each by its name", name, action)
				}
				if service, _, _ := strings.Cut(action, ":"); s["Effect"] == "Allow" && s["Resource"] == "*" && service != "xray" && service != "ec2" {
					t.Errorf("%s may do %s to everything", name, action)
				}
				if s["Effect"] == "Allow" {
					granted = append(granted, action)
				}
			}
		}
		slices.Sort(granted)
		expected := slices.Concat(always, want[function])
		slices.Sort(expected)
		if diff := cmp.Diff(expected, granted); diff != "" {
			t.Errorf("%s (-want +granted):\n%s", name, diff)
		}
	}
	if len(roles) != len(want) {
		t.Errorf("there are roles for %v, want one for each of %v", roles, slices.Collect(maps.Keys(want)))
	}
}

// Every function is in the template, with all that makes it safe, or says why not.
func TestFunctionsInTheTemplate(t *testing.T) {
	s := shipped(t)
	functions, err := source.Functions(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range functions {
		skip, err := NotOnLambda(f)
		if err != nil {
			t.Fatal(err)
		}
		l, err := onLambda(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := s.Resources[l.function()]
		if ok == (skip != "") {
			t.Errorf("%s is there: %t, and is skipped because %q", f.Name, ok, skip)
		}
		if !ok {
			continue
		}
		if code := r.Properties["CodeUri"]; code != "../../dist/lambda/"+f.Name+"-arm64.zip" {
			t.Errorf("the code of %s is %v", f.Name, code)
		}
		variables, _ := r.Properties["Environment"].(map[string]any)["Variables"].(map[string]any)
		if _, own := variables["DRY_RUN"]; own {
			t.Errorf("%s has DRY_RUN of its own: want the template's", f.Name)
		}
		if _, named := variables["KUBE_CLUSTER"]; named != (s.Resources[l.id+"Access"].Type == "AWS::EKS::AccessEntry") {
			t.Errorf("%s has KUBE_CLUSTER: %t, and an access entry otherwise", f.Name, named)
		}
	}
	global, _ := s.Globals["Function"].(map[string]any)["Environment"].(map[string]any)["Variables"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"Ref": "DryRun"}, global["DRY_RUN"]); diff != "" || s.Parameters["DryRun"]["Default"] != "true" {
		t.Errorf("DRY_RUN is %v, by default %v: want the parameter, by default true", global["DRY_RUN"], s.Parameters["DryRun"]["Default"])
	}
}

func subscription(filters ...string) func(*source.Function) {
	return func(f *source.Function) {
		s := source.Subscription{Source: "default", Filters: map[string]string{}}
		for i := 0; i < len(filters); i += 2 {
			s.Filters[filters[i]] = filters[i+1]
		}
		f.Deploy.Subscriptions = append(f.Deploy.Subscriptions, s)
	}
}

func TestAlertFilters(t *testing.T) {
	const alert, other = "falco.rule.output.v1", "dev.riposte.response.v1"
	tests := map[string]struct {
		subscriptions []func(*source.Function)
		want          []object
	}{
		"none":           {nil, nil},
		"of other types": {[]func(*source.Function){subscription("type", other, "rule", "A")}, nil},
		"of all alerts":  {[]func(*source.Function){subscription("type", alert)}, nil},
		"the canary":     {[]func(*source.Function){subscription("type", alert, "rule", "Riposte canary")}, nil},
		"by what alerts do not have": {
			[]func(*source.Function){subscription("type", alert, "rule", "A", "cluster", "b")}, nil,
		},
		"of the same fields": {
			[]func(*source.Function){
				subscription("type", alert, "eventsource", "syscall", "rule", "A"), subscription("type", alert, "eventsource", "syscall", "rule", "B"),
				subscription("type", alert, "eventsource", "syscall", "rule", "A"),
			},
			[]object{{"source": []any{object{"prefix": "syscall"}}, "rule": []any{"A", "B"}}},
		},
		"of other fields": {
			[]func(*source.Function){subscription("type", alert, "rule", "A"), subscription("type", alert, "priority", "Critical")},
			[]object{{"priority": []any{"Critical"}}, {"rule": []any{"A"}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, alertFilters(sample(t, test.subscriptions...))); diff != "" {
				t.Errorf("filters (-want +got):\n%s", diff)
			}
		})
	}
}

// Lambda takes one minute to six hours.
func TestEventsWaitAsLongAsAlertsAreYoung(t *testing.T) {
	for age, want := range map[string]float64{"10m": 600, "10s": 60, "0": 6 * 3600, "24h": 6 * 3600} {
		t.Run(age, func(t *testing.T) {
			s := made(t, Input{Settings: settings(), Functions: []source.Function{sample(t, onAWS(`environment: {TOKEN: null, MAX_ALERT_AGE: "`+age+`"}`))}})
			if got := s.Resources["ActInvoked"].Properties["MaximumEventAgeInSeconds"]; got != want {
				t.Errorf("an event waits for %v s, want %v", got, want)
			}
		})
	}
}

// A queue takes messages of the topic, the dead letters of the topic and of rules, and of nobody else; and an alert does not
// end in a queue unseen.
func TestQueuesTakeFromTheirSourcesOnly(t *testing.T) {
	s := shipped(t)
	for name, r := range s.Resources {
		if r.Type == "AWS::SQS::Queue" {
			if kept, _ := r.Properties["MessageRetentionPeriod"].(float64); kept < 4*24*3600 || name != deadLetters && kept >= 14*24*3600 {
				t.Errorf("%s keeps messages for %v s: want days, and less than the dead letters", name, kept)
			}
			if _, has := s.Resources[name+"Policy"]; !has {
				t.Errorf("%s has no policy", name)
			}
		}
		if r.Type != "AWS::SQS::QueuePolicy" {
			continue
		}
		want := map[string]string{"sns.amazonaws.com": "ArnEquals"}
		if name == deadLetters+"Policy" {
			want["events.amazonaws.com"] = "ArnLike"
		}
		got := map[string]string{}
		each(r.Properties, func(m map[string]any) {
			from, _ := m["Principal"].(map[string]any)
			only, _ := m["Condition"].(map[string]any)
			for operator, of := range only {
				if m["Effect"] != nil && of.(map[string]any)["aws:SourceArn"] != nil {
					got[fmt.Sprint(from["Service"])] = operator
				}
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func onAWS(text string) func(*source.Function) {
	return func(f *source.Function) { f.Lambda = []byte(text) }
}

func TestLambdaManifestIsRefused(t *testing.T) {
	tests := map[string]struct {
		edits []func(*source.Function)
		names string
	}{
		"an unknown field":           {[]func(*source.Function){onAWS("memroy: 1")}, "memroy"},
		"skip and more":              {[]func(*source.Function){onAWS("skip: because\nmemory: 256")}, "skip"},
		"too much memory":            {[]func(*source.Function){onAWS("memory: 20000")}, "20000"},
		"a secret that nobody reads": {nil, "TOKEN"},
		"a variable of Lambda's":     {[]func(*source.Function){onAWS("environment: {TOKEN: null, AWS_REGION: x}")}, "AWS_REGION"},
		"a time that is none":        {[]func(*source.Function){onAWS("environment: {TOKEN: null, RESPONSE_TIMEOUT: soon}")}, "RESPONSE_TIMEOUT"},
		"a run that is too long":     {[]func(*source.Function){onAWS("environment: {TOKEN: null, RESPONSE_TIMEOUT: 15m}")}, "RESPONSE_TIMEOUT"},
		"a wait beyond the last try": {[]func(*source.Function){onAWS("environment: {TOKEN: null, REQUIRE_EVIDENCE: 7m}")}, "REQUIRE_EVIDENCE"},
		"a parameter twice":          {[]func(*source.Function){onAWS("environment: {TOKEN: null}\nparameters: {DryRun: {}}")}, "DryRun"},
		"a volume": {[]func(*source.Function){onAWS("environment: {TOKEN: null}"), func(f *source.Function) {
			f.Run.Volumes = []source.Volume{{Path: "/data"}}
		}}, "volumes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sam(Input{Functions: []source.Function{sample(t, test.edits...)}, Settings: settings()})
			if err == nil || !strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), "functions/act") {
				t.Errorf("it gives %v, want an error that names the folder and %s", err, test.names)
			}
		})
	}
}

func TestLambdaVariables(t *testing.T) {
	s := made(t, Input{Settings: settings(), Functions: []source.Function{sample(t,
		onAWS("environment: {TOKEN: {Ref: ClusterName}, MIN_PRIORITY: Alert, MORE: x}\nmemory: 512"),
		func(f *source.Function) {
			f.Run.Envs = append(f.Run.Envs, source.Env{Name: "AWS_REGION", Value: "x"}, source.Env{Name: "GOMEMLIMIT", Value: "1MiB"}, source.Env{Name: "OWN", Value: "y"})
		})}})
	got, _ := s.Resources["ActFunction"].Properties["Environment"].(map[string]any)["Variables"].(map[string]any)
	want := map[string]any{
		"TOKEN": map[string]any{"Ref": "ClusterName"}, "MIN_PRIORITY": "Alert", "MORE": "x", "OWN": "y", "GOMEMLIMIT": "435MiB",
		"KUBE_CLUSTER": map[string]any{"Fn::Sub": "eks:${ClusterName}"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}
