package response

import (
	"context"
	"errors"
	"time"
)

// Kind is what can be done about an error. It is set where the cause is known and
// mapped to a status once, in package serve.
type Kind int

// The kinds.
const (
	// Unknown is an error nobody classified: a bug. It is tried again.
	Unknown Kind = iota
	// Invalid: the event cannot be acted on, now or later.
	Invalid
	// Permanent: denied or misconfigured; an operator must act.
	Permanent
	// Transient: may work later.
	Transient
)

// String is the kind as it stands in logs and metrics.
func (k Kind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case Permanent:
		return "permanent"
	case Transient:
		return "transient"
	case Unknown:
		return "unknown"
	}
	return "unknown"
}

// Error is an error with its kind.
type Error struct {
	Kind Kind
	// RetryAfter is when the other side said to come back; zero if it did not.
	RetryAfter time.Duration
	// Alone says that it is about this one event: others may be sent meanwhile.
	Alone bool
	Err   error
}

// Error is the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// InvalidError marks err as Invalid.
func InvalidError(err error) error { return &Error{Kind: Invalid, Err: err} }

// PermanentError marks err as Permanent.
func PermanentError(err error) error { return &Error{Kind: Permanent, Err: err} }

// TransientError marks err as Transient; after is zero where nobody said when to come back.
func TransientError(err error, after time.Duration) error {
	return &Error{Kind: Transient, RetryAfter: after, Err: err}
}

// DeferredError marks err as Transient for this one event, which is to come again after that time.
func DeferredError(err error, after time.Duration) error {
	return &Error{Kind: Transient, RetryAfter: max(after, time.Second), Alone: true, Err: err}
}

// IsDeferred says whether err is about this one event: others may be sent meanwhile.
func IsDeferred(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Alone
}

// KindOf is the kind of err. An expired or cancelled context is Transient whoever reports it.
func KindOf(err error) Kind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Transient
	}
	return Unknown
}

// RetryAfter is when the other side said to come back, or zero.
func RetryAfter(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
