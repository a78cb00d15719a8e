package kube_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/riposte-dev/riposte/shared/kube"
)

func TestRetryOnConflictGivesTheErrorOfTheLastCall(t *testing.T) {
	t.Parallel()
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "p", errors.New("somebody was faster"))
	cutOff := fmt.Errorf("patch pods p: %w", context.Canceled)
	late := fmt.Errorf("patch pods p: %w", context.DeadlineExceeded)
	other := errors.New("no")
	for name, tc := range map[string]struct {
		gives []error // in turn; the last one for good
		calls int
	}{
		"done":                           {[]error{nil}, 1},
		"somebody was faster":            {[]error{conflict, conflict, nil}, 3},
		"somebody always is":             {[]error{conflict}, 5},
		"another error":                  {[]error{other}, 1},
		"cut off":                        {[]error{cutOff}, 1},
		"out of time":                    {[]error{late}, 1},
		"out of time after a conflict":   {[]error{conflict, late}, 2},
		"another error after a conflict": {[]error{conflict, other}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			got := kube.RetryOnConflict(func() error {
				calls++
				return tc.gives[min(calls, len(tc.gives))-1]
			})
			if want := tc.gives[len(tc.gives)-1]; got != want || calls != tc.calls { //nolint:errorlint // The very error is wanted.
				t.Errorf("after %d calls it gives %v, want %v after %d", calls, got, want, tc.calls)
			}
		})
	}
}
