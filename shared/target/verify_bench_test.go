package target

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube/api"
)

// BenchmarkVerify is the proof that a pod which was read is the one that raised the alert, by its UID and by its
// container, and that it is not protected.
func BenchmarkVerify(b *testing.B) {
	for name, capture := range map[string]string{"by-uid": "02-terminal-shell-k8s-with-uid", "by-container": "01-terminal-shell-k8s-default"} {
		b.Run(name, func(b *testing.B) {
			body, err := os.ReadFile(filepath.Join("..", "..", "test", "captures", capture, "alert.json"))
			if err != nil {
				b.Fatal(err)
			}
			alert, err := falco.Decode(body)
			if err != nil {
				b.Fatal(err)
			}
			ref := alert.Pod()
			pod := &api.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: ref.Namespace, Name: ref.Name, CreationTimestamp: metav1.Time{Time: alert.Time.Add(-time.Hour)},
			}}
			if len(ref.UIDs) > 0 {
				pod.UID = types.UID(ref.UIDs[0])
			}
			pod.Status.ContainerStatuses = []api.ContainerStatus{{Name: ref.Container, ContainerID: "containerd://" + ref.ContainerIDs[0] + "8e7b23da7d48"}}
			found := &Found{Pod: pod, Namespace: &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ref.Namespace}}}
			finder := &PodFinder{protection: guard.Protection{SkipDaemonSets: true, OwnNamespace: "riposte"}, level: LevelPod}
			b.ReportAllocs()
			for b.Loop() {
				ref := alert.Pod()
				if o := plausible(ref); o != nil {
					b.Fatal(o.Message)
				}
				if o := sameIncarnation(pod, ref, alert); o != nil {
					b.Fatal(o.Message)
				}
				if o := finder.Protected(found); o != nil {
					b.Fatal(o.Message)
				}
			}
		})
	}
}
