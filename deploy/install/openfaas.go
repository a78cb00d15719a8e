package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
)

// functionsNamespace is where OpenFaaS runs functions.
const functionsNamespace = "openfaas-fn"

// template is what faas-cli builds functions with; make deploy pulls it where it is not there.
var template = filepath.Join("template", "golang-http") //nolint:gochecknoglobals // A constant but for the separator.

// stack is the part of stack.yml that is looked at.
type stack struct {
	Functions map[string]struct {
		Secrets []string `json:"secrets"`
	} `json:"functions"`
}

// openfaas plans what is done on OpenFaaS: accounts by the API server, functions by faas-cli.
func (o Options) openfaas(ctx context.Context, p *plan) error {
	file, folder := "stack.yml", filepath.Join("deploy", "openfaas")
	if o.Pro {
		folder = filepath.Join(folder, "pro")
		file = filepath.Join(folder, file)
	}
	content, err := os.ReadFile(filepath.Join(o.Root, file))
	if err != nil {
		return err
	}
	var s stack
	if err := yaml.Unmarshal(content, &s); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	functions, err := o.functions()
	if err != nil {
		return err
	}
	var there []source.Function
	for _, f := range functions {
		if _, ok := s.Functions[f.Name]; ok {
			there = append(there, f)
		} else if len(o.Functions) > 0 {
			return fmt.Errorf("FUNCTION is %q: it does not run on OpenFaaS, see functions/%s/openfaas.yaml", f.Name, f.Name)
		}
	}
	accounts, err := Build(filepath.Join(o.Root, folder))
	if err != nil {
		return err
	}
	p.program("faas-cli", "https://docs.openfaas.com/cli/install/")
	cluster, err := Connect()
	if err != nil {
		p.miss("a cluster: %s", oneLine(err))
	}
	environ := []string{fmt.Sprintf("DRY_RUN=%t", o.DryRun), "TAG=" + o.Tag}
	if o.Registry != "" {
		environ = append(environ, "REGISTRY="+o.Registry)
	}
	if o.Undeploy {
		for _, f := range there {
			p.steps = append(p.steps, o.command(nil, "faas-cli", "remove", "-f", file, "--filter", f.Name))
		}
		return o.remove(ctx, p, cluster, Own(accounts, o.Functions))
	}
	p.program("docker", "faas-cli builds images with it")
	if o.Registry == "" {
		p.miss("REGISTRY: where images go, such as ghcr.io/you")
	}
	if cluster != nil {
		p.openFaaSSecrets(ctx, cluster, s, there, accounts)
	}
	waiting := o
	waiting.Wait = 0
	waiting.apply(ctx, p, cluster, Own(accounts, o.Functions))
	if _, err := os.Stat(filepath.Join(o.Root, template)); err != nil {
		p.steps = append(p.steps, o.command(nil, "faas-cli", "template", "store", "pull", "golang-http"))
	}
	for _, f := range there {
		p.steps = append(p.steps, step{"stage " + f.Name, func(ctx context.Context) error {
			_, err := stage.Stage(ctx, o.Root, stage.OpenFaaS, f)
			return err
		}}, o.command(environ, "faas-cli", "up", "-f", file, "--filter", f.Name))
	}
	return nil
}

// openFaaSSecrets says which secrets are missing that are not made along with the accounts.
func (p *plan) openFaaSSecrets(ctx context.Context, cluster *Cluster, s stack, functions []source.Function, made []unstructured.Unstructured) {
	for _, f := range functions {
		for _, name := range s.Functions[f.Name].Secrets {
			if slices.ContainsFunc(made, func(u unstructured.Unstructured) bool { return u.GetKind() == "Secret" && u.GetName() == name }) {
				continue
			}
			var want unstructured.Unstructured
			want.SetAPIVersion("v1")
			want.SetKind("Secret")
			want.SetNamespace(functionsNamespace)
			want.SetName(name)
			found, err := cluster.get(ctx, want)
			switch {
			case err != nil:
				p.miss("a look at the secret %s: %s", name, oneLine(err))
			case found == nil:
				p.miss("the secret %s (or leave out, by FUNCTION, the function %s): faas-cli secret create %s --from-file=...", name, f.Name, name)
			}
		}
	}
}
