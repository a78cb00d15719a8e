package function

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
)

// Replicas is MIN_HEALTHY_REPLICAS: a number, or a share of the replicas wanted.
type Replicas struct {
	number  int
	percent bool
}

// UnmarshalText reads 2 or 50%.
func (m *Replicas) UnmarshalText(b []byte) error {
	digits, percent := strings.CutSuffix(string(b), "%")
	number, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || (percent && number > 100) {
		return errors.New("neither a number nor 0% to 100%")
	}
	m.number, m.percent = int(number), percent
	return nil
}

// Describe says what is allowed.
func (Replicas) Describe() string {
	return "a number such as 2, or a share of the wanted replicas such as 50%"
}

// enough says whether healthy replicas out of wanted satisfy the minimum; a share counts exactly, unrounded.
func (m Replicas) enough(healthy, wanted int) bool {
	if m.percent {
		return healthy*100 >= m.number*wanted
	}
	return healthy >= m.number
}

func (m Replicas) String() string {
	if m.percent {
		return fmt.Sprintf("%d%%", m.number)
	}
	return strconv.Itoa(m.number)
}

// check refuses a deletion that leaves the topmost owner too few healthy replicas, or nobody knows how many. Jobs
// have no replicas, and whether a pod without a controller may go is for SKIP_STANDALONE to say.
func (m Replicas) check(found *target.Found) *response.Outcome {
	controller, owner := metav1.GetControllerOf(found.Pod), found.Top()
	if m.number == 0 || controller == nil || controller.Kind == "Job" {
		return nil
	}
	if owner == nil || owner.Spec.Replicas == nil {
		o := response.Refuse(response.TooFewReplicas, "how many replicas %s %s has is not known, MIN_HEALTHY_REPLICAS is %s", controller.Kind, controller.Name, m)
		return &o
	}
	healthy, wanted := int(owner.Status.ReadyReplicas), int(*owner.Spec.Replicas)
	if isReady(found.Pod) {
		healthy--
	}
	if m.enough(healthy, wanted) {
		return nil
	}
	o := response.Refuse(response.TooFewReplicas, "%d of %d replicas of %s %s would be healthy afterwards, MIN_HEALTHY_REPLICAS is %s",
		max(healthy, 0), wanted, owner.Kind, owner.Name, m)
	return &o
}

func isReady(p *api.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c api.PodCondition) bool {
		return c.Type == api.PodReady && c.Status == api.ConditionTrue
	})
}
