package stage

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Unsubscribe takes deploy.subscriptions out of the func.yaml in a staged folder: what is deployed from it gets its events by
// triggers/ and by nothing else. docs/knative-functions.md has the reasons.
func Unsubscribe(folder string) error {
	file := filepath.Join(folder, "func.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	var manifest map[string]any
	if err := yaml.Unmarshal(content, &manifest); err != nil {
		return fmt.Errorf("unsubscribe: %s: %w", file, err)
	}
	deploy, _ := manifest["deploy"].(map[string]any)
	if _, ok := deploy["subscriptions"]; !ok {
		return nil
	}
	delete(deploy, "subscriptions")
	if content, err = yaml.Marshal(manifest); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	return os.WriteFile(file, content, 0o644) //nolint:gosec // Sources are for everybody.
}
