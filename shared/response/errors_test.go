package response_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

func TestKindOf(t *testing.T) {
	cause := errors.New("cause")
	cases := map[string]struct {
		err   error
		kind  response.Kind
		after time.Duration
	}{
		"nothing":                          {nil, response.Unknown, 0},
		"nobody's":                         {cause, response.Unknown, 0},
		"invalid":                          {response.InvalidError(cause), response.Invalid, 0},
		"permanent":                        {response.PermanentError(cause), response.Permanent, 0},
		"transient":                        {response.TransientError(cause, time.Minute), response.Transient, time.Minute},
		"wrapped":                          {fmt.Errorf("try: %w", response.TransientError(cause, time.Minute)), response.Transient, time.Minute},
		"joined":                           {errors.Join(cause, response.PermanentError(cause)), response.Permanent, 0},
		"the outer kind counts":            {response.PermanentError(response.TransientError(cause, 0)), response.Permanent, 0},
		"a deadline":                       {fmt.Errorf("try: %w", context.DeadlineExceeded), response.Transient, 0},
		"a cancelled call":                 {fmt.Errorf("try: %w", context.Canceled), response.Transient, 0},
		"a deadline that was classified":   {response.InvalidError(context.DeadlineExceeded), response.Invalid, 0},
		"marked as unknown on purpose too": {&response.Error{Kind: response.Unknown, Err: context.Canceled}, response.Unknown, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := response.KindOf(c.err); got != c.kind {
				t.Errorf("kind is %s, want %s", got, c.kind)
			}
			if got := response.RetryAfter(c.err); got != c.after {
				t.Errorf("retry after %s, want %s", got, c.after)
			}
		})
	}
	if err := response.InvalidError(cause); !errors.Is(err, cause) || err.Error() != cause.Error() {
		t.Errorf("a marked error is %v", err)
	}
	for kind, want := range map[response.Kind]string{0: "unknown", 1: "invalid", 2: "permanent", 3: "transient", 9: "unknown"} {
		if kind.String() != want {
			t.Errorf("kind %d is %q, want %q", kind, kind, want)
		}
	}
}
