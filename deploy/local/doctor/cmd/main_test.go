package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/shared/config"
)

func TestBadInput(t *testing.T) {
	const to = "-to=http://127.0.0.1:1"
	for name, c := range map[string]struct {
		args    []string
		environ map[string]string
		want    []string
	}{
		"nothing":                   {nil, nil, []string{"-to is", "-advertise is"}},
		"a flag that is none":       {[]string{"-toward=x"}, nil, []string{"flag provided but not defined"}},
		"an argument":               {[]string{to, "-as=router", "http://x"}, nil, []string{`argument "http://x"`}},
		"a URL that is none":        {[]string{"-to=broker", "-as=router"}, nil, []string{`-to is "broker"`}},
		"a URL with a password":     {[]string{"-to=http://a:b@c", "-as=router"}, nil, []string{"-to is"}},
		"an unknown entry":          {[]string{to, "-as=lambda", "-advertise=http://127.0.0.1:0"}, nil, []string{`-as is "lambda": want falcosidekick, broker or router`}},
		"an unknown priority":       {[]string{to, "-as=router", "-priority=High"}, nil, []string{`-priority is "High"`}},
		"no time":                   {[]string{to, "-as=router", "-timeout=0s"}, nil, []string{"-timeout is 0s"}},
		"flags of the router alone": {[]string{to, "-as=broker", "-accept-queued", "-advertise=http://127.0.0.1:0"}, nil, []string{"go with -as router only"}},
		"nowhere to be reached":     {[]string{to, "-as=broker"}, nil, []string{`-advertise is "" and POD_IP ""`}},
		"to be reached by TLS":      {[]string{to, "-as=broker", "-advertise=https://127.0.0.1:0"}, nil, []string{"-advertise is"}},
		"no cluster":                {[]string{to, "-as=broker"}, map[string]string{"POD_IP": "127.0.0.1"}, []string{"KUBECONFIG"}},
		"a kubeconfig that is not there": {
			[]string{to, "-as=broker"}, map[string]string{"POD_IP": "127.0.0.1", "KUBECONFIG": "/none"}, []string{`KUBECONFIG is "/none"`},
		},
		"a token file that is not there": {[]string{to, "-as=router"}, map[string]string{"AUTH_TOKEN_FILE": "/none"}, []string{"AUTH_TOKEN_FILE"}},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, c.environ, &stdout, &stderr); code != 2 || stdout.Len() > 0 {
				t.Errorf("exit status %d, output %q", code, &stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("said %q, want %q", &stderr, want)
				}
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	desc := "200"
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
		}
		w.Header().Set("Server-Timing", `match;dur=0.1, delete-pod;dur=1;desc="`+desc+`"`)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(router.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for code, said := range map[int]string{0: "200", 1: "dead-lettered"} {
		desc = said
		var stdout, stderr bytes.Buffer
		got := run(t.Context(), []string{"-as", "router", "-to", router.URL}, map[string]string{"AUTH_TOKEN_FILE": file}, &stdout, &stderr)
		if got != code || stderr.Len() > 0 || strings.Contains(stdout.String(), "secret") {
			t.Errorf("exit status %d, want %d\n%s%s", got, code, &stdout, &stderr)
		}
		if whole := strings.Contains(stdout.String(), "The way is whole"); whole != (code == 0) || !strings.Contains(stdout.String(), "delete-pod answered") {
			t.Errorf("said %q", &stdout)
		}
	}
	var help bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, nil, &help, &help); code != 0 || !strings.Contains(help.String(), "-advertise") {
		t.Errorf("--help: exit status %d, %q", code, &help)
	}
}

// The token is the router's: Falcosidekick and a Broker never see it. Port 0 becomes the one that is listened on.
func TestOptionsWithABroker(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{Kubeconfig: kubeconfig, PodIP: "127.0.0.1", Token: config.NewSecret("AUTH_TOKEN", "secret")}
	for _, args := range [][]string{
		{"-as=broker", "-to=http://b"},
		{"-as=falcosidekick", "-to=http://f", "-advertise=http://localhost:0", "-listen=127.0.0.1:0"},
		{"-as=router", "-watch", "-to=http://r"},
	} {
		var f flags
		set := f.set(&bytes.Buffer{})
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
		if err := f.check(set.Args(), s); err != nil {
			t.Fatal(err)
		}
		o, err := f.options(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if o.Entry.Token.IsSet() != (o.Entry.Kind == doctor.Router) {
			t.Errorf("%s would get the token: %v", o.Entry.Kind, o.Entry.Token.IsSet())
		}
		_, port, err := net.SplitHostPort(o.Listener.Addr().String())
		if err != nil || o.Advertise.Port() != port || o.Taps == nil {
			t.Errorf("listens on %s and advertises %s (%v)", o.Listener.Addr(), o.Advertise, err)
		}
		_ = o.Listener.Close()
	}
}
