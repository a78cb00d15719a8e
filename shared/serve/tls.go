package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
)

// encryption are the files of TLS.
type encryption struct {
	Certificate string `env:"TLS_CERT_FILE" help:"Path of a certificate (PEM, its chain behind it) to serve TLS with; read again when it changes. Unset, plain HTTP is served."`
	Key         string `env:"TLS_KEY_FILE" help:"Path of the key (PEM) of TLS_CERT_FILE."`
	ClientCA    string `env:"TLS_CLIENT_CA_FILE" help:"Path of the authorities (PEM) of callers: whoever sends an event has to show a certificate of one of them, and gets 401 without; read again when it changes. The pages /healthz, /readyz and /metrics take everybody, since the kubelet has no certificate."`
}

// Validate checks that the files belong together and can be used.
func (e encryption) Validate() error {
	switch {
	case (e.Certificate == "") != (e.Key == ""):
		return fmt.Errorf("TLS_CERT_FILE is %q and TLS_KEY_FILE is %q: want both or neither", e.Certificate, e.Key)
	case e.ClientCA != "" && e.Certificate == "":
		return fmt.Errorf("TLS_CLIENT_CA_FILE is %q although TLS_CERT_FILE is not set: want both or neither", e.ClientCA)
	case e.Certificate == "":
		return nil
	}
	texts, err := e.read()
	if err == nil {
		_, err = texts.config()
	}
	return err
}

// about is what the log says of it.
func (e encryption) about() string {
	switch {
	case e.Certificate == "":
		return "off"
	case e.ClientCA == "":
		return "on"
	}
	return "mutual"
}

// notHere refuses the settings of TLS where the platform owns the server: a safety that is off in silence is none.
func notHere(environ map[string]string) error {
	var problems []error
	for _, p := range config.Params(new(encryption)) {
		if value := environ[p.Name]; value != "" {
			problems = append(problems, fmt.Errorf("%s is %q: want it unset, since this platform serves HTTP itself and would not use it", p.Name, value))
		}
	}
	return errors.Join(problems...)
}

// texts are the contents of the files.
type texts struct{ certificate, key, clientCA []byte }

func (e encryption) read() (t texts, err error) {
	for _, file := range []struct {
		name, path string
		text       *[]byte
	}{
		{"TLS_CERT_FILE", e.Certificate, &t.certificate},
		{"TLS_KEY_FILE", e.Key, &t.key},
		{"TLS_CLIENT_CA_FILE", e.ClientCA, &t.clientCA},
	} {
		if file.path == "" {
			continue
		}
		if *file.text, err = os.ReadFile(file.path); err != nil {
			return texts{}, fmt.Errorf("read %s: %w", file.name, err)
		}
	}
	return t, nil
}

func (t texts) equal(other texts) bool {
	return slices.Equal(t.certificate, other.certificate) && slices.Equal(t.key, other.key) && slices.Equal(t.clientCA, other.clientCA)
}

// config is what the texts come to.
func (t texts) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair(t.certificate, t.key)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE and TLS_KEY_FILE hold no certificate and its key: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if t.clientCA == nil {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(t.clientCA) {
		return nil, errors.New("TLS_CLIENT_CA_FILE holds no certificate in PEM")
	}
	// Given, not required: the kubelet asks for the pages without one. Events without one are refused by serveEvent.
	c.ClientAuth = tls.VerifyClientCertIfGiven
	// A session that is taken up again would not be checked against new authorities.
	c.SessionTicketsDisabled = true
	return c, nil
}

// rotation is the configuration of TLS as the files are now. They are read at each handshake, which costs less than its
// arithmetic, and finds every change: a rename, a swapped link, a file that is written in place.
type rotation struct {
	files encryption
	log   *slog.Logger

	mu      sync.Mutex
	config  *tls.Config
	current texts
	refused string // Why the files, if they have changed, are not used.
}

// forClient gives the configuration of the files, or the last good one where they are not usable.
func (r *rotation) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.refresh()
	switch {
	case err == nil:
		r.refused = ""
	case r.config == nil:
		return nil, err
	case r.refused != err.Error(): // Once for each trouble.
		r.refused = err.Error()
		r.log.Error("new files of TLS are not usable; going on with the old ones", "error", r.refused)
	}
	return r.config, nil
}

// trusts says whether the certificate that a caller has shown is one of an authority as the file is now. It was checked
// when the connection was made, which may go on long after the authority was taken away, or the certificate has ended.
func (r *rotation) trusts(shown []*x509.Certificate) bool {
	c, err := r.forClient(nil)
	if err != nil || len(shown) == 0 {
		return false
	}
	options := x509.VerifyOptions{
		Roots: c.ClientCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, between := range shown[1:] {
		options.Intermediates.AddCert(between)
	}
	_, err = shown[0].Verify(options)
	return err == nil
}

func (r *rotation) refresh() error {
	now, err := r.files.read()
	if err != nil {
		return err
	}
	if r.config != nil && now.equal(r.current) {
		return nil
	}
	next, err := now.config()
	if err != nil {
		return err
	}
	if r.config != nil {
		r.log.Info("files of TLS have changed and are in use")
	}
	r.config, r.current = next, now
	return nil
}

// errNoCertificate is answered where TLS_CLIENT_CA_FILE is set.
var errNoCertificate = fmt.Errorf("caller shows no certificate of TLS_CLIENT_CA_FILE: %w", auth.ErrUnauthenticated)
