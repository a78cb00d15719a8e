package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/triggers"
)

// names is the network of all tests: Knative's clients are made of http.DefaultTransport and kept for the life of
// the process.
var names = broker.NewNetwork()

func TestMain(m *testing.M) {
	http.DefaultTransport = names.Transport()
	os.Exit(testkit.Main(m))
}

const (
	// patience bounds what must come, soon what must not.
	patience = 30 * time.Second
	soon     = 500 * time.Millisecond
)

// bench is Riposte with the shipped triggers on Knative's data plane in this process. Its control plane is Open.
type bench struct {
	t *testing.T
	// entry leads to the Broker's ingress, before there is one too.
	entry string
	// without leaves a shipped file out; blind leaves the doctor's Triggers out.
	without string
	blind   bool
	problem error

	mu        sync.Mutex
	broker    *broker.Broker
	delivered []string
	dead      int
	closed    int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t}
	b.entry = serve(t, func(w http.ResponseWriter, r *http.Request) {
		to, err := url.Parse(b.url())
		if err != nil {
			t.Error(err)
			return
		}
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.Path, p.Out.Host = to.Scheme, to.Host, to.Path, to.Host
		}}).ServeHTTP(w, r)
	})
	return b
}

func (b *bench) url() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broker.URL("riposte", "default")
}

// Open implements doctor.Taps: it loads the doctor's Triggers beside the shipped ones and starts the Broker.
func (b *bench) Open(ctx context.Context, taps []doctor.Tap) error {
	if b.problem != nil {
		return b.problem
	}
	manifests := fstest.MapFS{}
	files, err := filepath.Glob("../../../triggers/*.yaml")
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("no shipped triggers"))
	}
	files = append(files, filepath.Join(brokers, "in-memory", "broker.yaml"))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if filepath.Base(file) != b.without {
			manifests[filepath.Base(file)] = &fstest.MapFile{Data: content}
		}
	}
	for _, tap := range taps {
		content, err := json.Marshal(tap.Manifest("riposte", "default"))
		if err != nil {
			return err
		}
		if !b.blind {
			manifests[tap.Name+".yaml"] = &fstest.MapFile{Data: content}
		}
	}
	set, err := triggers.Load(manifests)
	if err != nil {
		return err
	}
	started, err := broker.Start(ctx, broker.Options{
		Triggers: set, Network: names, Log: io.Discard,
		Hooks: broker.Hooks{
			Delivered: func(d broker.Delivery) {
				b.mu.Lock()
				defer b.mu.Unlock()
				if d.Status/100 == 2 {
					b.delivered = append(b.delivered, d.Trigger)
				}
			},
			DeadLettered: func(broker.DeadLetter) { b.mu.Lock(); defer b.mu.Unlock(); b.dead++ },
		},
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broker = started
	return err
}

// Close implements doctor.Taps. Knative's handlers may still be at work on the last copy, which Close interrupts.
func (b *bench) Close(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	if ctx.Err() != nil {
		b.t.Error("the taps are to be removed by a context that has ended")
	}
	if b.broker == nil {
		return nil
	}
	return b.broker.Close() //nolint:contextcheck // It ends what outlives the context.
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// function leads the name of a function to an address.
func function(t *testing.T, address string) {
	t.Helper()
	host := "delete-pod.riposte.svc.cluster.local"
	names.Set(host, strings.TrimPrefix(address, "http://"))
	t.Cleanup(func() { names.Set(host, "") })
}

// deletePod runs the real function. Its kubeconfig leads nowhere: a canary is answered before the API server is asked.
func deletePod(t *testing.T) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{"token":"t"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	process, err := functions.Start(t.Context(), functions.Spec{
		Name: "delete-pod", Binary: testkit.Binary(t, "delete-pod"), Log: t.Output(),
		Env: []string{"KUBECONFIG=" + kubeconfig, "LISTEN_ADDRESS=127.0.0.1:0", "MIN_PRIORITY=Emergency"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	function(t, process.Status().Address)
}

// options are those of a run with the bench.
func (b *bench) options(kind doctor.Kind, entry string) doctor.Options {
	b.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = listener.Close() })
	return doctor.Options{
		Entry: doctor.Entry{Kind: kind, URL: parse(b.t, entry)}, Function: "delete-pod", Namespace: "riposte", Priority: falco.Notice,
		Taps: b, Listener: listener, Advertise: parse(b.t, "http://"+listener.Addr().String()),
		Timeout: patience, Ready: patience, Now: time.Now,
	}
}

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// sidekick posts what it gets to the Broker as Falcosidekick's CloudEvents output does, and says that all is well
// whether or not it is.
func sidekick(t *testing.T, to string) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/" || r.Header.Get("Authorization") != "" {
			t.Errorf("POST %s: %v", r.URL.Path, err)
		}
		alert, err := falco.Decode(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		alert.UUID = uuid.NewString()
		e := event.New()
		e.SetID(uuid.NewString())
		e.SetType(falco.TypeFalcosidekick)
		e.SetSource("https://falco.org")
		for name, value := range alert.Attributes() {
			e.SetExtension(name, value)
		}
		_ = e.SetData("application/json", alert)
		request, err := cehttp.NewHTTPRequestFromEvent(r.Context(), to, e)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
	}
}

func hops(r doctor.Report) []string {
	var out []string
	for _, hop := range r.Hops {
		out = append(out, hop.Name+": "+string(hop.State))
	}
	return out
}

func TestWholeWay(t *testing.T) {
	deletePod(t)
	for kind, entry := range map[doctor.Kind]func(*testing.T, *bench) string{
		doctor.Broker:        func(_ *testing.T, b *bench) string { return b.entry },
		doctor.Falcosidekick: func(t *testing.T, b *bench) string { t.Helper(); return serve(t, sidekick(t, b.entry)) },
	} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t)
			report, err := doctor.Run(t.Context(), b.options(kind, entry(t, b)))
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				"doctor watches: ok", "entry answered: ok", "Broker had it: ok", "delete-pod received: ok",
				"delete-pod answered: ok", "outcome came back: ok",
			}
			if diff := cmp.Diff(want, hops(report)); diff != "" || report.Failed() != nil {
				t.Fatalf("hops (-want +got):\n%s\n%v", diff, report.Failed())
			}
			var table bytes.Buffer
			if err := report.Write(&table); err != nil {
				t.Fatal(err)
			}
			t.Log("\n" + table.String())
			for _, text := range []string{"by its stamp", "skipped, canary", "The way is whole"} {
				if !strings.Contains(table.String(), text) {
					t.Errorf("the table does not say %q", text)
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, trigger := range b.delivered {
				if trigger != "canary" && !strings.HasPrefix(trigger, "doctor-"+report.Run) {
					t.Errorf("the canary or its outcome went to the trigger %s too", trigger)
				}
			}
			if b.dead != 0 || b.closed != 1 {
				t.Errorf("%d dead letters, taps closed %d times", b.dead, b.closed)
			}
		})
	}
}

// answer is a function that always answers the same.
func answer(t *testing.T, status int) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

// old is a function that does not know the canary: it answers like one that looked for a target.
func old(t *testing.T) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		in, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		alert, err := falco.Decode(in.Data())
		if err != nil {
			t.Error(err)
		}
		for name, value := range map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/functions/delete-pod", "Ce-Type": triggers.TypeOutcome,
			"Ce-Response": "delete-pod", "Ce-Outcome": "skipped", "Ce-Alertid": alert.ID(), "Content-Type": "application/json",
		} {
			w.Header().Set(name, value)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"response": "delete-pod", "outcome": "skipped", "reason": "no-target", "alert_id": alert.ID(), "alert": alert,
		})
	})
}

func TestFirstHopThatFailed(t *testing.T) {
	cases := map[string]struct {
		kind  doctor.Kind
		entry func(*testing.T, *bench) string
		// function is the address of delete-pod.
		function func(*testing.T) string
		change   func(*bench)
		hop      string
		look     string
	}{
		"the taps cannot be made": {
			change: func(b *bench) { b.problem = &doctor.Problem{Detail: "no", Look: "here"} },
			hop:    doctor.HopWatch, look: "here",
		},
		"nobody is at the entry": {
			entry: func(*testing.T, *bench) string { return "http://127.0.0.1:1" },
			hop:   doctor.HopEntry, look: "whether broker runs",
		},
		"the Broker knows no such Broker": {
			entry: func(t *testing.T, _ *bench) string { t.Helper(); return answer(t, http.StatusNotFound) },
			hop:   doctor.HopEntry, look: "/NAMESPACE/BROKER",
		},
		"Falcosidekick refuses": {
			kind:  doctor.Falcosidekick,
			entry: func(t *testing.T, _ *bench) string { t.Helper(); return answer(t, http.StatusBadRequest) },
			hop:   doctor.HopEntry, look: "the log of falcosidekick",
		},
		"Falcosidekick takes it and the Broker gets nothing": {
			kind:  doctor.Falcosidekick,
			entry: func(t *testing.T, _ *bench) string { t.Helper(); return answer(t, http.StatusOK) },
			hop:   doctor.HopBroker, look: "reports every failure to reach the Broker as sent",
		},
		"the Broker takes it and delivers nothing": {
			change: func(b *bench) { b.blind, b.without = true, "canary.yaml" },
			hop:    doctor.HopBroker, look: "describe broker",
		},
		"no trigger brings it to the function": {
			change: func(b *bench) { b.without = "canary.yaml" },
			hop:    "delete-pod received", look: "kubectl -n riposte describe trigger canary",
		},
		"the function fails for ever": {
			function: func(t *testing.T) string { t.Helper(); return answer(t, http.StatusInternalServerError) },
			hop:      "delete-pod received", look: "dead-letter",
		},
		"the function takes it and says nothing": {
			function: func(t *testing.T) string { t.Helper(); return answer(t, http.StatusNoContent) },
			hop:      "delete-pod received", look: "the log of delete-pod",
		},
		"the function does not know the canary": {
			function: old,
			hop:      "delete-pod answered", look: "the version of delete-pod",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			entry := b.entry
			if c.entry != nil {
				entry = c.entry(t, b)
			}
			if c.change != nil {
				c.change(b)
			}
			if c.function != nil {
				function(t, c.function(t))
			}
			if c.kind == "" {
				c.kind = doctor.Broker
			}
			o := b.options(c.kind, entry)
			if c.hop != "delete-pod answered" {
				o.Timeout = soon
			}
			report, err := doctor.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			failed := report.Failed()
			if failed == nil || failed.Name != c.hop || !strings.Contains(failed.Look, c.look) || failed.Detail == "" {
				t.Fatalf("failed hop is %+v, want %q with %q\n%v", failed, c.hop, c.look, hops(report))
			}
			if last := report.Hops[len(report.Hops)-1]; last.Name != c.hop {
				t.Errorf("behind the failed hop stands %q", last.Name)
			}
			var table strings.Builder
			if err := report.Write(&table); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(table.String(), "Not whole: "+c.hop) || !strings.Contains(table.String(), "Look at ") {
				t.Errorf("the verdict is missing:\n%s", &table)
			}
			if b.closed != 1 {
				t.Errorf("the taps were closed %d times", b.closed)
			}
		})
	}
}

// A signal ends the wait, and the taps are removed all the same, by a context that still lives.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(t)
	b.without = "canary.yaml"
	o := b.options(doctor.Broker, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		cancel()
	}))
	report, err := doctor.Run(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	if failed := report.Failed(); failed == nil {
		t.Error("the report says that the way is whole")
	}
	if b.closed != 1 {
		t.Errorf("the taps were closed %d times", b.closed)
	}
	if _, err := net.DialTimeout("tcp", o.Advertise.Host, time.Second); err == nil {
		t.Error("the doctor still listens")
	}
}

// What is left behind has to be said, whatever the alert's way was.
func TestCleanUpThatFails(t *testing.T) {
	b := newBench(t)
	b.problem = errors.New("no cluster")
	o := b.options(doctor.Broker, b.entry)
	o.Taps = stuck{b}
	report, err := doctor.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "clean up") || report.Failed() == nil {
		t.Errorf("got %v and %v", err, report.Failed())
	}
}

type stuck struct{ *bench }

func (stuck) Close(context.Context) error { return errors.New("delete trigger: forbidden") }
