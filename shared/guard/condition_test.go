package guard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
)

func compile(tb testing.TB, expression string) guard.Condition {
	tb.Helper()
	var c guard.Condition
	if err := c.UnmarshalText([]byte(expression)); err != nil {
		tb.Fatalf("%s: %v", expression, err)
	}
	return c
}

func sample() (falco.Alert, response.Target) {
	alert := falco.Alert{
		Rule: "Terminal shell in container", Priority: falco.Warning, Source: "syscall", Hostname: "node-1", Output: "a shell",
		Time: time.Date(2026, 1, 1, 0, 0, 0, 123456789, time.UTC), Tags: []string{"shell", "T1059"},
		Fields: falco.Fields{
			"proc.name": "sh", "user.uid": json.Number("0"), "evt.time": json.Number("1767225600123456789"), "half": json.Number("0.5"),
			"big": json.Number("123456789012345678901234567890"), "huge": json.Number("1e999"), "null": nil, "flag": true,
			"list": []any{json.Number("1"), "b"}, "object": map[string]any{"inner": json.Number("9007199254740993")},
		},
	}
	target := response.Target{Facts: map[string]any{
		"kind": "Pod", "namespace": "shop", "name": "cart-0", "uid": "u-1", "node": "node-1", "serviceAccount": "default",
		"labels": map[string]string{"app": "cart"}, "annotations": map[string]string{}, "namespaceLabels": map[string]string{"env": "prod"},
		"images": []string{"docker.io/library/alpine:3.20", "sidecar"}, "owner": map[string]any{"kind": "Deployment", "name": "cart"},
	}}
	return alert, target
}

func TestCondition(t *testing.T) {
	nested := "alert.tags.exists(a, " + strings.Repeat("[1,2,3,4,5,6,7,8,9,0].all(x, ", 8) + "a != 'never'" + strings.Repeat(")", 9)
	cases := map[string]struct {
		expression string
		want       response.Reason
	}{
		"true":                                   {`true`, ""},
		"false":                                  {`false`, response.ConditionFalse},
		"the rule":                               {`alert.rule == "Terminal shell in container"`, ""},
		"another rule":                           {`alert.rule == "terminal shell in container"`, response.ConditionFalse},
		"the priority":                           {`alert.priority == "Warning" && alert.severity <= 4`, ""},
		"source, host and output":                {`alert.source == "syscall" && alert.hostname == "node-1" && alert.output.contains("shell")`, ""},
		"a tag":                                  {`"T1059" in alert.tags`, ""},
		"a tag that is not there":                {`"T1000" in alert.tags`, response.ConditionFalse},
		"the time":                               {`alert.time > timestamp("2026-01-01T00:00:00Z") && alert.time.getFullYear() == 2026`, ""},
		"a field":                                {`alert.fields["proc.name"] == "sh"`, ""},
		"a whole number":                         {`alert.fields["user.uid"] == 0`, ""},
		"a whole number above 2^53":              {`alert.fields["evt.time"] == 1767225600123456789`, ""},
		"a whole number above 2^53, one off":     {`alert.fields["evt.time"] == 1767225600123456788`, response.ConditionFalse},
		"a fraction":                             {`alert.fields["half"] < 0.6`, ""},
		"a number beyond 64 bits":                {`alert.fields["big"] > 1e29`, ""},
		"a number beyond all is text":            {`alert.fields["huge"] == "1e999"`, ""},
		"null":                                   {`alert.fields["null"] == null`, ""},
		"a flag":                                 {`alert.fields["flag"]`, ""},
		"inside a list":                          {`alert.fields["list"][0] == 1 && alert.fields["list"][1] == "b"`, ""},
		"inside an object":                       {`alert.fields["object"].inner == 9007199254740993`, ""},
		"a field that is asked for first":        {`"nope" in alert.fields && alert.fields["nope"] == "x"`, response.ConditionFalse},
		"has":                                    {`has(alert.fields.flag) && !has(alert.fields.nope)`, ""},
		"the target":                             {`target.kind == "Pod" && target.namespace == "shop" && target.name == "cart-0" && target.uid == "u-1"`, ""},
		"labels":                                 {`target.labels["app"] == "cart" && target.namespaceLabels.env == "prod" && !("x" in target.annotations)`, ""},
		"images":                                 {`target.images.exists(i, i.startsWith("docker.io/"))`, ""},
		"node, account and owner":                {`target.node == "node-1" && target.serviceAccount == "default" && target.owner.kind == "Deployment" && target.owner.name == "cart"`, ""},
		"string functions":                       {`alert.rule.lowerAscii().split(" ")[0] == "terminal"`, ""},
		"a missing field":                        {`alert.fields["nope"] == "x"`, response.ConditionError},
		"a missing field, denied":                {`!(alert.fields["nope"] == "x")`, response.ConditionError},
		"a missing field behind true":            {`true || alert.fields["nope"] == "x"`, ""},
		"a missing part of the alert":            {`alert.nope == "x"`, response.ConditionError},
		"a missing fact":                         {`target.nope == "x"`, response.ConditionError},
		"a missing label":                        {`target.labels["nope"] == "x"`, response.ConditionError},
		"text where true or false is needed":     {`alert.fields["proc.name"]`, response.ConditionError},
		"a number where true or false is needed": {`alert.fields["user.uid"]`, response.ConditionError},
		"null where true or false is needed":     {`alert.fields["null"]`, response.ConditionError},
		"the alert itself":                       {`alert.fields`, response.ConditionError},
		"types that cannot be compared":          {`alert.fields["proc.name"] < 5`, response.ConditionError},
		"division by zero":                       {`1 / alert.fields["user.uid"] == 1`, response.ConditionError},
		"overflow":                               {`alert.fields["evt.time"] * 1767225600123456789 > 0`, response.ConditionError},
		"an index beyond the list":               {`alert.tags[7] == "x"`, response.ConditionError},
		"a bad regular expression":               {`alert.rule.matches(alert.fields["proc.name"] + "(")`, response.ConditionError},
		"ten to the eighth steps":                {nested, response.ConditionError},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			condition := compile(t, c.expression)
			alert, target := sample()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			began := time.Now()
			if got := refused(t, condition.CheckTarget(ctx, alert, target)); got != c.want {
				t.Errorf("reason is %q, want %q", got, c.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s: the limit on its cost did not end it", took)
			}
			if text, err := condition.MarshalText(); err != nil || string(text) != c.expression {
				t.Errorf("expression reads %q, %v", text, err)
			}
		})
	}
}

// Without WHEN everything may go ahead; functions without a target can still ask about one.
func TestConditionWithoutAnything(t *testing.T) {
	alert, target := sample()
	if got := refused(t, guard.Condition{}.CheckTarget(t.Context(), alert, target)); got != "" {
		t.Errorf("no condition refuses: %s", got)
	}
	if got := refused(t, compile(t, `!has(target.namespace) && size(target) == 0`).CheckTarget(t.Context(), alert, response.Target{})); got != "" {
		t.Errorf("no target refuses: %s", got)
	}
	if got := refused(t, compile(t, `size(alert.tags) == 0 && size(alert.fields) == 0`).CheckTarget(t.Context(), falco.Alert{}, target)); got != "" {
		t.Errorf("an alert without tags and fields refuses: %s", got)
	}
}

func TestConditionRefusesBadExpressions(t *testing.T) {
	for name, expression := range map[string]string{
		"text":                  `"true"`,
		"a number":              `1`,
		"a list":                `[true]`,
		"a timestamp":           `timestamp("2026-01-01T00:00:00Z")`,
		"null":                  `null`,
		"a type":                `type(true)`,
		"a text function":       `alert.rule.lowerAscii()`,
		"an unfinished one":     `alert.rule ==`,
		"an unknown name":       `pod.name == "x"`,
		"an unknown function":   `alert.rule.explode()`,
		"blank":                 `  `,
		"types that never fit":  `1 == "1"`,
		"a bad constant regexp": `"x".matches("(")`,
		"a bad constant time":   `alert.time > timestamp("yesterday")`,
		"a bad constant period": `alert.time - duration("1 day") > alert.time`,
		"too long":              `true || ` + strings.Repeat(" ", 4096) + `true`,
		"too deep":              strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000),
		"too deep without end":  strings.Repeat("[", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			var c guard.Condition
			if err := c.UnmarshalText([]byte(expression)); err == nil || err.Error() == "" {
				t.Errorf("%.80s is accepted, %v", expression, err)
			}
			if got := refused(t, c.CheckTarget(t.Context(), falco.Alert{}, response.Target{})); got != "" {
				t.Errorf("what was refused is still evaluated: %s", got)
			}
		})
	}
}

func TestConditionStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	alert, target := sample()
	var numbers []any
	for i := range 5000 {
		numbers = append(numbers, json.Number(fmt.Sprint(i)))
	}
	alert.Fields["list"] = numbers
	c := compile(t, `alert.fields["list"].all(x, x >= 0)`)
	if got := refused(t, c.CheckTarget(ctx, alert, target)); got != response.ConditionError {
		t.Errorf("reason is %q, want %q", got, response.ConditionError)
	}
	if got := refused(t, c.CheckTarget(t.Context(), alert, target)); got != "" {
		t.Errorf("the same with time left: %q", got)
	}
}

// FuzzCondition: whatever the expression and the alert, nothing panics, and only what is true lets a response go ahead.
func FuzzCondition(f *testing.F) {
	for _, expression := range []string{
		`true`, `false`, `alert.rule == "x"`, `alert.fields["proc.name"]`, `alert.fields`, `"a" in alert.tags`, `has(target.x)`,
		`alert.tags.all(t, t.size() > 1)`, `alert.time > timestamp("2026-01-01T00:00:00Z")`, `alert.output.matches("(a+)+$")`,
		`1/0 == 1`, `alert.rule.replace("a", "b") == "c"`, `[1,2].map(x, x*2) == alert.fields["list"]`, `(`, ``, `"\u0000"`,
	} {
		f.Add(expression, `{"proc.name":true,"list":[2,4]}`, "a shell")
	}
	f.Fuzz(func(t *testing.T, expression, fields, text string) {
		var c guard.Condition
		if err := c.UnmarshalText([]byte(expression)); err != nil {
			if err.Error() == "" {
				t.Error("refused without a reason")
			}
			return
		}
		alert, target := sample()
		alert.Rule, alert.Output, alert.Tags = text, text, strings.Fields(text)
		d := json.NewDecoder(strings.NewReader(fields))
		d.UseNumber()
		_ = d.Decode(&alert.Fields)
		// Only true is true: what lets a response go ahead is not true once it is denied.
		denied := compileDenied(expression)
		if c.CheckTarget(t.Context(), alert, target) == nil && denied != nil && denied.CheckTarget(t.Context(), alert, target) == nil {
			t.Errorf("both %q and its opposite are true", expression)
		}
	})
}

// compileDenied is the opposite of an expression; nil where that does not compile, as an expression with a comment may not.
func compileDenied(expression string) *guard.Condition {
	var c guard.Condition
	if err := c.UnmarshalText([]byte("!(" + expression + "\n)")); err != nil {
		return nil
	}
	return &c
}
