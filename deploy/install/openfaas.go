package install

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	accounts = Own(accounts, o.Functions)
	cluster := o.cluster(ctx, p, accounts)
	environ := []string{fmt.Sprintf("DRY_RUN=%t", o.DryRun), "TAG=" + o.Tag}
	if o.Registry != "" {
		environ = append(environ, "REGISTRY="+o.Registry)
	}
	if o.Undeploy {
		for _, f := range there {
			p.steps = append(p.steps, o.removeFunction(f.Name))
		}
		o.remove(ctx, p, cluster, accounts)
		return nil
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
	waiting.apply(ctx, p, cluster, accounts)
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

// removeFunction is the step that takes a function away. It is named as an argument, not by the stack: with a stack, faas-cli
// remove succeeds whatever the gateway says. That there is none is no failure here.
func (o Options) removeFunction(name string) step {
	var said bytes.Buffer
	listening := o
	listening.Out = io.MultiWriter(o.Out, &said)
	s := listening.command(nil, "faas-cli", "remove", name)
	remove := s.do
	s.do = func(ctx context.Context) error {
		if err := remove(ctx); err != nil && !strings.Contains(said.String(), "No existing function to remove") {
			return err
		}
		return nil
	}
	return s
}

// openFaaSSecrets says which secrets are missing that are not made along with the accounts.
func (p *plan) openFaaSSecrets(ctx context.Context, cluster *Cluster, s stack, functions []source.Function, made []unstructured.Unstructured) {
	readers := map[string][]string{}
	for _, f := range functions {
		for _, name := range s.Functions[f.Name].Secrets {
			readers[name] = append(readers[name], f.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		if slices.ContainsFunc(made, func(u unstructured.Unstructured) bool { return u.GetKind() == "Secret" && u.GetName() == name }) {
			continue
		}
		found, err := cluster.get(ctx, named("Secret", functionsNamespace, name))
		switch {
		case err != nil:
			p.miss("a look at the secret %s: %s", name, oneLine(err))
		case found == nil:
			p.miss("the secret %s, which %s read: faas-cli secret create %s --from-file=...", name, strings.Join(readers[name], ", "), name)
		}
	}
}
