// Package pki makes certificate authorities and certificates for tests of TLS and of signatures.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// Certificate is the authority's own.
	Certificate *x509.Certificate
	// PEM is its text.
	PEM []byte
	key crypto.Signer
}

// Leaf is what a certificate says.
type Leaf struct {
	// Names are DNS names and addresses.
	Names []string
	// Valid is how long it is valid from now on; zero is an hour, less than zero has passed.
	Valid time.Duration
	// Issuer is where the issuer's certificate is said to be found.
	Issuer string
	// RSA asks for a key that signs as the messages of AWS are signed; else it is one of an elliptic curve.
	RSA bool
}

// Certificate is a certificate with its key.
type Certificate struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// PEM and KeyPEM are their texts.
	PEM, KeyPEM []byte
}

// New makes an authority that is its own issuer.
func New(tb testing.TB, name string) *Authority {
	tb.Helper()
	return authority(tb, name, nil)
}

// Intermediate makes an authority whose issuer is a.
func (a *Authority) Intermediate(tb testing.TB, name string) *Authority {
	tb.Helper()
	return authority(tb, name, a)
}

func authority(tb testing.TB, name string, issuer *Authority) *Authority {
	tb.Helper()
	key := curveKey(tb)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if issuer == nil {
		issuer = &Authority{Certificate: template, key: key}
	}
	certificate, text := issuer.sign(tb, template, key.Public(), time.Hour)
	return &Authority{Certificate: certificate, PEM: text, key: key}
}

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Issue makes a certificate, good for servers and clients.
func (a *Authority) Issue(tb testing.TB, leaf Leaf) Certificate {
	tb.Helper()
	key := curveKey(tb)
	if leaf.RSA {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			tb.Fatalf("make a key: %v", err)
		}
	}
	template := &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range leaf.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	if leaf.Issuer != "" {
		template.IssuingCertificateURL = []string{leaf.Issuer}
	}
	if leaf.Valid == 0 {
		leaf.Valid = time.Hour
	}
	certificate, text := a.sign(tb, template, key.Public(), leaf.Valid)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatalf("write a key: %v", err)
	}
	return Certificate{certificate, key, text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// sign fills in what all certificates have. They begin an hour ago, or an hour before their end.
func (a *Authority) sign(tb testing.TB, template *x509.Certificate, key crypto.PublicKey, valid time.Duration) (*x509.Certificate, []byte) {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatalf("make a serial number: %v", err)
	}
	template.SerialNumber = serial
	template.NotAfter = time.Now().Add(valid)
	template.NotBefore = time.Now().Add(min(valid, 0) - time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key, a.key)
	if err != nil {
		tb.Fatalf("sign a certificate: %v", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("read a certificate: %v", err)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func curveKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make a key: %v", err)
	}
	return key
}

// TLS is the certificate for a server or a client.
func (c Certificate) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.Key, Leaf: c.Certificate}
}

// Write puts certificate and key into the files tls.crt and tls.key of a folder, as Kubernetes does.
func (c Certificate) Write(tb testing.TB, dir string) (certificate, key string) {
	tb.Helper()
	return File(tb, dir, "tls.crt", c.PEM), File(tb, dir, "tls.key", c.KeyPEM)
}

// File writes a file and gives its path.
func File(tb testing.TB, dir, name string, content []byte) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatalf("write %s: %v", name, err)
	}
	return path
}
