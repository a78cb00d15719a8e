// Package stage copies a function, with what it needs of shared/ and triggers/, into a folder that builds on its own: the
// builders of Knative Functions and OpenFaaS see one folder and no workspace.
//
// For func, the packages become part of the function's module, which is renamed to the repository's root path so that
// imports stay as they are: func's scaffold ignores replace and go.work. For OpenFaaS they stay modules behind
// replace => ./shared, a path that the golang-http template rewrites. Build either with GOWORK=off.
//
// A package is its files as go list names them for Linux, with those for other processors and what it embeds; without tests,
// and without cmd, a main of ours where the platforms bring their own. There is no .funcignore: func leaves what it names out
// of what it compares to know whether it has to build again.
package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/riposte-dev/riposte/deploy/source"
)

// The platforms that build from a staged folder.
const (
	Func     = "func"
	OpenFaaS = "openfaas"
)

// files are contents by their paths below the staged folder, with slashes.
type files map[string][]byte

// Folder is where a function is staged, below the repository's root.
func Folder(platform, name string) string { return filepath.Join(".stage", platform, name) }

// Stage brings the function's folder up to date, and says whether anything had to be changed. What func keeps there, in
// .func, stays.
func Stage(ctx context.Context, root, platform string, f source.Function) (changed bool, err error) {
	return Into(ctx, root, filepath.Join(root, Folder(platform, f.Name)), platform, f)
}

// Into is Stage with another folder, of which it takes hold: nothing else stays in it.
func Into(ctx context.Context, root, folder, platform string, f source.Function) (changed bool, err error) {
	if platform != Func && platform != OpenFaaS {
		return false, fmt.Errorf("PLATFORM is %q: want %s or %s", platform, Func, OpenFaaS)
	}
	content, err := collect(ctx, root, platform, f)
	if err != nil {
		return false, fmt.Errorf("stage %s for %s: %w", f.Name, platform, err)
	}
	if changed, err = sync(folder, content); err != nil {
		return false, fmt.Errorf("stage %s for %s: %w", f.Name, platform, err)
	}
	return changed, nil
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Dir                     string
	GoFiles, HFiles, SFiles, EmbedFiles []string
	IgnoredGoFiles, IgnoredOtherFiles   []string
	Module                              *struct{ Path, Dir string }
}

// files are those of the package that belong to it on some processor.
func (p goPackage) files() []string {
	all := slices.Concat(p.GoFiles, p.HFiles, p.SFiles, p.EmbedFiles)
	for _, name := range slices.Concat(p.IgnoredGoFiles, p.IgnoredOtherFiles) {
		// What is ignored everywhere does not belong to it: the tools' requirements, and tests for another system.
		if name != "tools.go" && !strings.HasSuffix(name, "_test.go") {
			all = append(all, name)
		}
	}
	return all
}

// packages are the packages of this repository that the function is made of, itself included.
func packages(ctx context.Context, root string, f source.Function) ([]goPackage, error) {
	command := exec.CommandContext(ctx, "go", "list", "-deps",
		"-json=ImportPath,Dir,GoFiles,HFiles,SFiles,EmbedFiles,IgnoredGoFiles,IgnoredOtherFiles,Module", "./"+filepath.ToSlash(f.Folder))
	command.Dir = root
	// Whatever the machine is, the image is Linux's, and the same everywhere. The files for other processors are among those
	// that are ignored. An empty GOWORK is the workspace, though the caller may do without.
	command.Env = append(command.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	listed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	var ours []goPackage
	for d := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ours, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil && strings.HasPrefix(p.Module.Path, source.Root+"/") {
			ours = append(ours, p)
		}
	}
}

// collect reads all that belongs into the folder.
func collect(ctx context.Context, root, platform string, f source.Function) (files, error) {
	all, err := packages(ctx, root, f)
	if err != nil {
		return nil, err
	}
	out := files{}
	modules := map[string]string{} // the folders of the modules, by their names below the root
	own := source.Root + "/functions/" + f.Name
	for _, p := range all {
		below := strings.TrimPrefix(p.ImportPath, source.Root+"/")
		if p.ImportPath == own {
			below = ""
		} else {
			modules[strings.TrimPrefix(p.Module.Path, source.Root+"/")] = p.Module.Dir
		}
		for _, name := range p.files() {
			if out[path.Join(below, filepath.ToSlash(name))], err = os.ReadFile(filepath.Join(p.Dir, name)); err != nil {
				return nil, err
			}
		}
	}
	if err := out.module(root, platform, f, modules); err != nil {
		return nil, err
	}
	if platform == Func {
		out["func.yaml"], err = os.ReadFile(filepath.Join(root, f.Folder, "func.yaml"))
		return out, err
	}
	// Where there is no Broker the router needs the triggers themselves. The template copies the folder static.
	if modules["triggers"] != "" {
		manifests, err := filepath.Glob(filepath.Join(root, "triggers", "*.yaml"))
		if err != nil {
			return nil, err
		}
		for _, m := range manifests {
			if out["static/triggers/"+filepath.Base(m)], err = os.ReadFile(m); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// module writes go.mod and go.sum.
func (out files) module(root, platform string, f source.Function, modules map[string]string) error {
	content, err := os.ReadFile(filepath.Join(root, f.Folder, "go.mod"))
	if err != nil {
		return err
	}
	mod, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return err
	}
	if out["go.sum"], err = os.ReadFile(filepath.Join(root, f.Folder, "go.sum")); err != nil {
		return err
	}
	if platform == Func {
		if err := mod.AddModuleStmt(source.Root); err != nil {
			return err
		}
	}
	// A module of ours that only tests need is not there, and nothing else could find it.
	for _, r := range slices.Clone(mod.Require) {
		name, ours := strings.CutPrefix(r.Mod.Path, source.Root+"/")
		if ours && (platform == Func || modules[name] == "") {
			if err := mod.DropRequire(r.Mod.Path); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		if platform == Func {
			break
		}
		folder := modules[name]
		if err := mod.AddReplace(source.Root+"/"+name, "", "./"+name, ""); err != nil {
			return err
		}
		for _, file := range []string{"go.mod", "go.sum"} {
			if out[path.Join(name, file)], err = os.ReadFile(filepath.Join(folder, file)); err != nil {
				return err
			}
		}
	}
	mod.Cleanup()
	mod.SortBlocks()
	out["go.mod"], err = mod.Format()
	return err
}
