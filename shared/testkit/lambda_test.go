package testkit_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// failing is a test that keeps why it failed to itself.
type failing struct {
	testing.TB
	reason string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.reason = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestLambda(t *testing.T) {
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bootstrap, "./testdata/bootstrap")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the bootstrap: %v\n%s", err, output)
	}

	t.Run("answers", func(t *testing.T) {
		lambda := testkit.StartLambda(t, bootstrap, "MODE=answers", "OWN=x")
		for i := range 3 {
			var got struct {
				Event                               int
				Deadline, Trace, ARN, Function, Own string
			}
			answer := lambda.Invoke(t, []byte(strconv.Itoa(i)))
			if answer.Error != nil {
				t.Fatal(answer.Error)
			}
			if err := json.Unmarshal(answer.Payload, &got); err != nil {
				t.Fatal(err)
			}
			deadline, err := strconv.ParseInt(got.Deadline, 10, 64)
			if left := time.Until(time.UnixMilli(deadline)); err != nil || left <= 0 || left > time.Minute {
				t.Errorf("%s are left, %v", left, err)
			}
			if got.Event != i || got.Trace == "" || !strings.HasPrefix(got.ARN, "arn:aws:lambda:") || got.Function == "" || got.Own != "x" {
				t.Errorf("the bootstrap got %+v", got)
			}
		}
	})
	t.Run("fails", func(t *testing.T) {
		lambda := testkit.StartLambda(t, bootstrap, "MODE=fails")
		for range 2 {
			want := testkit.LambdaAnswer{Error: &testkit.LambdaError{Message: "no", Type: "No"}}
			if diff := cmp.Diff(want, lambda.Invoke(t, []byte("{}"))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		}
	})
	t.Run("breaks rules", func(t *testing.T) {
		answer := testkit.StartLambda(t, bootstrap, "MODE=breaks rules").Invoke(t, []byte("{}"))
		if answer.Error != nil || string(answer.Payload) != "[403,400,400,400,400]" {
			t.Errorf("the statuses are %s, %v", answer.Payload, answer.Error)
		}
	})
	for mode, reason := range map[string]string{
		"fails to start": "no settings", "exits": "status 3 before", "exits with an event": "status 3 instead",
	} {
		t.Run(mode, func(t *testing.T) {
			lambda := testkit.StartLambda(t, bootstrap, "MODE="+mode)
			f := &failing{TB: t}
			done := make(chan struct{})
			go func() { // Fatalf ends the goroutine it is called in
				defer close(done)
				lambda.Invoke(f, []byte("{}"))
			}()
			<-done
			if !strings.Contains(f.reason, reason) {
				t.Errorf("failed because %q: want %q", f.reason, reason)
			}
			if mode == "fails to start" {
				return
			}
			if status, log := lambda.Exit(t); status != 3 || !strings.Contains(log, mode) {
				t.Errorf("exit status is %d: %s", status, log)
			}
		})
	}
}
