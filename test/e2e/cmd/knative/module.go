package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
)

const (
	eventingModule = "knative.dev/eventing"
	// Of Serving one manifest is needed, that of its type Service, and no code. Its hash is
	// here because it is in no go.sum.
	servingModule  = "knative.dev/serving"
	servingVersion = "v0.51.0"
	servingSum     = "h1:yN2Q7eYqJgoPfZkATjoBZyGbZ2P1Qhns9HIMU4mF+to="
)

// eventingFolder is where the manifests are of the Knative that this program is built of.
func eventingFolder(ctx context.Context) (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("find Knative's manifests: the program does not say what it was built of")
	}
	for _, module := range info.Deps {
		if module.Path == eventingModule {
			return moduleFolder(ctx, eventingModule, module.Version, module.Sum)
		}
	}
	return "", fmt.Errorf("find Knative's manifests: the program was built without %s", eventingModule)
}

// moduleFolder downloads a module, unless that has been done, and returns its folder.
func moduleFolder(ctx context.Context, path, version, sum string) (string, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", path+"@"+version)
	command.Env = append(os.Environ(), "GOWORK=off")
	command.Dir = os.TempDir() // Outside of any module.
	output, err := command.Output()
	var module struct{ Dir, Sum, Error string }
	if decodeErr := json.Unmarshal(output, &module); err != nil || decodeErr != nil {
		return "", fmt.Errorf("download %s %s: %w %s", path, version, errors.Join(err, decodeErr), module.Error)
	}
	if module.Sum != sum {
		return "", fmt.Errorf("download %s %s: its hash is %s, want %s", path, version, module.Sum, sum)
	}
	return module.Dir, nil
}
