package function

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
)

// mounted is a folder in which files change as in a volume of Kubernetes: the name is a link into a folder that is replaced
// at once. https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
type mounted struct {
	dir     string
	version int
}

func mount(t *testing.T, token string) *mounted {
	t.Helper()
	m := &mounted{dir: t.TempDir()}
	if err := os.Symlink(filepath.Join("..data", "token"), m.path()); err != nil {
		t.Fatal(err)
	}
	m.renew(t, token)
	return m
}

func (m *mounted) path() string { return filepath.Join(m.dir, "token") }

func (m *mounted) renew(t *testing.T, token string) {
	t.Helper()
	m.version++
	version := "..version" + strconv.Itoa(m.version)
	if err := os.Mkdir(filepath.Join(m.dir, version), 0o700); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, version, "token"), []byte(token), 0o600); err != nil {
		t.Error(err)
	}
	next := filepath.Join(m.dir, "..next")
	if err := os.Symlink(version, next); err != nil {
		t.Error(err)
	}
	if err := os.Rename(next, filepath.Join(m.dir, "..data")); err != nil {
		t.Error(err)
	}
}

// A token for the Broker is valid for an hour. The next attempt shows the one that is there by then.
func TestTokenThatIsRenewed(t *testing.T) {
	g, m := newGateway(t), mount(t, "first")
	g.function("broker", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer first" {
			m.renew(t, "second\n")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	s := routing(t, g, "", "K_SINK", g.URL+"/broker", "FUNCTION_TOKEN_FILE", m.path())
	s.expect(t, 204, alertAt(t, 1))
	m.renew(t, "third")
	s.expect(t, 204, alertAt(t, 2))
	var got []string
	for _, c := range g.got("broker") {
		got = append(got, c.header.Get("Authorization"))
	}
	if diff := cmp.Diff([]string{"Bearer first", "Bearer second", "Bearer third"}, got); diff != "" {
		t.Errorf("what the Broker was shown (-want +got):\n%s", diff)
	}
}

// An event is not sent without the token: the Broker would refuse it for good.
func TestTokenThatIsGone(t *testing.T) {
	g, m := newGateway(t), mount(t, "first")
	g.function("broker", answers(202, ""))
	s := routing(t, g, "", "K_SINK", g.URL+"/broker", "FUNCTION_TOKEN_FILE", m.path())
	if err := os.Remove(m.path()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, 500, alertAt(t, 1))
	if len(g.got("broker")) != 0 || len(g.got("dead")) != 0 {
		t.Errorf("the Broker got %d, the dead letter %d", len(g.got("broker")), len(g.got("dead")))
	}
}

func TestTokenOfASinkBinding(t *testing.T) {
	m := mount(t, "first\n")
	path, err := boundToken(m.path())
	if err != nil || path != m.path() {
		t.Fatalf("the token is at %q (%v)", path, err)
	}
	e := &engine{boundToken: path}
	for _, want := range []string{"first", "second"} {
		if got, err := e.token(); err != nil || got != want {
			t.Errorf("the token is %q (%v), want %q", got, err, want)
		}
		m.renew(t, "second\n")
	}
	header, err := e.header(nil, &delivery{route: &route{}})
	if err != nil || header.Get("Authorization") != "Bearer second" {
		t.Errorf("a call shows %q (%v)", header.Get("Authorization"), err)
	}
	e.settings.FunctionToken = config.NewSecret("FUNCTION_TOKEN", "own")
	if got, err := e.token(); err != nil || got != "own" {
		t.Errorf("with FUNCTION_TOKEN the token is %q (%v)", got, err)
	}
}

func TestTokenOfNoSinkBinding(t *testing.T) {
	if path, err := boundToken(filepath.Join(t.TempDir(), "token")); err != nil || path != "" {
		t.Errorf("the token is at %q (%v)", path, err)
	}
	if got, err := (&engine{}).token(); err != nil || got != "" {
		t.Errorf("the token is %q (%v)", got, err)
	}
	for name, content := range map[string]string{"an empty file": "", "blanks": " \n"} {
		if _, err := boundToken(mount(t, content).path()); err == nil {
			t.Errorf("%s is taken for a token", name)
		}
	}
	m := mount(t, "x")
	path, err := boundToken(m.path())
	if err != nil {
		t.Fatal(err)
	}
	m.renew(t, "")
	if got, err := (&engine{boundToken: path}).token(); err == nil {
		t.Errorf("the token is %q", got)
	}
}
