package budget

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is how many responses there may be in a window of time, wherever it begins. The zero Limit is none.
type Limit struct {
	// Count is a number of responses, or of percent where Percent is set.
	Count   int
	Percent bool
	Window  time.Duration
}

const (
	off = "off"

	maxCount             = 10_000
	minWindow, maxWindow = time.Second, 24 * time.Hour
)

// UnmarshalText reads 5/1m, 10%/1m or off.
func (l *Limit) UnmarshalText(b []byte) error {
	text := string(b)
	if text == off {
		*l = Limit{}
		return nil
	}
	amount, window, ok := strings.Cut(text, "/")
	if !ok {
		return errors.New("it has no /")
	}
	var read Limit
	amount, read.Percent = strings.CutSuffix(amount, "%")
	most := maxCount
	if read.Percent {
		most = 100
	}
	var err error
	if read.Count, err = strconv.Atoi(amount); err != nil || read.Count < 1 || read.Count > most || amount != strconv.Itoa(read.Count) {
		return fmt.Errorf("before the / is %q: want 1 to %d, or 1%% to 100%%", amount, maxCount)
	}
	if read.Window, err = time.ParseDuration(window); err != nil || read.Window < minWindow || read.Window > maxWindow {
		return fmt.Errorf("after the / is %q: want %s to %s", window, short(minWindow), short(maxWindow))
	}
	*l = read
	return nil
}

// String is the limit as UnmarshalText reads it.
func (l Limit) String() string {
	if l.Off() {
		return off
	}
	amount := strconv.Itoa(l.Count)
	if l.Percent {
		amount += "%"
	}
	return amount + "/" + short(l.Window)
}

// short is a duration without the units it has none of: 1m, not 1m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Describe says what is allowed.
func (Limit) Describe() string {
	return "a number and a window, such as 5/1m, or a percentage of a workload's ready pods, such as 10%/1m, or off"
}

// Off says that there is no limit.
func (l Limit) Off() bool { return l.Count == 0 }

// of is the limit in responses, for a workload with so many ready pods.
func (l Limit) of(ready int) int {
	if !l.Percent {
		return l.Count
	}
	return min(max(ready*l.Count/100, 1), maxCount)
}
