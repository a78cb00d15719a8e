package guard

import (
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

func refuse(r response.Reason, format string, args ...any) *response.Outcome {
	o := response.Refuse(r, format, args...)
	return &o
}

func errNegative(name string, d time.Duration) error {
	return fmt.Errorf("%s is %q: want a duration that is not negative", name, d)
}
