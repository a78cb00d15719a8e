package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	nodes, err := list[corev1.Node](t.Context(), nodesResource, "", "")
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[string]bool{}
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
		if err := nodeReady(&node); err != nil {
			t.Error(err)
		}
		for _, label := range []string{corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelTopologyZone} {
			if node.Labels[label] == "" {
				t.Errorf("node %s has no label %s", node.Name, label)
			}
		}
		if node.Labels[corev1.LabelHostname] != node.Name || node.Spec.ProviderID == "" || node.Spec.PodCIDR == "" {
			t.Errorf("node %s: %+v %+v", node.Name, node.Labels, node.Spec)
		}
		tainted := slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Key == controlPlaneRole && taint.Effect == corev1.TaintEffectNoSchedule
		})
		_, labelled := node.Labels[controlPlaneRole]
		if is := node.Name == "control-plane-0"; is != tainted || is != labelled {
			t.Errorf("node %s: control-plane taint %t, label %t, want %t", node.Name, tainted, labelled, is)
		}
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				addresses[address.Address] = true
			}
		}
	}
	slices.Sort(names)
	if want := []string{"control-plane-0", "fake-0", "fake-1", "fake-2"}; !slices.Equal(names, want) {
		t.Errorf("nodes %v, want %v", names, want)
	}
	if len(addresses) != len(nodes) {
		t.Errorf("%d internal addresses for %d nodes", len(addresses), len(nodes))
	}
}

func TestServiceAccountHasItsOwnRights(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, accountsResource, namespace, &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta(),
	})
	path, err := one.ServiceAccountKubeconfig(t.Context(), namespace, app)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pods := client.Resource(podsResource).Namespace(namespace)
	_, err = pods.List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:"+namespace+":"+app) {
		t.Fatalf("an account without rights lists pods: %v, want 403 for that account", err)
	}

	create(t, rbacv1.SchemeGroupVersion.WithResource("roles"), namespace, &rbacv1.Role{
		TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta(),
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	})
	create(t, rbacv1.SchemeGroupVersion.WithResource("rolebindings"), namespace, &rbacv1.RoleBinding{
		TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: meta(),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: app},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: app}},
	})
	eventually(t, "the role to take effect", func(ctx context.Context) error {
		_, err := pods.List(ctx, metav1.ListOptions{})
		return err
	})
	if err := pods.Delete(t.Context(), "any", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an account that may list deletes: %v, want 403", err)
	}
}

func TestServiceAccountMustExist(t *testing.T) {
	t.Parallel()
	_, err := one.ServiceAccountKubeconfig(t.Context(), "default", "nobody")
	if !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	t.Parallel()
	anonymous, err := dynamic.NewForConfig(rest.AnonymousClientConfig(one.Config()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := anonymous.Resource(nodesResource).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an anonymous client lists nodes: %v, want 403", err)
	}
	// The flags of etcd hold its address.
	flags := one.processes[0].cmd.Args
	i := slices.IndexFunc(flags, func(flag string) bool { return strings.HasPrefix(flag, "--listen-client-urls=") })
	if i < 0 {
		t.Fatalf("etcd has the flags %q", flags)
	}
	address := strings.TrimPrefix(flags[i], "--listen-client-urls=https://")
	config, err := rest.TLSConfigFor(rest.AnonymousClientConfig(one.Config()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	// With TLS 1.3 the client learns of its rejection from the first read.
	if _, err := connection.Read([]byte{0}); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("etcd to a client without a certificate: %v, want that it requires one", err)
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	attached, err := Attach(one.Kubeconfig, one.binary)
	if err != nil {
		t.Fatal(err)
	}
	path, err := attached.ServiceAccountKubeconfig(t.Context(), "default", "default")
	if err != nil {
		t.Fatal(err)
	}
	out, err := attached.Kubectl(t.Context(), "--kubeconfig", path, "auth", "whoami")
	if err != nil || !strings.Contains(string(out), "system:serviceaccount:default:default") {
		t.Errorf("kubectl auth whoami: %q, %v", out, err)
	}
	if err := attached.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("Stop has left %s: %v", path, err)
	}
	if _, err := one.Kubectl(t.Context(), "get", "namespaces"); err != nil {
		t.Errorf("Stop of an attached cluster has harmed it: %v", err)
	}
}

// alive tells whether a process exists and runs.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	c, err := Start(t.Context(), Options{Binary: one.binary, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.processes) != 5 {
		t.Errorf("%d processes, want 5", len(c.processes))
	}
	for _, p := range c.processes {
		if !alive(p.cmd.Process.Pid) {
			t.Errorf("%s does not run before Stop", p.name)
		}
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.processes {
		if alive(p.cmd.Process.Pid) {
			t.Errorf("%s runs after Stop", p.name)
		}
	}
	if _, err := os.Stat(c.folder.path); !os.IsNotExist(err) {
		t.Errorf("Stop has left %s: %v", c.folder.path, err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("a cluster that was stopped has failed: %v", err)
	}
	if err := c.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestDeadComponentIsNoticed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "chosen")
	c, err := Start(t.Context(), Options{Binary: one.binary, Nodes: 1, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.processes {
		if p.name == "kube-scheduler" {
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-c.Failed():
	case <-time.After(patience):
		t.Error("nobody has noticed")
	}
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "kube-scheduler ended (signal: killed)") {
		t.Errorf("Err is %v", err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "logs", "kube-scheduler.log")); err != nil {
		t.Errorf("Stop has removed a folder that the caller chose: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		options Options
		names   string
	}{
		"too many nodes":               {Options{Binary: one.binary, Nodes: MaxNodes + 1}, "Nodes"},
		"a negative number of nodes":   {Options{Binary: one.binary, Nodes: -1}, "Nodes"},
		"no binary":                    {Options{}, "Binary"},
		"a binary that does not exist": {Options{Binary: "/nonexistent"}, "Binary"},
		"a folder that is not empty":   {Options{Binary: one.binary, Dir: full}, "Dir"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Start(t.Context(), tc.options)
			if err == nil {
				_ = c.Stop()
				t.Fatal("Start accepts it")
			}
			if !strings.Contains(err.Error(), tc.names) {
				t.Errorf("the error does not name %s: %v", tc.names, err)
			}
		})
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("no longer wanted")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	// The API server's log is there when etcd and it have been started.
	go func() {
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(dir, "*", "logs", "kube-apiserver.log")); len(found) > 0 {
				cancel(reason)
			}
			_ = pause(ctx, time.Millisecond)
		}
	}()
	c, err := Start(ctx, Options{Binary: one.binary})
	if err == nil {
		_ = c.Stop()
		t.Fatal("Start has succeeded")
	}
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// Each component must be seen to have lost its port, whatever its words for it.
func TestLostPortIsRecognised(t *testing.T) {
	t.Parallel()
	ports, err := choosePorts(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	e := newEndpoints(ports)
	t.Cleanup(func() {
		for _, p := range e.all() {
			p.release()
		}
	})
	directory := t.TempDir()
	f := &folder{path: directory, unlock: func() {}}
	if err := os.Mkdir(f.join("logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	certificates, err := newPKI(f.join("pki"))
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := writeKwokConfiguration(t.Context(), one.binary, directory)
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"etcd":                    etcdFlags(directory, certificates, e),
		"kube-apiserver":          apiServerFlags(certificates, e),
		"kube-controller-manager": controllerManagerFlags(one.Kubeconfig, certificates, e),
		"kube-scheduler":          schedulerFlags(one.Kubeconfig, certificates, e),
		"kwok":                    append(kwokFlags(one.Kubeconfig, configuration, certificates, e), "--manage-nodes-with-annotation-selector=none=none"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := launch(t.Context(), one.binary, directory, name, flags)
			if err != nil {
				t.Fatal(err)
			}
			defer p.kill()
			select {
			case <-p.done:
			case <-time.After(patience):
				t.Fatal("it has not ended")
			}
			if err := p.failure(); !errors.Is(err, errPortTaken) {
				t.Errorf("got %v, want that its port was taken", err)
			}
		})
	}
}

func TestWithFreshPorts(t *testing.T) {
	t.Parallel()
	taken := fmt.Errorf("%w: etcd ended", errPortTaken)
	other := errors.New("something else")
	for name, tc := range map[string]struct {
		errs  []error
		want  error
		tries int
	}{
		"success at once":                  {[]error{nil}, nil, 1},
		"another try after a lost port":    {[]error{taken, taken, nil}, nil, 3},
		"no other try after another fault": {[]error{taken, other, nil}, other, 2},
		"an end to the tries":              {slices.Repeat([]error{taken}, startAttempts+1), taken, startAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			err := withFreshPorts(&progressWriter{}, func() error {
				tries++
				return tc.errs[tries-1]
			})
			if !errors.Is(err, tc.want) || tries != tc.tries {
				t.Errorf("%v after %d tries, want %v after %d", err, tries, tc.want, tc.tries)
			}
		})
	}
}

func TestStaleFoldersAreRemoved(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	old := time.Now().Add(-2 * staleAfter)
	folderOf := func(name string, touched time.Time) string {
		path := filepath.Join(parent, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		lock := filepath.Join(path, lockName)
		if err := os.WriteFile(lock, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(lock, touched, touched); err != nil {
			t.Fatal(err)
		}
		return path
	}
	abandoned := folderOf("riposte-cluster-1", old)
	owned := folderOf("riposte-cluster-2", old)
	young := folderOf("riposte-cluster-3", time.Now())
	foreign := folderOf("other-4", old)
	unlock, err := tryLock(filepath.Join(owned, lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	removeStale(parent)
	for path, want := range map[string]bool{abandoned: false, owned: true, young: true, foreign: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", filepath.Base(path), err == nil, want)
		}
	}
}

func TestBuildIsDoneOnce(t *testing.T) {
	t.Parallel()
	var progress bytes.Buffer
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if _, err := Build(t.Context(), root, &progress); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 10*time.Second || progress.Len() > 0 {
		t.Errorf("a build of what is built took %s and said %q", took, &progress)
	}
}
