package serve_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/shared/testkit/pki"
)

// local is the name of servers in tests.
var local = pki.Leaf{Names: []string{"127.0.0.1"}}

// client trusts an authority, shows certificates, and makes a connection for each request.
func client(t *testing.T, ca *pki.Authority, shown ...pki.Certificate) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: ca.Pool()}
	for _, certificate := range shown {
		c.Certificates = append(c.Certificates, certificate.TLS())
	}
	transport := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask sends a request and reads the answer; nil where there is none.
func ask(t *testing.T, c *http.Client, r *http.Request) (*http.Response, string, error) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body), nil
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serial is the number of the certificate that a server shows.
func serial(t *testing.T, c *http.Client, url string) *big.Int {
	t.Helper()
	resp, _, err := ask(t, c, get(t, url+"/healthz"))
	if err != nil {
		t.Fatal(err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber
}

// encrypted runs the program with further settings, and gives its address.
func encrypted(t *testing.T, environ ...string) (*process, string) {
	t.Helper()
	p := run(t, append([]string{"LISTEN_ADDRESS=127.0.0.1:0", "MAX_ALERT_AGE=0", "DRY_RUN=true", "SLACK_WEBHOOK_URL=http://127.0.0.1:1/services/x"}, environ...)...)
	address, _ := p.await(t, "listening")["address"].(string)
	return p, "https://" + address
}

func TestProgramServesTLS(t *testing.T) {
	ca := pki.New(t, "CA")
	certificate, key := ca.Issue(t, local).Write(t, t.TempDir())
	_, url := encrypted(t, "TLS_CERT_FILE="+certificate, "TLS_KEY_FILE="+key)
	resp, body, err := ask(t, client(t, ca), get(t, url+"/readyz"))
	if err != nil || resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/2.0" {
		t.Errorf("%v %s: %v", resp, body, err)
	}
	if resp, body, err := ask(t, client(t, ca), testkit.Find(t, "01").Webhook(t, url)); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("an event: %s, %v", body, err)
	}
	old := client(t, ca)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	if _, _, err := ask(t, old, get(t, url+"/readyz")); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if resp, _, err := ask(t, client(t, ca), get(t, strings.Replace(url, "https", "http", 1)+"/readyz")); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP without TLS: %v %v", resp, err)
	}
}

// Kubernetes swaps a link to a folder with the new files. What cannot be used is not, and said so once.
func TestProgramRotatesCertificates(t *testing.T) {
	ca := pki.New(t, "CA")
	mount := t.TempDir()
	swap := func(dir string) {
		t.Helper()
		if err := os.Symlink(dir, filepath.Join(mount, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..next"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(certificate, key []byte) string {
		t.Helper()
		dir := t.TempDir()
		pki.File(t, dir, "tls.crt", certificate)
		pki.File(t, dir, "tls.key", key)
		return dir
	}
	first, second, third := ca.Issue(t, local), ca.Issue(t, local), ca.Issue(t, local)
	swap(folder(first.PEM, first.KeyPEM))
	p, url := encrypted(t, "TLS_CERT_FILE="+filepath.Join(mount, "..data", "tls.crt"), "TLS_KEY_FILE="+filepath.Join(mount, "..data", "tls.key"))
	c := client(t, ca)
	expect := func(what string, want pki.Certificate) {
		t.Helper()
		if got := serial(t, c, url); got.Cmp(want.Certificate.SerialNumber) != 0 {
			t.Errorf("%s: the certificate is another one", what)
		}
	}
	expect("at first", first)
	swap(folder(second.PEM, second.KeyPEM))
	expect("the new one", second)
	p.await(t, "files of TLS have changed and are in use")

	const trouble = "new files of TLS are not usable; going on with the old ones"
	swap(folder(third.PEM, second.KeyPEM))
	expect("a certificate without its key", second)
	expect("once more", second)
	p.await(t, trouble)
	swap(folder([]byte("soon"), third.KeyPEM))
	expect("no certificate", second)
	if line := p.await(t, trouble); !strings.Contains(line["error"].(string), "PEM") { // The other trouble was told once.
		t.Errorf("the log says %v", line)
	}
	swap(t.TempDir())
	expect("no files", second)
	swap(folder(third.PEM, third.KeyPEM))
	expect("the third", third)
}

// With TLS_CLIENT_CA_FILE events need a certificate, and pages do not.
func TestProgramAsksForCertificates(t *testing.T) {
	ca, callers, strangers := pki.New(t, "CA"), pki.New(t, "callers"), pki.New(t, "strangers")
	dir := t.TempDir()
	certificate, key := ca.Issue(t, local).Write(t, dir)
	authority := pki.File(t, dir, "ca.crt", callers.PEM)
	p, url := encrypted(t, "TLS_CERT_FILE="+certificate, "TLS_KEY_FILE="+key, "TLS_CLIENT_CA_FILE="+authority)
	caller, stranger := callers.Issue(t, pki.Leaf{Names: []string{"falcosidekick"}}), strangers.Issue(t, pki.Leaf{Names: []string{"falcosidekick"}})
	expired := callers.Issue(t, pki.Leaf{Names: []string{"falcosidekick"}, Valid: -1})
	event := func(c *http.Client) (int, string) {
		t.Helper()
		resp, body, err := ask(t, c, testkit.Find(t, "01").Webhook(t, url))
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, body
	}
	// Go shows no certificate that the server has not asked for.
	insistent, shown := client(t, ca), stranger.TLS()
	insistent.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	for name, c := range map[string]struct {
		client *http.Client
		status int
	}{
		"a caller": {client(t, ca, caller), http.StatusOK}, "nobody": {client(t, ca), http.StatusUnauthorized},
		"a stranger": {client(t, ca, stranger), http.StatusUnauthorized}, "an expired caller": {client(t, ca, expired), 0},
		"a stranger who insists": {insistent, 0},
	} {
		status, body := event(c.client)
		if status != c.status || c.status == http.StatusUnauthorized && (!strings.Contains(body, "TLS_CLIENT_CA_FILE") || strings.Count(body, "\n") != 1) {
			t.Errorf("%s: status %d, %q, want %d", name, status, body, c.status)
		}
	}
	p.await(t, "request refused")
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		if resp, _, err := ask(t, client(t, ca), get(t, url+page)); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s without a certificate: %v, %v", page, resp, err)
		}
	}
	// The authority is rotated: the old callers are strangers.
	kept := client(t, ca, caller)
	kept.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	if status, body := event(kept); status != http.StatusOK {
		t.Errorf("status %d: %s", status, body)
	}
	// So they are on connections from before, of both versions of HTTP.
	alive := map[string]*http.Client{"HTTP/2": client(t, ca, caller), "HTTP/1.1": client(t, ca, caller)}
	for protocol, c := range alive {
		transport := c.Transport.(*http.Transport)
		transport.DisableKeepAlives, transport.ForceAttemptHTTP2 = false, protocol == "HTTP/2"
		for range 2 {
			if status, body := event(c); status != http.StatusOK {
				t.Errorf("%s: status %d: %s", protocol, status, body)
			}
		}
	}
	pki.File(t, dir, "ca.crt", strangers.PEM)
	for protocol, c := range alive {
		for range 2 {
			if status, _ := event(c); status != http.StatusUnauthorized {
				t.Errorf("a caller of the old authority, on an old connection, %s: status %d", protocol, status)
			}
		}
	}
	pki.File(t, dir, "ca.crt", append(append([]byte{}, callers.PEM...), strangers.PEM...))
	for protocol, c := range alive {
		if status, body := event(c); status != http.StatusOK {
			t.Errorf("a caller of one authority of two, %s: status %d, %s", protocol, status, body)
		}
	}
	pki.File(t, dir, "ca.crt", strangers.PEM)
	if status, _ := event(kept); status != http.StatusUnauthorized {
		t.Errorf("a caller of the old authority: status %d", status)
	}
	if status, body := event(client(t, ca, stranger)); status != http.StatusOK {
		t.Errorf("a caller of the new authority: status %d, %s", status, body)
	}
}

func TestSettingsOfTLS(t *testing.T) {
	ca := pki.New(t, "CA")
	one, other := t.TempDir(), t.TempDir()
	certificate, key := ca.Issue(t, local).Write(t, one)
	_, foreign := ca.Issue(t, local).Write(t, other)
	authority, none := pki.File(t, one, "ca.crt", ca.PEM), filepath.Join(one, "none")
	tests := map[string]struct {
		certificate, key, authority string
		name                        string
	}{
		"none":                        {},
		"a certificate":               {certificate: certificate, key: key},
		"all":                         {certificate: certificate, key: key, authority: authority},
		"no key":                      {certificate: certificate, name: "TLS_KEY_FILE"},
		"no certificate":              {key: key, name: "TLS_CERT_FILE"},
		"an authority alone":          {authority: authority, name: "TLS_CLIENT_CA_FILE"},
		"another key":                 {certificate: certificate, key: foreign, name: "TLS_KEY_FILE"},
		"no file":                     {certificate: none, key: key, name: "TLS_CERT_FILE"},
		"no file of authorities":      {certificate: certificate, key: key, authority: none, name: "TLS_CLIENT_CA_FILE"},
		"a key in place of authority": {certificate: certificate, key: key, authority: key, name: "TLS_CLIENT_CA_FILE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			environ := map[string]string{}
			for name, value := range map[string]string{"TLS_CERT_FILE": test.certificate, "TLS_KEY_FILE": test.key, "TLS_CLIENT_CA_FILE": test.authority} {
				if value != "" {
					environ[name] = value
				}
			}
			err := config.Load(environ, new(serve.Hosting))
			if (err != nil) != (test.name != "") || err != nil && !strings.Contains(err.Error(), test.name) {
				t.Errorf("%v, want a word of %q", err, test.name)
			}
			// Where another program serves, each of them would do nothing.
			err = define("recorder", &recorder{}).Start(t.Context(), environ)
			if (err != nil) != (len(environ) > 0) {
				t.Errorf("without a server of its own: %v", err)
			}
			for variable := range environ {
				if !strings.Contains(err.Error(), variable) {
					t.Errorf("no word of %s: %v", variable, err)
				}
			}
		})
	}
	p := run(t, "TLS_CERT_FILE="+certificate, "TLS_KEY_FILE="+key, "SLACK_WEBHOOK_URL=http://127.0.0.1:1/services/x", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1", "CLAIMS=memory")
	if status := p.status(t); status != 2 {
		t.Errorf("on Lambda: exit status is %d, want 2", status)
	}
}

// A service learns whether the caller has shown a certificate.
func TestServiceKnowsCertificates(t *testing.T) {
	ca, callers := pki.New(t, "CA"), pki.New(t, "callers")
	d := &desk{reply: serve.Reply{Status: http.StatusNoContent}}
	f := open(t, d)
	defer close(d.finish)
	server := httptest.NewUnstartedServer(http.HandlerFunc(f.Handle))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, local).TLS()}, ClientCAs: callers.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
	server.StartTLS()
	defer server.Close()
	for _, shown := range [][]pki.Certificate{nil, {callers.Issue(t, local)}} {
		if _, _, err := ask(t, client(t, ca, shown...), post(t, server.URL, "", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		if got := d.got[len(d.got)-1].Verified; got != (len(shown) > 0) {
			t.Errorf("with %d certificates: verified %t", len(shown), got)
		}
	}
	var unknown x509.UnknownAuthorityError
	if _, _, err := ask(t, client(t, callers), post(t, server.URL, "", nil)); !errors.As(err, &unknown) {
		t.Errorf("a server that is not trusted: %v", err)
	}
}
