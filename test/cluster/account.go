package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLifetime outlasts any run of tests, in seconds.
const tokenLifetime = int64(24 * 60 * 60)

// Attach gives the helpers of a [Cluster] for a cluster that somebody else has
// started, and whose cluster-admin kubeconfig is at that path. Its Stop removes the
// files that the helpers made and leaves the cluster alone.
func Attach(kubeconfig, binary string) (*Cluster, error) {
	folder, err := newFolder("")
	if err != nil {
		return nil, fmt.Errorf("attach to a cluster: %w", err)
	}
	c := &Cluster{Kubeconfig: kubeconfig, binary: binary, folder: folder, failed: make(chan struct{})}
	if err := c.connect(); err != nil {
		_ = folder.remove()
		return nil, fmt.Errorf("attach to a cluster: %w", err)
	}
	return c, nil
}

// ServiceAccountKubeconfig writes a kubeconfig that authenticates as the
// ServiceAccount, which must exist, and returns its path. The token is a real one,
// asked for as kubectl create token does.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("make a kubeconfig for the service account %s/%s: %w", namespace, name, err)
	}
	seconds := tokenLifetime
	request := &authenticationv1.TokenRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenRequest"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(request)
	if err != nil {
		return fail(err)
	}
	answer, err := c.client.Resource(accountsResource).Namespace(namespace).
		Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{}, "token")
	if err != nil {
		return fail(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, request); err != nil {
		return fail(err)
	}
	accounts := c.folder.join("accounts")
	if err := os.MkdirAll(accounts, 0o700); err != nil {
		return fail(err)
	}
	file, err := os.CreateTemp(accounts, namespace+"_"+name+"_*.kubeconfig")
	if err != nil {
		return fail(err)
	}
	if err := file.Close(); err != nil {
		return fail(err)
	}
	ca, err := certificateAuthority(c.config.CAData, c.config.CAFile)
	if err != nil {
		return fail(err)
	}
	user := &clientcmdapi.AuthInfo{Token: request.Status.Token}
	if err := writeKubeconfig(file.Name(), c.config.Host, ca, user, namespace); err != nil {
		return fail(err)
	}
	return file.Name(), nil
}

func certificateAuthority(data []byte, file string) ([]byte, error) {
	if len(data) > 0 || file == "" {
		return data, nil
	}
	return os.ReadFile(filepath.Clean(file))
}

// Kubectl runs the control plane's own kubectl as cluster-admin and returns what it
// prints. Where it fails, the error holds what it said.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, c.binary, append([]string{"kubectl"}, args...)...)
	//nolint:forbidigo // kubectl is the user's: its editor, pager and home are theirs too.
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	var output, errors bytes.Buffer
	command.Stdout, command.Stderr = &output, &errors
	if err := command.Run(); err != nil {
		return output.Bytes(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errors.String()))
	}
	return output.Bytes(), nil
}
