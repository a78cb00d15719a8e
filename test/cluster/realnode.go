package cluster

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// errForeign is the error of those who ask a cluster they have not started for keys.
var errForeign = errors.New("the cluster was started by somebody else, who has the keys")

// UserKubeconfig writes a kubeconfig for the user of that name, a kubelet's
// system:node:NAME for example, and returns its path.
func (c *Cluster) UserKubeconfig(name string, groups ...string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("make a kubeconfig for the user %s: %w", name, err)
	}
	if c.pki == nil {
		return fail(errForeign)
	}
	issued, err := c.pki.user(name, groups...)
	if err != nil {
		return fail(err)
	}
	path := c.folder.join("user-" + strings.ReplaceAll(name, ":", "-") + ".kubeconfig")
	user := &clientcmdapi.AuthInfo{ClientCertificateData: issued.certificate, ClientKeyData: issued.key}
	if err := writeKubeconfig(path, c.config.Host, c.pki.ca.pem, user, ""); err != nil {
		return fail(err)
	}
	return path, nil
}

// Serving are the files with which a server shows who it is and knows its clients.
type Serving struct{ Certificate, Key, ClientCA string }

// ServingCertificate makes the certificate of a server that the API server trusts, a
// kubelet for example, which is reached by these addresses. Clients of the cluster
// prove themselves by certificates of the same authority.
func (c *Cluster) ServingCertificate(name string, addresses ...net.IP) (Serving, error) {
	if c.pki == nil {
		return Serving{}, fmt.Errorf("make the certificate of the server %s: %w", name, errForeign)
	}
	file := "serving-" + name
	err := c.pki.store(file, c.pki.ca, x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{name},
		IPAddresses: addresses,
	})
	if err != nil {
		return Serving{}, fmt.Errorf("make the certificate of the server %s: %w", name, err)
	}
	return Serving{Certificate: c.pki.path(file + ".crt"), Key: c.pki.path(file + ".key"), ClientCA: c.pki.path("ca.crt")}, nil
}
