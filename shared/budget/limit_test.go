package budget_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/config"
)

func TestLimit(t *testing.T) {
	for text, want := range map[string]budget.Limit{
		"off":       {},
		"5/1m":      {Count: 5, Window: time.Minute},
		"1/1s":      {Count: 1, Window: time.Second},
		"10000/24h": {Count: 10000, Window: 24 * time.Hour},
		"10%/1m":    {Count: 10, Percent: true, Window: time.Minute},
		"100%/90s":  {Count: 100, Percent: true, Window: 90 * time.Second},
		"20/1h":     {Count: 20, Window: time.Hour},
		"7/1h30m":   {Count: 7, Window: 90 * time.Minute},
	} {
		t.Run(text, func(t *testing.T) {
			var got budget.Limit
			if err := got.UnmarshalText([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("limit (-want +got):\n%s", diff)
			}
			var again budget.Limit
			if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
				t.Errorf("%q is written as %q, which is read as %v, %v", text, got.String(), again, err)
			}
		})
	}
	for _, text := range []string{"5/1m", "10%/1m", "20/1h", "30/1m30s", "1/24h", "off"} {
		var l budget.Limit
		if err := l.UnmarshalText([]byte(text)); err != nil || l.String() != text {
			t.Errorf("%q is written as %q, %v", text, l, err)
		}
	}
}

func TestBadLimit(t *testing.T) {
	for _, text := range []string{
		"", "5", "/", "5/", "/1m", "0/1m", "-1/1m", "+5/1m", "05/1m", "10001/1m", "5.5/1m", "five/1m", "5/1", "5/m", "5/999ms", "5/24h1s",
		"5/-1m", "0%/1m", "101%/1m", "%/1m", "5%%/1m", "5 /1m", "5/ 1m", "OFF", "none", "5/1m/1m",
	} {
		var l budget.Limit
		if err := l.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, l)
		}
	}
}

func TestSettings(t *testing.T) {
	for name, test := range map[string]struct {
		environ map[string]string
		want    budget.Settings
		bad     bool
	}{
		"the defaults": {want: budget.Settings{
			Function: budget.Limit{Count: 5, Window: time.Minute}, Workload: budget.Limit{Count: 10, Percent: true, Window: time.Minute},
			Cluster: budget.Limit{Count: 20, Window: time.Hour},
		}},
		"none at all":                   {environ: map[string]string{"BUDGET_FUNCTION": "off", "BUDGET_WORKLOAD": "off", "BUDGET_CLUSTER": "off"}},
		"a percentage of a function":    {environ: map[string]string{"BUDGET_FUNCTION": "10%/1m"}, bad: true},
		"a percentage of a cluster":     {environ: map[string]string{"BUDGET_CLUSTER": "10%/1m"}, bad: true},
		"a limit that cannot be read":   {environ: map[string]string{"BUDGET_WORKLOAD": "ten"}, bad: true},
		"a misspelt name of a variable": {environ: map[string]string{"BUDGETCLUSTER": "1/1m"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got budget.Settings
			err := config.Load(test.environ, &got)
			if (err != nil) != test.bad {
				t.Fatalf("got error %v, want one: %t", err, test.bad)
			}
			if diff := cmp.Diff(test.want, got); !test.bad && diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}
