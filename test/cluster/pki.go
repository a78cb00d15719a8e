package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is how long a cluster's certificates are good for. A cluster seldom
// lives for more than a day; a machine may sleep for a week in between.
const lifetime = 365 * 24 * time.Hour

// pki makes and stores the keys and certificates of one cluster.
type pki struct {
	folder string
	ca     authority
	front  authority
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// pair is a certificate and its key in PEM.
type pair struct{ certificate, key []byte }

// newPKI makes the two authorities and every certificate that a component reads
// from a file. The names of the files are those of kubeadm.
func newPKI(folder string) (*pki, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the certificates: %w", err)
	}
	p := &pki{folder: folder}
	var err error
	if p.ca, err = p.newAuthority("ca", "kubernetes"); err != nil {
		return nil, err
	}
	// The API server trusts whoever this one certifies to name any user, so it must
	// not be the authority that certifies users.
	if p.front, err = p.newAuthority("front-proxy-ca", "front-proxy"); err != nil {
		return nil, err
	}
	serving := x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
	}
	if err := p.store("server", p.ca, serving); err != nil {
		return nil, err
	}
	clients := map[string]struct {
		authority authority
		subject   pkix.Name
	}{
		"etcd-client":              {p.ca, pkix.Name{CommonName: "kube-apiserver-etcd-client"}},
		"apiserver-kubelet-client": {p.ca, pkix.Name{CommonName: "kube-apiserver-kubelet-client"}},
		"front-proxy-client":       {p.front, pkix.Name{CommonName: "front-proxy-client"}},
	}
	for name, client := range clients {
		if err := p.store(name, client.authority, clientTemplate(client.subject)); err != nil {
			return nil, err
		}
	}
	return p, p.storeAccountKeys()
}

// path is where the file of that name is.
func (p *pki) path(name string) string { return filepath.Join(p.folder, name) }

// user returns a certificate for the API server's clients.
func (p *pki) user(name string, groups ...string) (pair, error) {
	return p.issue(p.ca, clientTemplate(pkix.Name{CommonName: name, Organization: groups}))
}

func clientTemplate(subject pkix.Name) x509.Certificate {
	return x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

func (p *pki) newAuthority(file, name string) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	template := x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if err := complete(&template); err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	a := authority{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}
	return a, p.write(file, pair{certificate: a.pem, key: keyPEM})
}

// issue makes a key and has the authority sign its certificate.
func (p *pki) issue(a authority, template x509.Certificate) (pair, error) {
	name := template.Subject.CommonName
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if err := complete(&template); err != nil {
		return pair{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.certificate, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	return pair{certificate: encode("CERTIFICATE", der), key: keyPEM}, nil
}

func (p *pki) store(file string, a authority, template x509.Certificate) error {
	issued, err := p.issue(a, template)
	if err != nil {
		return err
	}
	return p.write(file, issued)
}

// storeAccountKeys makes the keys that sign and check ServiceAccount tokens.
func (p *pki) storeAccountKeys() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	for name, content := range map[string][]byte{"sa.key": private, "sa.pub": encode("PUBLIC KEY", public)} {
		if err := os.WriteFile(p.path(name), content, 0o600); err != nil {
			return fmt.Errorf("write the key of service accounts: %w", err)
		}
	}
	return nil
}

func (p *pki) write(file string, content pair) error {
	if err := os.WriteFile(p.path(file+".crt"), content.certificate, 0o600); err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	if err := os.WriteFile(p.path(file+".key"), content.key, 0o600); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	return nil
}

// complete fills in what every certificate has. It is good from a little earlier
// on, for clocks that are set back.
func complete(template *x509.Certificate) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template.SerialNumber = serial
	template.NotBefore = now.Add(-time.Hour)
	template.NotAfter = now.Add(lifetime)
	return nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
