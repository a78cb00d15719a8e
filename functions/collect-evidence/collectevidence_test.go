package function

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// told is the pod with events about it, a debugger in it and a restart behind it.
func told(t *testing.T) corev1.Pod {
	t.Helper()
	env, pod := testkit.Cluster(t), deploy(t)
	client, err := kube.NewClient(env.Config, false, "testkit")
	if err != nil {
		t.Fatal(err)
	}
	for name, about := range map[string]corev1.ObjectReference{
		"own":     {Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		"another": {Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: "b62f9f77-0000-4000-8000-000000000000"},
	} {
		err := client.Create(t.Context(), events, pod.Namespace, corev1.Event{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: name}, InvolvedObject: about, Reason: name, Message: "made by a test",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	debugger := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "busybox"}}
	env.Patch(t, &pod, map[string]any{"spec": map[string]any{"ephemeralContainers": []any{debugger}}}, "ephemeralcontainers")
	env.Await(t, &pod, "runs the debugger", func() error { return await(len(pod.Status.EphemeralContainerStatuses) == 1) })
	statuses := slices.Clone(pod.Status.ContainerStatuses)
	statuses[0].RestartCount = 1
	env.Patch(t, &pod, map[string]any{"status": map[string]any{"containerStatuses": statuses}}, "status")
	return pod
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

func await(done bool) error {
	if done {
		return nil
	}
	return notYet{}
}

func TestBundleHasAllThatIsKnownOfThePod(t *testing.T) {
	t.Parallel()
	pod := told(t)
	for name, p := range map[string]place{"in a folder": folder(t), "in a bucket": bucket(artifacttest.Start(t))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, p, nil)
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, "200 applied")

			s := find(t, p)
			want := strings.Join([]string{time.Now().UTC().Format(time.DateOnly), pod.Namespace, pod.Name + "-" + string(pod.UID), answer.Record.AlertID}, "/")
			if s.folder != want && s.folder[10:] != want[10:] { // midnight may pass meanwhile
				t.Errorf("the bundle is %s, want %s", s.folder, want)
			}
			if diff := cmp.Diff([]string{
				"alert.json", "events.json", "images.json", "logs/app.log", "logs/app.previous.log", "logs/debugger.log", "logs/prepare.log",
				"node.json", "owners.json", "pod.json",
			}, s.names()); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			checkContents(t, s, pod)
			checkOutcome(t, s, answer, p)
			if changed := r.Proxy.Changed(); len(changed) > 0 {
				t.Errorf("it changed %v", changed)
			}
			if text := string(answer.Body) + r.Log(t); strings.Contains(text, secret) {
				t.Error("the outcome or the log shows a secret of the pod")
			}
		})
	}
}

// checkContents looks into the files of a bundle.
func checkContents(t *testing.T, s stored, pod corev1.Pod) {
	t.Helper()
	kept := decode[corev1.Pod](t, s.files["pod.json"])
	if kept.UID != pod.UID || kept.Kind != "Pod" || len(kept.ManagedFields) == 0 || !strings.Contains(string(s.files["pod.json"]), secret) {
		t.Error("pod.json is not the manifest as the API server has it")
	}
	var chain []string
	for _, owner := range decode[[]metav1.PartialObjectMetadata](t, s.files["owners.json"]) {
		chain = append(chain, owner.Kind)
	}
	if diff := cmp.Diff([]string{"ReplicaSet", "Deployment"}, chain); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	var reasons []string
	for _, e := range decode[corev1.EventList](t, s.files["events.json"]).Items {
		if e.Reason == "own" || e.Reason == "another" {
			reasons = append(reasons, e.Reason)
		}
	}
	if diff := cmp.Diff([]string{"own"}, reasons); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	node := decode[nodeFacts](t, s.files["node.json"])
	if node.Name != pod.Spec.NodeName || node.UID == "" || node.Labels[corev1.LabelOSStable] != "linux" ||
		decode[corev1.NodeSystemInfo](t, node.NodeInfo).KubeletVersion == "" || len(decode[[]corev1.NodeAddress](t, node.Addresses)) == 0 {
		t.Errorf("node.json is %+v", node)
	}
	kinds := map[string]string{}
	for _, i := range decode[[]image](t, s.files["images.json"]) {
		kinds[i.Container] = i.Kind
		if !strings.Contains(i.ImageID, "@sha256:") || i.ContainerID == "" {
			t.Errorf("images.json has %+v: want a digest and a container", i)
		}
	}
	if diff := cmp.Diff(map[string]string{"prepare": "init", "app": "regular", "debugger": "ephemeral"}, kinds); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	alert := decode[map[string]any](t, s.files["alert.json"])
	if alert["rule"] != "Drop and execute new binary in container" || alert["output"] == "" || s.manifest.Alert.Rule != alert["rule"] {
		t.Errorf("alert.json is %v", alert)
	}
	for name, line := range map[string]string{"logs/app.log": " started by kwok", "logs/app.previous.log": " started before by kwok"} {
		at, text, _ := strings.Cut(string(s.files[name]), " ")
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil || !strings.HasPrefix(" "+text, line) {
			t.Errorf("%s is %q: want a time and %q", name, s.files[name], line)
		}
	}
}

// checkOutcome compares what the outcome says of the bundle with the bundle.
func checkOutcome(t *testing.T, s stored, answer testkit.Answer, p place) {
	t.Helper()
	a := artifactsOf(t, answer)
	address, _, _ := strings.Cut(p.address, "?")
	if want := address + "/" + s.folder + "/"; a.URL != want || a.ManifestSHA256 != s.sum {
		t.Errorf("the outcome names %s with %s, want %s with %s", a.URL, a.ManifestSHA256, want, s.sum)
	}
	for i, f := range s.manifest.Files {
		if want := (summary{f.Bytes, f.Name, f.SHA256}); a.Files[i] != want {
			t.Errorf("file %d of the outcome is %+v, want %+v", i, a.Files[i], want)
		}
	}
	if len(a.Files) != len(s.manifest.Files) || len(a.Missing) != len(s.manifest.Missing) || len(answer.Record.Changes) > 0 {
		t.Errorf("the outcome has %d files, %d missing and changes %v", len(a.Files), len(a.Missing), answer.Record.Changes)
	}
	if answer.Record.Target.UID != s.manifest.Pod.UID {
		t.Errorf("the target is %+v, the manifest's pod %+v", answer.Record.Target, s.manifest.Pod)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	t.Parallel()
	pod := told(t)
	server := artifacttest.Start(t)
	others := place{address: server.URL(artifacttest.Others, "")}
	missing := place{address: server.URL("nowhere", "")}
	for name, tc := range map[string]struct {
		place place
		want  string
	}{
		"in a folder":                    {folder(t), "200 dryrun"},
		"in a bucket":                    {bucket(server), "200 dryrun"},
		"in a bucket that is not there":  {missing, "422"},
		"in a bucket of somebody else's": {others, "422"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, tc.place, settings{"DRY_RUN": "true"})
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			if tc.want != "200 dryrun" {
				return
			}
			if objects := tc.place.objects(t); len(objects) > 0 {
				t.Errorf("there are %d objects", len(objects))
			}
			if a := artifactsOf(t, answer); len(a.Files) != 10 || len(a.Missing) != 0 {
				t.Errorf("it would store %+v and miss %+v", a.Files, a.Missing)
			}
		})
	}
}
