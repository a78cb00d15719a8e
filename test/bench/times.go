package bench

import (
	"fmt"
	"slices"
	"time"
)

// times are what one thing took, again and again.
type times []time.Duration

// at is the time that a part of all do not exceed: 0.5 is the median.
func (t times) at(part float64) time.Duration {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// against compares with a floor at the same part.
func (t times) against(floor times, part float64) (ratio float64, detail string) {
	mine, theirs := t.at(part), floor.at(part)
	return float64(mine) / float64(theirs), fmt.Sprintf("%s against %s", short(mine), short(theirs))
}

func short(d time.Duration) string {
	return number(float64(d)/float64(time.Millisecond)) + " ms"
}
