package function

import (
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
)

func TestSettings(t *testing.T) {
	const key = "CALLBACK_KEY=0123456789abcdef01234567"
	async := []string{"TRIGGERS=/t", "FUNCTION_URL=http://g/async-function/{function}"}
	tests := map[string]struct {
		environ []string
		wrong   []string // what the error names; none for settings that are right
	}{
		"triggers":                    {[]string{"TRIGGERS=/t"}, nil},
		"a sink":                      {[]string{"K_SINK=http://broker/x"}, nil},
		"a gateway":                   {[]string{"TRIGGERS=/t", "FUNCTION_URL=http://{function}.{namespace}.svc"}, nil},
		"the queue":                   {append([]string{"CALLBACK_URL=http://g/function/router", "JOURNAL_URL=s3://b/p?region=eu-west-1", key}, async...), nil},
		"a folder for dead letters":   {[]string{"TRIGGERS=/t", "DEAD_LETTER_URL=file:///dead"}, nil},
		"neither triggers nor a sink": {nil, []string{"TRIGGERS and K_SINK are not set"}},
		"triggers and a sink":         {[]string{"TRIGGERS=/t", "K_SINK=http://b"}, []string{`TRIGGERS is "/t" and K_SINK is "http://b"`}},
		"a sink that is no address":   {[]string{"K_SINK=broker"}, []string{`K_SINK is "broker": want http://`}},
		"a sink with a password":      {[]string{"K_SINK=http://a:b@c"}, []string{"no password"}},
		"a sink and functions":        {[]string{"K_SINK=http://b", "FUNCTION_URL=http://g/{function}"}, []string{"FUNCTION_URL"}},
		"a sink that may lose":        {[]string{"K_SINK=http://b", "JOURNAL_URL=file:///j"}, []string{"DEAD_LETTER_URL is not set"}},
		"overrides without a sink":    {[]string{"TRIGGERS=/t", `K_CE_OVERRIDES={"extensions":{"a":"b"}}`}, []string{"K_CE_OVERRIDES"}},
		"overrides that are no JSON":  {[]string{"K_SINK=http://b", "K_CE_OVERRIDES=a=b"}, []string{`K_CE_OVERRIDES is "a=b": want JSON`}},
		"an impossible attribute":     {[]string{"K_SINK=http://b", `K_CE_OVERRIDES={"extensions":{"k8s.ns":"b"}}`}, []string{`"k8s.ns"`}},
		"an address of one function":  {[]string{"TRIGGERS=/t", "FUNCTION_URL=http://g/function/x"}, []string{"FUNCTION_URL", "{function}"}},
		"a placeholder nobody knows":  {[]string{"TRIGGERS=/t", "FUNCTION_URL=http://g/{function}/{name}"}, []string{"FUNCTION_URL", "{namespace}"}},
		"the queue without results":   {async, []string{"CALLBACK_URL is not set although"}},
		"results without the queue":   {[]string{"TRIGGERS=/t", "CALLBACK_URL=http://r", "JOURNAL_URL=file:///j", key}, []string{"/async-function/"}},
		"the queue without a journal": {append([]string{"CALLBACK_URL=http://r", key}, async...), []string{"JOURNAL_URL is not set"}},
		"the queue without a key":     {append([]string{"CALLBACK_URL=http://r", "JOURNAL_URL=file:///j"}, async...), []string{"CALLBACK_KEY is not set"}},
		"a key that is short":         {append([]string{"CALLBACK_URL=http://r", "JOURNAL_URL=file:///j", "CALLBACK_KEY=short"}, async...), []string{"CALLBACK_KEY, line 1, has 5 characters"}},
		"a journal nobody knows":      {[]string{"TRIGGERS=/t", "JOURNAL_URL=ftp://x"}, []string{`JOURNAL_URL is "ftp://x"`}},
		"a journal by HTTP":           {[]string{"TRIGGERS=/t", "JOURNAL_URL=http://x"}, []string{`JOURNAL_URL is "http://x"`}},
		"a relative folder":           {[]string{"TRIGGERS=/t", "JOURNAL_URL=file://x/y"}, []string{`JOURNAL_URL is "file://x/y"`}},
		"a bucket's typing error":     {[]string{"TRIGGERS=/t", "JOURNAL_URL=s3://b?regoin=x"}, []string{`parameter "regoin" is unknown`}},
		"a dead letter nowhere":       {[]string{"TRIGGERS=/t", "DEAD_LETTER_URL=dead"}, []string{`DEAD_LETTER_URL is "dead"`}},
		"numbers out of range":        {[]string{"TRIGGERS=/t", "FUNCTION_CONCURRENCY=0", "FUNCTION_QUEUE=0", "RESPONSE_TIMEOUT=1ms", "JOURNAL_TAKEOVER=1ms"}, []string{"FUNCTION_CONCURRENCY is 0", "FUNCTION_QUEUE is 0", "RESPONSE_TIMEOUT is", "JOURNAL_TAKEOVER is"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			environ := map[string]string{}
			for _, one := range test.environ {
				name, value, _ := strings.Cut(one, "=")
				environ[name] = value
			}
			var settings output
			err := config.Load(environ, &settings)
			if (err != nil) != (test.wrong != nil) {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range test.wrong {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
		})
	}
}

// What some write into an address is not repeated in a log.
func TestSettingsDoNotTellPasswords(t *testing.T) {
	const address = "http://user:hunter2@host/{function}"
	for name, environ := range map[string]map[string]string{
		"K_SINK": {"K_SINK": address}, "K_SINK is": {"K_SINK": address, "TRIGGERS": "/t"},
		"FUNCTION_URL":       {"TRIGGERS": "/t", "FUNCTION_URL": address},
		"FUNCTION_URL is":    {"K_SINK": "http://b", "FUNCTION_URL": address},
		"DEAD_LETTER_URL is": {"TRIGGERS": "/t", "DEAD_LETTER_URL": "http://user:hunter2 x@host/"},
		"JOURNAL_URL is":     {"TRIGGERS": "/t", "JOURNAL_URL": "ftp://user:hunter2@host"},
		`JOURNAL_URL is "s3`: {"TRIGGERS": "/t", "JOURNAL_URL": "s3://b?secret_access_key=hunter2"},
		`K_SINK is "http`:    {"K_SINK": "http://user:a/hunter2@host", "TRIGGERS": "/t"},
		"CALLBACK_URL is":    {"TRIGGERS": "/t", "CALLBACK_URL": "http://user:hunter2@host", "CALLBACK_KEY": "0123456789abcdef01234567"},
		"CALLBACK_URL":       {"TRIGGERS": "/t", "FUNCTION_URL": "http://user:hunter2@g/async-function/{function}"},
	} {
		var settings output
		if err := config.Load(environ, &settings); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message that is no alert must not come again for ever.
func TestNATSNeedsAGrave(t *testing.T) {
	environ := map[string]string{"AUTH": "off", "TRIGGERS": "/t", "NATS_URL": "nats://nats"}
	if err := config.Load(environ, new(Config)); err == nil || !strings.Contains(err.Error(), "DEAD_LETTER_URL is not set: want it with NATS_URL") {
		t.Errorf("the error is %v", err)
	}
	environ["DEAD_LETTER_URL"] = "file:///dead"
	if err := config.Load(environ, new(Config)); err != nil {
		t.Error(err)
	}
}
