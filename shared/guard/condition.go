package guard

import (
	"context"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// Condition is WHEN: an expression in the Common Expression Language that must be true for the
// response to go ahead. https://cel.dev
//
//	alert.rule alert.priority alert.source alert.hostname alert.output   text
//	alert.severity                  0 (Emergency) to 7 (Debug)
//	alert.tags                      list of text
//	alert.time                      timestamp
//	alert.fields["proc.name"]       an output field of any type
//	target.kind target.namespace target.name target.uid target.node target.serviceAccount   text
//	target.labels target.annotations target.namespaceLabels   maps
//	target.images                   list of text
//	target.owner.kind target.owner.name   text
//
// Functions without a Kubernetes target have an empty target. An expression that fails, such as
// one that reads a field the alert does not have, is false: has() and "in" ask first.
type Condition struct {
	expression string
	program    cel.Program
}

const (
	// maxExpression bounds WHEN itself; costLimit what one evaluation may do.
	maxExpression = 4096
	costLimit     = 100_000
)

// UnmarshalText compiles the expression.
func (c *Condition) UnmarshalText(b []byte) error {
	if len(b) > maxExpression {
		return fmt.Errorf("it has %d bytes, more than %d", len(b), maxExpression)
	}
	environment, err := cel.NewEnv(
		cel.Variable("alert", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("target", cel.MapType(cel.StringType, cel.DynType)),
		ext.Strings(),
		// A constant that can never be read is a mistake to report at start, not at each alert.
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	)
	if err != nil {
		return fmt.Errorf("prepare CEL: %w", err)
	}
	ast, issues := environment.Compile(string(b))
	if issues.Err() != nil {
		return issues.Err()
	}
	if t := ast.OutputType(); t != cel.BoolType && t != cel.DynType {
		return fmt.Errorf("it gives %s, not true or false", t)
	}
	program, err := environment.Program(ast, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(100))
	if err != nil {
		return err
	}
	c.expression, c.program = string(b), program
	return nil
}

// MarshalText is the expression.
func (c Condition) MarshalText() ([]byte, error) { return []byte(c.expression), nil }

// Describe says what is allowed.
func (Condition) Describe() string { return "a CEL expression that gives true or false" }

// CheckTarget implements response.TargetGuard.
func (c Condition) CheckTarget(ctx context.Context, a falco.Alert, t response.Target) *response.Outcome {
	if c.program == nil {
		return nil
	}
	facts := t.Facts
	if facts == nil {
		facts = map[string]any{}
	}
	value, _, err := c.program.ContextEval(ctx, map[string]any{"alert": alertFacts(a), "target": facts})
	if err != nil {
		return refuse(response.ConditionError, "WHEN cannot be evaluated, so it is false: %s", err)
	}
	holds, ok := value.Value().(bool)
	if !ok {
		return refuse(response.ConditionError, "WHEN gives %s, not true or false, so it is false", value.Type())
	}
	if !holds {
		return refuse(response.ConditionFalse, "WHEN is false: %s", c.expression)
	}
	return nil
}

func alertFacts(a falco.Alert) map[string]any {
	return map[string]any{
		"rule": a.Rule, "priority": a.Priority.String(), "severity": int(a.Priority), "source": a.Source,
		"hostname": a.Hostname, "output": a.Output, "tags": a.Tags, "time": a.Time, "fields": plain(map[string]any(a.Fields)),
	}
}

// number is what json.Number and its kin offer.
type number interface {
	Int64() (int64, error)
	Float64() (float64, error)
	String() string
}

// plain turns decoded JSON into values CEL knows: whole numbers to int64, others to float64 and,
// beyond both, to text.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plain(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = plain(e)
		}
		return l
	case number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	}
	return v
}
