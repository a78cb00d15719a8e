package function

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// onlyLog has an effect on one log alone.
func onlyLog(container string, effect testkit.Effect) testkit.Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Get("container") == container && r.URL.Query().Get("previous") == "false" {
			effect(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// says is a log.
func says(text string) testkit.Effect { return testkit.Says("text/plain", text) }

// drips is a log that never ends.
func drips(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "text/plain")
	for {
		if _, err := io.WriteString(w, "drop\n"); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestPartThatCannotBeHadIsMissingAlone(t *testing.T) {
	t.Parallel()
	pod := deploy(t)
	const all = "alert.json events.json images.json logs/app.log logs/prepare.log node.json owners.json pod.json"
	without := func(name string) string { return strings.ReplaceAll(all, name+" ", "") }
	for name, tc := range map[string]struct {
		fault   *testkit.Fault
		missing string // a part
		files   string
		keeps   string // of the part
	}{
		"a log that is away":              {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Answers(500, 0))}, "logs/app.log", without("logs/app.log"), ""},
		"a log that is forbidden":         {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Answers(403, 0))}, "logs/app.log", without("logs/app.log"), ""},
		"a log of a kubelet that hangs":   {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Hangs())}, "logs/app.log", without("logs/app.log"), ""},
		"a log of a kubelet that is shot": {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Resets())}, "logs/app.log", without("logs/app.log"), ""},
		"a log that never ends":           {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", drips)}, "logs/app.log", all, "drop\n\n[riposte: the log breaks off here: not within 3s]\n"},
		"a log that is cut off":           {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Truncates())}, "logs/app.log", all, "[riposte: the log breaks off here: "},
		"a log that is too long":          {&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", says(strings.Repeat("long", 3<<20)))}, "logs/app.log", all, "[riposte: 2097152 bytes are left out here, LOG_LIMIT_BYTES is 10485760]"},
		"the events":                      {&testkit.Fault{Resource: "events", Verb: "list", Effect: testkit.Answers(403, 0)}, "events.json", without("events.json"), ""},
		"events of a portal":              {&testkit.Fault{Resource: "events", Verb: "list", Effect: testkit.Says("application/json", `{"status":"ok"}`)}, "events.json", without("events.json"), ""},
		"events that hang":                {&testkit.Fault{Resource: "events", Verb: "list", Effect: testkit.Hangs()}, "events.json", without("events.json"), ""},
		"events without an end":           {&testkit.Fault{Resource: "events", Verb: "list", Effect: says(strings.Repeat(" ", 5<<20))}, "events.json", without("events.json"), ""},
		"more events than fit":            {&testkit.Fault{Resource: "events", Verb: "list", Effect: testkit.Says("application/json", `{"kind":"EventList","metadata":{"continue":"x"},"items":[]}`)}, "events.json", all, `"EventList"`},
		"the node":                        {&testkit.Fault{Resource: "nodes", Effect: testkit.Answers(503, 0)}, "node.json", without("node.json"), ""},
		"the owners, the second time":     {&testkit.Fault{Resource: "replicasets", After: 1, Effect: testkit.Answers(500, 0)}, "owners.json", all, `"ReplicaSet"`},
		"the pod, the second time":        {&testkit.Fault{Resource: "pods", After: 1, Times: 1, Effect: testkit.Answers(500, 0)}, "pod.json", all, secret},
		"whether it still is that pod":    {&testkit.Fault{Resource: "pods", After: 2, Effect: testkit.Answers(500, 0)}, "logs", all, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := folder(t)
			more := settings{}
			if strings.Contains(name, "hang") || strings.Contains(name, "ends") {
				more["PART_TIMEOUT"] = "3s"
			}
			r := run(t, p, more)
			r.Proxy.Inject(tc.fault)
			begin := time.Now()
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, "200 applied evidence-partial")
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			s := find(t, p)
			if got := strings.Join(s.names(), " "); got != tc.files {
				t.Errorf("the files are\n%s, want\n%s", got, tc.files)
			}
			if s.why(tc.missing) == "" || len(s.manifest.Missing) != 1 {
				t.Errorf("missing is %+v, want %s alone", s.manifest.Missing, tc.missing)
			}
			if got := string(s.files[tc.missing]); !strings.Contains(got, tc.keeps) {
				t.Errorf("%s is of %d bytes without %q", tc.missing, len(got), tc.keeps)
			}
			if a := artifactsOf(t, answer); len(a.Missing) != 1 || a.Missing[0] != s.manifest.Missing[0] {
				t.Errorf("the outcome misses %+v, the manifest %+v", a.Missing, s.manifest.Missing)
			}
		})
	}
}

func TestTimeOfAllPartsIsBounded(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	d := testkit.Deployment(env.Namespace(t), "web", 1)
	d.Spec.Template.Spec.NodeName = env.Node(t).Name
	for i := range 20 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprint("more-", i), Image: "x"})
	}
	pod := env.Deploy(t, d)[0]
	p := folder(t)
	r := run(t, p, settings{"PART_TIMEOUT": "2s", "RESPONSE_TIMEOUT": "10s"})
	r.Proxy.Inject(&testkit.Fault{Resource: "pods/log", Effect: testkit.Hangs()})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 applied evidence-partial")
	s := find(t, p)
	if len(s.manifest.Missing) != 22 || len(s.files) != 7 { // Whether the pod still is the same is not known either.
		t.Errorf("%d parts are missing and %d files are there: %+v", len(s.manifest.Missing), len(s.files), s.manifest.Missing)
	}
}

func TestPodThatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		resource string
		after    int
		want     string
		missing  string // a part
	}{
		"before anything was read":                  {"pods", 0, "200 skipped gone", ""},
		"before its manifest is read again":         {"pods", 1, "200 applied evidence-partial", "pod.json"},
		"and another has taken its name by then":    {"pods", 1, "200 applied evidence-partial", "pod.json"},
		"while its logs are read":                   {"pods/log", 0, "200 applied evidence-partial", "logs"},
		"while its events are read":                 {"events", 0, "200 applied evidence-partial", "logs"},
		"and another has taken its name in the end": {"pods/log", 0, "200 applied evidence-partial", "logs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := testkit.StatefulSet(env.Namespace(t), "cart", 1)
			pod := env.Deploy(t, set)[0]
			replaced := strings.Contains(name, "another")
			p := folder(t)
			r := run(t, p, nil)
			verb := map[bool]string{true: "list", false: ""}[tc.resource == "events"]
			r.Proxy.Inject(&testkit.Fault{Resource: tc.resource, Verb: verb, After: tc.after, Times: 1, Effect: testkit.Meanwhile(func() {
				if !replaced {
					env.Patch(t, set, map[string]any{"spec": map[string]any{"replicas": 0}})
				}
				env.Remove(t, &pod)
				if replaced {
					env.Recreated(t, pod)
				} else {
					env.Gone(t, &pod)
				}
			})})
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, tc.want)
			if tc.missing == "" {
				if objects := p.objects(t); len(objects) > 0 {
					t.Errorf("there are %d objects", len(objects))
				}
				return
			}
			s := find(t, p)
			if s.why(tc.missing) == "" {
				t.Errorf("missing is %+v, want %s among them", s.manifest.Missing, tc.missing)
			}
			if kept := decode[corev1.Pod](t, s.files["pod.json"]); kept.UID != pod.UID {
				t.Errorf("pod.json is of %s, want %s", kept.UID, pod.UID)
			}
		})
	}
}

func TestCallerThatGivesUp(t *testing.T) {
	t.Parallel()
	pod, p := deploy(t), folder(t)
	r := run(t, p, settings{"RESPONSE_TIMEOUT": "2s", "PART_TIMEOUT": "1s"})
	r.Proxy.Inject(&testkit.Fault{Resource: "pods", Effect: testkit.Hangs()})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "500")
	if objects := p.objects(t); len(objects) > 0 {
		t.Errorf("there are %d objects", len(objects))
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		settings settings
		want     []string // in the error
	}{
		"no place":                      {settings{"ARTIFACT_URL": ""}, []string{"ARTIFACT_URL"}},
		"another place":                 {settings{"ARTIFACT_URL": "gs://bucket"}, []string{"ARTIFACT_URL", "gs://bucket", "file:///", "s3://"}},
		"a bucket without a region":     {settings{"ARTIFACT_URL": "s3://bucket"}, []string{"ARTIFACT_URL", "region"}},
		"a limit that is none":          {settings{"LOG_LIMIT_BYTES": "0"}, []string{"LOG_LIMIT_BYTES", `"0"`, "1Ki", "1Gi"}},
		"no time":                       {settings{"PART_TIMEOUT": "0s"}, []string{"PART_TIMEOUT", `"0s"`}},
		"more time than for everything": {settings{"PART_TIMEOUT": "25s"}, []string{"PART_TIMEOUT", `"25s"`, "RESPONSE_TIMEOUT"}},
		"no claims":                     {settings{"CLAIMS": "none"}, []string{"CLAIMS"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := settings{"ARTIFACT_URL": "file://" + t.TempDir(), "KUBECONFIG": testkit.Cluster(t).Kubeconfig, "CLAIMS": "memory"}
			maps.Copy(all, tc.settings)
			err := New().Start(t.Context(), all)
			if err == nil {
				err = errors.New("no error at all")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %s in it", err, want)
				}
			}
		})
	}
}
