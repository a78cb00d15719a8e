package function

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

var (
	// The hosts and paths that only SNS can answer at. Anything else at these hosts could repeat what it is sent.
	snsHost = regexp.MustCompile(`^sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)
	snsPath = regexp.MustCompile(`^/SimpleNotificationService-[0-9A-Za-z]+\.pem$`)
	// The names in SNS's certificates: sns.amazonaws.com, and others by region.
	snsName = regexp.MustCompile(`^sns(-signing)?([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?$`)
)

// keptCertificates bounds the cache. SNS has one certificate for each region, and a new one every few months.
const keptCertificates = 32

// certificates are those that SNS signs with, by address.
type certificates struct {
	send  sender
	roots *x509.CertPool // Nil is the system's.
	now   func() time.Time

	mu   sync.Mutex
	kept map[string]*x509.Certificate
	// loading keeps a stranger from making us send many requests at once, or keep many of his.
	loading *gate
}

func newCertificates(send sender) *certificates {
	return &certificates{send: send, now: time.Now, kept: map[string]*x509.Certificate{}, loading: newGate(2)}
}

// hostOf is where SNS answers for a topic, by its region. What others keep on Amazon's hosts may have a name like it: a
// bucket called sns is at sns.s3.amazonaws.com.
func hostOf(arn string) string {
	part := append(strings.Split(arn, ":"), "", "", "", "")
	host := "sns." + part[3] + ".amazonaws.com"
	if part[1] == "aws-cn" {
		host += ".cn"
	}
	return host
}

// atSNS says whether an address is one of SNS itself.
func atSNS(u *url.URL) bool {
	return u.Scheme == "https" && u.User == nil && snsHost.MatchString(u.Host)
}

// get is the certificate at an address, downloaded if it has not been, and valid now. A certificate has one address:
// with a fragment, say, it would have as many as a stranger wants, each downloaded, until the cache is full of them.
func (c *certificates) get(ctx context.Context, address string) (*x509.Certificate, error) {
	u, err := url.Parse(address)
	if err != nil || !atSNS(u) || !snsPath.MatchString(u.Path) || address != "https://"+u.Host+u.Path {
		return nil, unproven{errors.New("SigningCertURL is no address of a certificate of SNS")}
	}
	if found := c.find(address); found != nil {
		return found, nil
	}
	leave, err := c.loading.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("certificate of SNS: %w", err)
	}
	defer leave()
	if found := c.find(address); found != nil {
		return found, nil
	}
	certificate, err := c.load(ctx, u.String())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= keptCertificates {
		clear(c.kept)
	}
	c.kept[address] = certificate
	return certificate, nil
}

func (c *certificates) find(address string) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.kept[address]; found != nil && c.now().Before(found.NotAfter) {
		return found
	}
	return nil
}

// load downloads a certificate and checks its chain. The file holds the leaf alone, which says where its issuer's is.
func (c *certificates) load(ctx context.Context, address string) (*x509.Certificate, error) {
	text, err := download(ctx, c.send, address)
	if err != nil {
		if response.KindOf(err) != response.Transient {
			return nil, unproven{fmt.Errorf("certificate of SNS: %w", err)}
		}
		return nil, fmt.Errorf("certificate of SNS: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, unproven{errors.New("certificate of SNS is not PEM")}
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, unproven{fmt.Errorf("certificate of SNS: %w", err)}
	}
	options := x509.VerifyOptions{
		Roots: c.roots, Intermediates: x509.NewCertPool(), CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if len(leaf.IssuingCertificateURL) > 0 { // Whatever is there has to lead to a root.
		der, err := download(ctx, c.send, leaf.IssuingCertificateURL[0])
		if err != nil {
			return nil, response.TransientError(fmt.Errorf("issuer of the certificate of SNS: %w", err), 0)
		}
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unproven{fmt.Errorf("issuer of the certificate of SNS: %w", err)}
		}
		options.Intermediates.AddCert(issuer)
	}
	if _, err := leaf.Verify(options); err != nil {
		return nil, unproven{fmt.Errorf("certificate of SNS: %w", err)}
	}
	if slices.ContainsFunc(leaf.DNSNames, snsName.MatchString) {
		return leaf, nil
	}
	return nil, unproven{fmt.Errorf("certificate of SNS is for %q: want sns.amazonaws.com, or one for a region", leaf.DNSNames)}
}
