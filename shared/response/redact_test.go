package response_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// What finds the target cannot be left out, and the error says so by name.
func TestRedactionNeedsTheTarget(t *testing.T) {
	err := response.Redaction{Fields: config.List{"k8s.pod.name"}}.Validate()
	for _, name := range []string{"k8s.ns.name", "k8s.pod.name", "k8s.pod.uid", "container.id"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	for list, valid := range map[string]bool{
		"proc.cmdline": true, "user.*": true, "*.cmdline": true, "proc.*,fd.name": true, "k8s.pod.labels": true, "nothing.like.it": true,
		"container.image.*": true, "": true, "ka.uri.param[command]": true, "a b": false, "\x00": false, "é": false,
		"k8s.ns.name": false, "k8s.pod.name": false, "k8s.pod.uid": false, "k8s.pod.id": false, "container.id": false, "container.full_id": false,
		"ct.id": false, "ka.auditid": false, "ka.target.name": false,
		"*": false, "k8s.*": false, "*.id": false, "user.name,container*": false, "k8s.*.name": false, "*k8s*pod*uid*": false,
	} {
		var fields config.List
		if list != "" {
			fields = strings.Split(list, ",")
		}
		err := response.Redaction{Fields: fields}.Validate()
		if (err == nil) != valid {
			t.Errorf("REDACT=%s: %v", list, err)
		}
		if err != nil && !strings.Contains(err.Error(), "REDACT") {
			t.Errorf("REDACT=%s: the error does not name the variable: %v", list, err)
		}
	}
}

// sensitive is a record with one value in many places.
func sensitive() response.Record {
	return response.Record{
		Message: "would kill mysql -u root -phunter22 of 4471",
		Alert: falco.Alert{
			Rule: "Run shell untrusted", Priority: falco.Notice, Source: "syscall", Hostname: "node-1",
			Output: "shell (user=alice command=mysql -u root -phunter22 pid=4471 argument=mysql -u ro[...]",
			Fields: falco.Fields{
				"proc.cmdline": "mysql -u root -phunter22", "proc.pcmdline": "sh -c 'mysql -u root -phunter22'", "proc.pid": json.Number("4471"),
				"user.name": "alice", "proc.name": "sh", "k8s.pod.name": "alice", "evt.args": []any{"mysql -u root -phunter22", json.Number("7")},
				"nested": map[string]any{"mysql -u root -phunter22": nil, "flag": true},
			},
		},
		Target:  &response.Target{Kind: "Pod", Namespace: "shop", Name: "alice"},
		Changes: []response.Change{{Field: "metadata.labels[alice]", Before: []string{"alice"}, After: map[string]string{"by": "alice"}}},
		Details: map[string]any{
			"output": "alice\nalice", "count": 4471, "alice": struct{ Name string }{"alice"}, "error": json.RawMessage(`{"cmd":"x alice x"}`), "sum": 0.5,
		},
	}
}

func TestRedactionTakesValuesOut(t *testing.T) {
	r := response.Redaction{Fields: config.List{"proc.cmdline", "user.*", "proc.pid", "proc.name", "absent.*"}}
	record := sensitive()
	got := r.Apply(record)
	want := response.Record{
		Message: "would kill [redacted] of [redacted]",
		Alert: falco.Alert{
			Rule: "Run shell untrusted", Priority: falco.Notice, Source: "syscall", Hostname: "node-1",
			Output: "shell (user=[redacted] command=[redacted] pid=[redacted] argument=[redacted]",
			Fields: falco.Fields{
				"proc.cmdline": "[redacted]", "proc.pcmdline": "sh -c '[redacted]'", "proc.pid": "[redacted]", "user.name": "[redacted]",
				"proc.name": "[redacted]", "k8s.pod.name": "alice", "evt.args": []any{"[redacted]", json.Number("7")},
				"nested": map[string]any{"[redacted]": nil, "flag": true},
			},
		},
		Target:  &response.Target{Kind: "Pod", Namespace: "shop", Name: "alice"},
		Changes: []response.Change{{Field: "metadata.labels[[redacted]]", Before: []string{"[redacted]"}, After: map[string]any{"by": "[redacted]"}}},
		Details: map[string]any{
			"output": "[redacted]\n[redacted]", "count": 4471, "[redacted]": map[string]any{"Name": "[redacted]"},
			"error": map[string]any{"cmd": "x [redacted] x"}, "sum": 0.5,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sensitive(), record); diff != "" {
		t.Errorf("the record itself changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(want.Alert, r.Alert(sensitive().Alert)); diff != "" {
		t.Errorf("alert alone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, r.Apply(got)); diff != "" {
		t.Errorf("the second time it is another (-first +second):\n%s", diff)
	}
}

// An outcome that is given again, out of the claim that holds it, has the same bytes.
func TestPublishedRecordStaysAsItIs(t *testing.T) {
	type taint struct{ Key, Effect string }
	record := answer(t, alertEvent(t, "37"), response.Outcome{
		Verdict: response.Applied, Target: cart, Changes: []response.Change{{Field: "spec.taints", Before: []taint{}, After: []taint{{"z", "a"}}}},
		Details: map[string]any{"typed": taint{"k", "e"}, "number": 1e21, "large": int64(1)<<53 + 1, "half": 0.5, "time": now, "bytes": []byte("x"), "html": "<a&b>"},
	}, nil)
	first, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := response.DecodeRecord(first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(again)); diff != "" {
		t.Errorf("encoded, decoded and encoded (-first +again):\n%s", diff)
	}
}

func TestRedactionTakesTheLongestValueOut(t *testing.T) {
	r := response.Redaction{Fields: config.List{"user.*"}}
	got := r.Alert(falco.Alert{Output: "alice-of-shop alice alice-of", Fields: falco.Fields{"user.name": "alice", "user.loginname": "alice-of-shop", "user.x": "alice-of"}})
	if want := "[redacted] [redacted] [redacted]"; got.Output != want {
		t.Errorf("output is %q, want %q", got.Output, want)
	}
}

// Settings that were not checked cannot take the target away either.
func TestRedactionKeepsWhatIdentifies(t *testing.T) {
	a := falco.Alert{Output: "in pod cart-0", Fields: falco.Fields{"k8s.pod.name": "cart-0", "ct.id": "e-0001", "k8s.pod.labels": "app=cart"}}
	got := response.Redaction{Fields: config.List{"*"}}.Alert(a)
	a.Fields["k8s.pod.labels"] = response.Redacted
	if diff := cmp.Diff(a, got); diff != "" {
		t.Errorf("alert (-want +got):\n%s", diff)
	}
}

// Falcosidekick cuts long fields, Falco's output and ours are cut where it happens.
func TestRedactionOfWhatWasCut(t *testing.T) {
	secret := "open-" + strings.Repeat("sesame-", 100)
	r := response.Redaction{Fields: config.List{"fd.name"}}
	for name, c := range map[string]struct{ field, output, want string }{
		"the field is":           {secret[:512] + "[...]", "file=" + secret + " user=x", "file=[redacted]"},
		"the field in a letter":  {secret[:100] + "\ufffd[...]", "file=" + secret + " user=x", "file=[redacted]"},
		"the output is":          {secret, "file=" + secret[:200] + "[...]", "file=[redacted]"},
		"the output by an other": {secret, "file=" + secret[:200] + "...", "file=[redacted]"},
		"both are":               {secret[:512] + "[...]", "file=" + secret[:300] + "[...]", "file=[redacted]"},
		"neither is":             {secret, "file=" + secret + " user=x", "file=[redacted] user=x"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.Alert(falco.Alert{Output: c.output, Fields: falco.Fields{"fd.name": c.field}})
			if got.Output != c.want {
				t.Errorf("output is %q, want %q", got.Output, c.want)
			}
		})
	}
}

// Nothing that has to be told is taken for a credential.
func TestRedactionLeavesAlertsAlone(t *testing.T) {
	for _, c := range testkit.Captures(t) {
		if c.Rejected {
			continue
		}
		a, err := falco.Decode(c.Alert)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a.Compact(), response.Redaction{}.Alert(a)); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s", c.Name, diff)
		}
	}
	for _, text := range []string{
		"K8s Secret Created (user=alice secret=web-tls ns=shop resource=secrets resp=201)",
		"cwd=/tmp pwd=/tmp PWD=/tmp OLDPWD=/", "kubectl get secret web-tls -n shop", "cat /etc/passwd /var/run/secrets/kubernetes.io/serviceaccount/token",
		"password authentication failed for user bob", "ssh-keygen -t ed25519 -f id", "docker run -u 1000:1000 alpine", "https://example.com:8443/a?b=c@d",
		"PASSWORD_FILE=/run/secrets/db", "AWS_SHARED_CREDENTIALS_FILE=/x", "the bearer of bad news", "eyJ is how it begins", "monkey=banana tokenizer=bpe",
		"key=value", "--keyring --token-file /x", "basic authentication", "tokens 4 of 5",
	} {
		record := response.Redaction{}.Apply(response.Record{Message: text})
		if record.Message != text {
			t.Errorf("%q became %q", text, record.Message)
		}
	}
}

func TestRedactionOfCredentials(t *testing.T) {
	const (
		header = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ"
		jwt    = header + ".eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.c2lnbmF0dXJl-_"
	)
	var pem bytes.Buffer // Written in parts, so that nobody takes this file for a key.
	fmt.Fprintf(&pem, "-----BEGIN %s-----\nMIIEvAIBADANBgkqhkiG9w0\nAAAA\n-----END %s-----", "RSA PRIVATE KEY", "RSA PRIVATE KEY")
	ghp, glpat, xoxb, aiza := "ghp_"+strings.Repeat("a1B2", 9), "glpat-"+strings.Repeat("x", 20), "xoxb-"+"1234567890-abcdef", "AIza"+strings.Repeat("Sy", 18)
	akia := "AKIA" + "IOSFODNN7EXAMPLE"
	for text, want := range map[string]string{
		"token " + jwt + " in use":                                         "token [redacted] in use",
		`{"jwt":"` + jwt + `"}`:                                            `{"jwt":"[redacted]"}`,
		"cut " + header[:20] + "[...]":                                     "cut [redacted][...]",
		"a " + pem.String() + " b":                                         "a [redacted] b",
		"a " + pem.String()[:50]:                                           "a [redacted]",
		"id " + akia + ".":                                                 "id [redacted].",
		"x " + ghp + " y " + glpat:                                         "x [redacted] y [redacted]",
		xoxb + "," + aiza:                                                  "[redacted],[redacted]",
		"https://hooks.slack.com/services/T000/B000/XXXX posted":           "https://hooks.slack.com/[redacted] posted",
		"curl -H 'Authorization: Basic dXNlcjpwYXNz' https://x":            "curl -H 'Authorization: Basic [redacted]' https://x",
		"curl -H \"authorization: abcdef\" x":                              "curl -H \"authorization: [redacted]\" x",
		"Bearer 0123456789abcdef0123":                                      "Bearer [redacted]",
		"psql postgres://bob:hunter2@db:5432/x":                            "psql postgres://bob:[redacted]@db:5432/x",
		"redis://:hunter2@cache/0":                                         "redis://:[redacted]@cache/0",
		"git clone https://0123456789abcdef0123@git.example/x":             "git clone https://[redacted]@git.example/x",
		"https://a.blob.example/c?sv=1&sig=abc%2Bdef&se=2":                 "https://a.blob.example/c?sv=1&sig=[redacted]&se=2",
		"https://b.s3.example/k?X-Amz-Signature=0a1b2c&X-Amz-Date=1":       "https://b.s3.example/k?X-Amz-Signature=[redacted]&X-Amz-Date=1",
		"DB_PASSWORD=hunter2 HOME=/root":                                   "DB_PASSWORD=[redacted] HOME=/root",
		"env PGPASSWORD='a b c' psql":                                      "env PGPASSWORD=[redacted] psql",
		"MYSQL_PWD=hunter2 mysql":                                          "MYSQL_PWD=[redacted] mysql",
		"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY x": "AWS_SECRET_ACCESS_KEY=[redacted] x",
		"AccountName=a;AccountKey=0123==;x":                                "AccountName=a;AccountKey=[redacted];x",
		"api-key: abc, next":                                               "api-key: [redacted], next",
		`{"password": "hunter2", "a": 1}`:                                  `{"password": [redacted], "a": 1}`,
		`{\"password\":\"hunter2\",\"a\":1}`:                               `{\"password\":[redacted],\"a\":1}`,
		"app --password hunter2 --user bob":                                "app --password [redacted] --user bob",
		"app --password=hunter2 --user bob":                                "app --password=[redacted] --user bob",
		"app -token 'a b' x":                                               "app -token [redacted] x",
		"app --client-secret abc":                                          "app --client-secret [redacted]",
		"APP_SECRET=abc":                                                   "APP_SECRET=[redacted]",
		"curl -s -u bob:hunter2 https://x":                                 "curl -s -u bob:[redacted] https://x",
		"curl --user=bob:hunter2 https://x":                                "curl --user=bob:[redacted] https://x",
		"GITHUB_TOKEN=abc PASSPHRASE2=d":                                   "GITHUB_TOKEN=[redacted] PASSPHRASE2=[redacted]",
	} {
		t.Run(text, func(t *testing.T) {
			alert := falco.Alert{Output: text, Fields: falco.Fields{"proc.cmdline": text, "k8s.ns.name": text, "list": []any{map[string]any{"x": text}}}}
			got := response.Redaction{}.Apply(response.Record{Message: text, Alert: alert, Details: map[string]any{"x": text}})
			for where, redacted := range map[string]any{
				"message": got.Message, "output": got.Alert.Output, "field": got.Alert.Fields["proc.cmdline"], "detail": got.Details["x"],
			} {
				if redacted != want {
					t.Errorf("%s is\n%v, want\n%s", where, redacted, want)
				}
			}
			if diff := cmp.Diff([]any{map[string]any{"x": want}}, got.Alert.Fields["list"]); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
			if got.Alert.Fields["k8s.ns.name"] != text {
				t.Error("the target's namespace was changed")
			}
			if again := (response.Redaction{}).Apply(got); again.Message != want {
				t.Errorf("the second time it is %q", again.Message)
			}
		})
	}
}

// FuzzRedaction: wherever a redacted value stood, it is not in the event.
func FuzzRedaction(f *testing.F) {
	for _, seed := range []string{"hunter22", `a"b\c<d>&é`, "x\x00y\nz ", "….secret…", "aaaaaaaa", "password=abcd", "1234567", "[...]abcd[...]", "\u2028line"} {
		f.Add(seed, "before ", " after", 12)
	}
	f.Fuzz(func(t *testing.T, value, before, after string, cut int) {
		needle := strings.TrimSpace(value)
		if utf8.RuneCountInString(needle) < 4 || !utf8.ValidString(value) || !utf8.ValidString(before) || !utf8.ValidString(after) {
			return
		}
		quoted, err := json.Marshal(needle)
		if err != nil {
			t.Fatal(err)
		}
		shown := func(event string) bool {
			return slices.ContainsFunc(texts(t, event), func(text string) bool {
				return strings.Contains(text, needle) || strings.Contains(text, strings.Trim(string(quoted), `"`))
			})
		}
		// What is in the frame of every event, or in the mark itself, cannot be a secret of an alert.
		if shown(outcomeOf(t, falco.Fields{"user.name": "", "proc.cmdline": "", "evt.args": ""}, map[string]any{"text": "", "json": "", "in": "", "a": ""}, "")) ||
			strings.ContainsAny(value+before+after, "[]") {
			return
		}
		text := before + value + after
		if n := len(before) + min(max(cut, 0), len(value)); cut > 0 && utf8.ValidString(text[:n]) {
			text = before + value + " " + text[:n] + "[...]"
		}
		got := outcomeOf(t, falco.Fields{"user.name": value, "proc.cmdline": text, "evt.args": []any{text}}, map[string]any{
			"text": text, text: []string{text}, "json": json.RawMessage(fmt.Sprintf(`{"a":%s}`, quoted)), "in": string(quoted),
		}, text, "user.name")
		if shown(got) {
			t.Errorf("%q is in %s", value, got)
		}
	})
}

// texts are all texts of an event: names, values, and numbers.
func texts(t *testing.T, event string) []string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(event))
	d.UseNumber()
	var all []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, punctuation := token.(json.Delim); !punctuation {
			all = append(all, fmt.Sprint(token))
		}
	}
}

// outcomeOf is the whole outcome event about an alert with these fields, as it travels.
func outcomeOf(t *testing.T, fields falco.Fields, details map[string]any, text string, redact ...string) string {
	t.Helper()
	a := falco.Alert{Rule: "R", Priority: falco.Notice, Source: "syscall", Time: now, Output: text, Fields: fields}
	record := response.Redaction{Fields: redact}.Apply(response.Record{
		ID: "i", Response: "f", Outcome: response.Applied, Message: text, Alert: a, Details: details,
		Changes: []response.Change{{Field: text, Before: text, After: []any{text}}},
	})
	e, err := record.Event()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func BenchmarkRedaction(b *testing.B) {
	a, err := falco.Decode(testkit.Find(b, "03").Alert)
	if err != nil {
		b.Fatal(err)
	}
	record := response.Record{Message: "deleted pod shop/cart-0", Alert: a}
	for name, r := range map[string]response.Redaction{"credentials": {}, "fields too": {Fields: config.List{"proc.cmdline", "user.*"}}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Apply(record)
			}
		})
	}
}
