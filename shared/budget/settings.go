package budget

import (
	"errors"
	"fmt"
)

// Settings are the settings of every function that acts.
type Settings struct {
	Function Limit `env:"BUDGET_FUNCTION" envDefault:"5/1m" help:"Most responses of this function, over all its replicas, in any window of that length; no percentage."`
	Workload Limit `env:"BUDGET_WORKLOAD" envDefault:"10%/1m" help:"Most responses of this function to the pods of one workload; a percentage is of its ready pods, at least one."`
	Cluster  Limit `env:"BUDGET_CLUSTER" envDefault:"20/1h" help:"Most responses of all functions together that keep their claims in the same place; no percentage."`
}

// Validate checks what the type does not.
func (s Settings) Validate() error {
	var errs []error
	for name, l := range map[string]Limit{"BUDGET_FUNCTION": s.Function, "BUDGET_CLUSTER": s.Cluster} {
		if l.Percent {
			errs = append(errs, fmt.Errorf("%s is %q: want a number and a window, such as 5/1m, or off: only BUDGET_WORKLOAD knows what to take a percentage of", name, l))
		}
	}
	return errors.Join(errs...)
}
