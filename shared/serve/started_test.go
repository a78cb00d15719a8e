package serve_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Whoever hosts a function, its log says at the start whether it acts, and where it keeps its claims.
func TestStartedFunctionsSayWhetherTheyAct(t *testing.T) {
	for name, test := range map[string]struct {
		settings map[string]string
		dryRun   bool
		claims   string
	}{
		"in dry run":                   {map[string]string{"DRY_RUN": "true", "CLAIMS": "memory"}, true, "memory"},
		"in earnest":                   {map[string]string{"CLAIMS": "memory"}, false, "memory"},
		"in earnest without any claim": {map[string]string{"CLAIMS": "none"}, false, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			function := serve.New(serve.Define(serve.Info{Name: "recorder"}, func(struct{}, response.Settings) (response.Responder, error) {
				return &recorder{}, nil
			}))
			logged := testkit.Run(t, function, test.settings).Log(t)
			said := 0
			for line := range strings.Lines(logged) {
				var entry struct {
					Msg, Response, Claims string
					DryRun                *bool `json:"dry_run"`
				}
				if err := json.Unmarshal([]byte(line), &entry); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if entry.Msg != "started" {
					continue
				}
				said++
				if entry.Response != "recorder" || entry.Claims != test.claims || entry.DryRun == nil || *entry.DryRun != test.dryRun {
					t.Errorf("it says %s", line)
				}
			}
			if said != 1 {
				t.Errorf("it says %d times that it has started, want once:\n%s", said, logged)
			}
		})
	}
}
