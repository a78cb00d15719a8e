package platforms

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// buried is an alert that is kept in a folder: as an event, or in base64 where it came as none.
func buried(tb testing.TB, folder string) job {
	tb.Helper()
	name := fmt.Sprintf("web-%d", time.Now().UnixNano())
	c := testkit.Find(tb, "03").Retarget(testkit.Retargeting{Time: time.Now(), Namespace: "shop", Pod: name, ContainerID: "abc012345678"})
	return job{event: c.CloudEvent(tb, ""), alert: c.Alert, verdict: "204", done: func() error { return kept(folder, name) }}
}

// kept is nil if a dead letter in the folder has this text in its data.
func kept(folder, text string) error {
	letters, err := filepath.Glob(filepath.Join(folder, "dead", "*", "*", "*", "*.json"))
	if err != nil {
		return err
	}
	for _, l := range letters {
		content, err := os.ReadFile(l)
		if err != nil {
			return err
		}
		var letter struct {
			Data    json.RawMessage `json:"data"`
			Encoded []byte          `json:"data_base64"`
		}
		if err := json.Unmarshal(content, &letter); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		if strings.Contains(string(letter.Data)+string(letter.Encoded), text) {
			return nil
		}
	}
	return fmt.Errorf("none of the %d dead letters has %q", len(letters), text)
}
