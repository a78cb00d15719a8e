//go:build linux

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/riposte-dev/riposte/test/cluster"
)

// startKubelet starts the kubelet and waits until its node is ready for pods.
func startKubelet(ctx context.Context, s Settings, c *cluster.Cluster, fail context.CancelCauseFunc) error {
	client, err := dynamic.NewForConfig(c.Config())
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	if err := trustAPIServer(ctx, client); err != nil {
		return err
	}
	kubeconfig, err := c.UserKubeconfig("system:node:"+Name, "system:nodes")
	if err != nil {
		return err
	}
	files, err := c.ServingCertificate(Name, net.ParseIP(Address))
	if err != nil {
		return err
	}
	never := map[string]string{"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"}
	config, err := writeConfig("kubelet", map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": files.ClientCA},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"tlsCertFile":   files.Certificate, "tlsPrivateKeyFile": files.Key,
		"address": Address, "healthzPort": 0,
		"containerRuntimeEndpoint": "unix://" + socket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + s.Cgroup, "failCgroupV1": false,
		"failSwapOn": false, "makeIPTablesUtilChains": false, "resolvConf": "",
		"podLogsDir": state + "/pods", "volumePluginDir": state + "/volume-plugins",
		// A test is no reason to evict or to clean up.
		"evictionHard": never, "imageGCHighThresholdPercent": 100,
		// The settings are its own already: see shieldKernel.
		"protectKernelDefaults": true,
	})
	if err != nil {
		return err
	}
	if err := start(
		ctx, s, fail, "kubelet", s.Components, "kubelet", "--config="+config, "--kubeconfig="+kubeconfig,
		"--hostname-override="+Name, "--node-ip="+Address, "--root-dir="+state+"/kubelet",
	); err != nil {
		return err
	}
	nodes := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	return await(ctx, "the node to be Ready", func(ctx context.Context) error {
		object, err := nodes.Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var n corev1.Node
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &n); err != nil {
			return err
		}
		return ready(&n)
	})
}

func ready(n *corev1.Node) error {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady {
			return fmt.Errorf("it has the taint %s", t.Key)
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return nil
			}
			return errors.New(c.Message)
		}
	}
	return errors.New("it has no condition Ready")
}

// trustAPIServer lets the API server use the kubelet, for logs and the like.
func trustAPIServer(ctx context.Context, client dynamic.Interface) error {
	binding := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: "kube-apiserver-kubelet-client"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:kubelet-api-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "kube-apiserver-kubelet-client"}},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(binding)
	if err == nil {
		_, err = client.Resource(rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")).
			Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("let the API server use the kubelet: %w", err)
	}
	return nil
}

// startProxy starts kube-proxy, which leads the addresses of Services to their pods.
func startProxy(ctx context.Context, s Settings, c *cluster.Cluster, fail context.CancelCauseFunc) error {
	kubeconfig, err := c.UserKubeconfig("system:kube-proxy")
	if err != nil {
		return err
	}
	config, err := writeConfig("kube-proxy", map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "nftables", "clientConnection": map[string]any{"kubeconfig": kubeconfig},
		"clusterCIDR": podCIDR, "hostnameOverride": Name,
		"healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
		// These settings are the whole machine's.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
	if err != nil {
		return err
	}
	return start(ctx, s, fail, "kube-proxy", s.Components, "kube-proxy", "--config="+config)
}

// writeConfig writes a component's configuration, as JSON, which is YAML.
func writeConfig(name string, config map[string]any) (string, error) {
	path := filepath.Join(state, name+".json")
	content, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("configure %s: %w", name, err)
	}
	return path, nil
}
