package generate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/source"
)

// lambdaFunction is a function on AWS Lambda: func.yaml, with lambda.yaml.
type lambdaFunction struct {
	source.Function `json:"-"`

	// Skip is why it is not there; empty if it is.
	Skip string `json:"skip,omitempty"`
	// Parameters are what the template has to be told for it, by name.
	Parameters map[string]lambdaParameter `json:"parameters,omitempty"`
	// Environment are variables that it has otherwise than in func.yaml; null takes one away.
	Environment map[string]any `json:"environment,omitempty"`
	// Policies are statements of IAM that its role has beside those that all have.
	Policies []object `json:"policies,omitempty"`
	// Schedule invokes it without an alert.
	Schedule string `json:"schedule,omitempty"`
	// Memory is in MB. The processor comes with it.
	Memory int `json:"memory,omitempty"`

	// id is its name in names of resources, in Kubernetes' rights its group.
	id, group string
	// kubernetes says that it acts on a cluster.
	kubernetes bool
	timeout    time.Duration
	// oldest is how old an alert may be.
	oldest time.Duration
}

type lambdaParameter struct {
	Description string `json:"description"`
	Pattern     string `json:"pattern"`
}

// NotOnLambda is why a function does not run on AWS Lambda; empty if it does.
func NotOnLambda(f source.Function) (string, error) {
	var l lambdaFunction
	if err := yaml.UnmarshalStrict(f.Lambda, &l); err != nil {
		return "", fmt.Errorf("%s: lambda.yaml: %w", f.Folder, err)
	}
	return l.Skip, nil
}

// LambdaParameter is the parameter of the template that says whether a function is deployed.
func LambdaParameter(function string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(function, "-") {
		name.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return name.String()
}

// leastMemory is enough for all. The processor is a share of one: 256 MB are a seventh.
const leastMemory = 256

// reserved are the variables that Lambda sets itself and lets nobody set.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
var reserved = regexp.MustCompile(`^(AWS_(REGION|DEFAULT_REGION|ACCESS_KEY|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|EXECUTION_ENV|XRAY_.*)|AWS_LAMBDA_.*|_.*|LAMBDA_TASK_ROOT|LAMBDA_RUNTIME_DIR)$`)

// onLambda reads what the function is there.
func onLambda(f source.Function, settings []source.Env) (lambdaFunction, error) {
	l := lambdaFunction{Function: f}
	if err := yaml.UnmarshalStrict(f.Lambda, &l); err != nil {
		return l, fmt.Errorf("lambda.yaml: %w", err)
	}
	if l.Skip != "" {
		if len(l.Parameters)+len(l.Environment)+len(l.Policies)+l.Memory+len(l.Schedule) > 0 {
			return l, errors.New("lambda.yaml: skip has fields beside it: want a reason, and nothing else in the file")
		}
		return l, nil
	}
	if len(f.Run.Volumes) > 0 {
		return l, errors.New("func.yaml: run.volumes has entries: AWS Lambda mounts none of them; want skip in lambda.yaml, or no volumes")
	}
	if l.Memory == 0 {
		l.Memory = leastMemory
	}
	if l.Memory < 128 || l.Memory > 10240 {
		return l, fmt.Errorf("lambda.yaml: memory is %d: want 128 to 10240", l.Memory)
	}
	l.id = LambdaParameter(f.Name)
	l.group = "riposte:" + f.Name
	roles, err := clusterRoles(f)
	if err != nil {
		return l, err
	}
	l.kubernetes = len(roles) > 0
	return l, l.times(settings)
}

// times reads how long an answer takes, how old an alert may be, and how long it waits for its evidence.
func (l *lambdaFunction) times(settings []source.Env) error {
	var evidence time.Duration
	for name, into := range map[string]*time.Duration{"RESPONSE_TIMEOUT": &l.timeout, "MAX_ALERT_AGE": &l.oldest, "REQUIRE_EVIDENCE": &evidence} {
		value := map[string]string{"RESPONSE_TIMEOUT": "25s", "MAX_ALERT_AGE": "10m", "REQUIRE_EVIDENCE": "0s"}[name]
		for _, e := range slices.Concat(settings, l.Run.Envs) {
			if e.Name == name {
				value = e.Value
			}
		}
		if own, ok := l.Environment[name].(string); ok {
			value = own
		}
		var err error
		if *into, err = time.ParseDuration(value); err != nil {
			return fmt.Errorf("%s is %q: want a duration", name, value)
		}
	}
	if l.timeout += 5 * time.Second; l.timeout > longestRun { // The function's own answer is the better one.
		return fmt.Errorf("RESPONSE_TIMEOUT is %s: want %s or less", l.timeout-5*time.Second, longestRun-5*time.Second)
	}
	if most := (queueAttempts - 1) * visibility * time.Second; evidence > most {
		return fmt.Errorf("REQUIRE_EVIDENCE is %s: want %s or less, because a queue tries no more after that", evidence, most)
	}
	return nil
}

// variables are those of the function alone.
func (l *lambdaFunction) variables() (object, error) {
	all := object{}
	for _, e := range l.Run.Envs {
		own, overridden := l.Environment[e.Name]
		switch r := e.Reference(); {
		case overridden:
			if own != nil {
				all[e.Name] = own
			}
		case e.Name == "" && r != nil && r.Kind == "configMap" && r.Name == source.Settings:
		case e.Name == "DRY_RUN", reserved.MatchString(e.Name): // The template's, and Lambda's.
		case r != nil:
			return nil, fmt.Errorf("func.yaml: %s is %q: want it in environment of lambda.yaml, where AWS Lambda can find it", e.Name, e.Value)
		default:
			all[e.Name] = e.Value
		}
	}
	for name, value := range l.Environment {
		if reserved.MatchString(name) {
			return nil, fmt.Errorf("lambda.yaml: environment has %s: want none of the names that AWS Lambda keeps for itself", name)
		}
		if value != nil {
			all[name] = value
		}
	}
	// A little below what there is, as in func.yaml.
	all["GOMEMLIMIT"] = fmt.Sprintf("%dMiB", l.Memory*85/100)
	if l.kubernetes {
		all["KUBE_CLUSTER"] = sub("eks:${" + paramCluster + "}")
	}
	return all, nil
}
