package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/archive"
	"github.com/riposte-dev/riposte/deploy/generate"
	"github.com/riposte-dev/riposte/deploy/source"
)

// stackName is what the stack of AWS CloudFormation is called.
const stackName = "riposte"

// samTemplate is the part of deploy/lambda/template.yaml that is looked at.
type samTemplate struct {
	Parameters map[string]struct{}
	Rules      map[string]struct {
		RuleCondition struct {
			Equals []any `json:"Fn::Equals"`
		}
		Assertions []struct {
			Assert struct {
				Not []struct {
					Equals []any `json:"Fn::Equals"`
				} `json:"Fn::Not"`
			}
			AssertDescription string
		}
	}
}

// lambda plans what is done on AWS Lambda: zips, rights on the cluster, and the stack by AWS SAM.
func (o Options) lambda(ctx context.Context, p *plan) error {
	there, err := o.onLambda()
	if err != nil {
		return err
	}
	p.program("sam", "https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/install-sam-cli.html")
	given, err := o.parameters()
	if err != nil {
		return err
	}
	rights, err := read(filepath.Join(o.Root, "deploy", "lambda", "rbac.yaml"))
	if err != nil {
		return err
	}
	rights = Own(rights, o.Functions)
	var cluster *Cluster
	if len(rights) > 0 {
		cluster = o.cluster(ctx, p, rights)
	}
	for _, f := range there {
		given = append(given, generate.LambdaParameter(f.Name)+fmt.Sprintf("=%t", !o.Undeploy))
	}
	if o.Undeploy && len(o.Functions) == 0 {
		p.steps = append(p.steps, o.command(nil, "sam", "delete", "--stack-name", stackName, "--no-prompts"))
		o.remove(ctx, p, cluster, rights)
		return nil
	}
	// SAM packs the zips of all functions, also of those that are not deployed.
	p.steps = append(p.steps, step{"build the zips of all functions into dist/lambda", o.zips})
	if !o.Undeploy {
		given = append(given, fmt.Sprintf("DryRun=%t", o.DryRun))
		if err := o.wants(p, given); err != nil {
			return err
		}
		waiting := o
		waiting.Wait = 0
		waiting.apply(ctx, p, cluster, rights)
	}
	p.steps = append(p.steps, o.command(nil, "sam", slices.Concat([]string{
		"deploy", "--template-file", "deploy/lambda/template.yaml", "--stack-name", stackName, "--capabilities", "CAPABILITY_IAM",
		"--resolve-s3", "--no-fail-on-empty-changeset", "--parameter-overrides",
	}, given)...))
	if o.Undeploy {
		o.remove(ctx, p, cluster, rights)
	}
	return nil
}

// onLambda are the functions that are meant and run there.
func (o Options) onLambda() ([]source.Function, error) {
	functions, err := o.functions()
	if err != nil {
		return nil, err
	}
	var there []source.Function
	for _, f := range functions {
		why, err := generate.NotOnLambda(f)
		switch {
		case err != nil:
			return nil, err
		case why == "":
			there = append(there, f)
		case len(o.Functions) > 0:
			return nil, fmt.Errorf("FUNCTION is %q: it does not run on AWS Lambda: %s", f.Name, why)
		}
	}
	return there, nil
}

// parameters are those of PARAMETERS.
func (o Options) parameters() ([]string, error) {
	t, err := o.template()
	if err != nil {
		return nil, err
	}
	functions, err := source.Functions(o.Root)
	if err != nil {
		return nil, err
	}
	for _, p := range o.Parameters {
		name, _, found := strings.Cut(p, "=")
		if _, ok := t.Parameters[name]; !found || !ok {
			return nil, fmt.Errorf("PARAMETERS has %q: want Name=value, of a parameter in deploy/lambda/template.yaml", p)
		}
		// Of two values the last would win, unseen.
		if name == "DryRun" {
			return nil, fmt.Errorf("PARAMETERS has %q: want DRY_RUN to say it", p)
		}
		if slices.ContainsFunc(functions, func(f source.Function) bool { return generate.LambdaParameter(f.Name) == name }) {
			return nil, fmt.Errorf("PARAMETERS has %q: want FUNCTION to say it", p)
		}
	}
	return slices.Clone(o.Parameters), nil
}

func (o Options) template() (t samTemplate, err error) {
	content, err := os.ReadFile(filepath.Join(o.Root, "deploy", "lambda", "template.yaml"))
	if err != nil {
		return t, err
	}
	if err := sigsyaml.Unmarshal(content, &t); err != nil {
		return t, fmt.Errorf("deploy/lambda/template.yaml: %w", err)
	}
	return t, nil
}

// wants says what the template's rules want and nobody has given. CloudFormation would, after everything was built.
func (o Options) wants(p *plan, given []string) error {
	t, err := o.template()
	if err != nil {
		return err
	}
	for _, rule := range t.Rules {
		if c := rule.RuleCondition.Equals; len(c) != 2 || !slices.Contains(given, fmt.Sprintf("%s=%v", reference(c[0]), c[1])) {
			continue
		}
		for _, a := range rule.Assertions {
			for _, n := range a.Assert.Not {
				if len(n.Equals) != 2 || n.Equals[1] != "" {
					continue
				}
				name := reference(n.Equals[0])
				if !slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, name+"=") && g != name+"=" }) {
					p.miss("PARAMETERS: %s: %s=...", a.AssertDescription, name)
				}
			}
		}
	}
	slices.Sort(p.missing)
	return nil
}

// reference is the parameter that a Ref names.
func reference(v any) string {
	m, _ := v.(map[string]any)
	name, _ := m["Ref"].(string)
	return name
}

func (o Options) zips(ctx context.Context) error {
	all, err := Options{Root: o.Root}.onLambda()
	if err != nil {
		return err
	}
	for _, f := range all {
		if _, err := archive.Build(ctx, o.Root, filepath.Join(o.Root, "dist", "lambda"), f.Name, archive.ARM64, o.Version); err != nil {
			return err
		}
	}
	return nil
}

// read is the objects of a file.
func read(file string) ([]unstructured.Unstructured, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		var u unstructured.Unstructured
		switch err := d.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		case len(u.Object) > 0:
			out = append(out, u)
		}
	}
}
