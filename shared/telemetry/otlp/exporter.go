package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/riposte-dev/riposte/shared/outbound"
)

// maxAnswer is how much of a collector's answer is read.
const maxAnswer = 64 << 10

// sender sends one kind of telemetry to its address.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
type sender struct {
	signal, address string
	settings        Settings
	transport       http.RoundTripper
	log             *slog.Logger
	// failed is when the last export failed; nil since one succeeded.
	failed atomic.Pointer[time.Time]
}

func newTransport(s Settings) (*http.Transport, error) {
	authorities, err := s.authorities()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities},
		IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: outbound.MaxHeader,
	}, nil
}

// authorities are nil for those of the system.
func (s Settings) authorities() (*x509.CertPool, error) {
	if s.Certificate == "" {
		return nil, nil //nolint:nilnil // Package tls takes it so.
	}
	pem, err := os.ReadFile(s.Certificate)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE is %q: want a readable file: %w", s.Certificate, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE is %q: want certificates in PEM", s.Certificate)
	}
	return pool, nil
}

// send exports a message, and again as long as there is time for it and the collector asks for it. What it could not
// export is lost. It gives back nothing: whoever is told of an error by the SDK writes it to a log of its own.
func (s *sender) send(ctx context.Context, message proto.Message) {
	ctx, cancel := context.WithTimeout(ctx, s.settings.Timeout.Duration())
	defer cancel()
	s.settle(ctx, s.persist(ctx, message))
}

func (s *sender) persist(ctx context.Context, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if s.settings.Compression == "gzip" {
		if body, err = compressed(body); err != nil {
			return err
		}
	}
	for pause := time.Second; ; pause *= 2 {
		again, after, err := s.attempt(ctx, body)
		if err == nil || !again {
			return err
		}
		timer := time.NewTimer(max(pause, after))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func compressed(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return b.Bytes(), nil
}

// attempt posts the body once. again says that it may be posted again, after some time where the collector said so.
// https://opentelemetry.io/docs/specs/otlp/#failures-1
func (s *sender) attempt(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address, bytes.NewReader(body))
	if err != nil {
		return false, 0, fmt.Errorf("make the request: %w", err)
	}
	if r.Header, err = s.settings.headers(); err != nil {
		return false, 0, err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "riposte")
	if s.settings.Compression == "gzip" {
		r.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := outbound.Once(s.transport, r, maxAnswer)
	if err != nil {
		return true, 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // It has been read.
	outbound.Drain(resp.Body)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if resp.StatusCode/100 != 2 {
		err = fmt.Errorf("POST to %s: %w", r.URL.Host, &outbound.StatusError{Status: resp.StatusCode})
	}
	return again, outbound.RetryAfter(resp.Header, time.Now()), err
}

// fails says that an export failed less than some time ago.
func (s *sender) fails(lately time.Duration) bool {
	at := s.failed.Load()
	return at != nil && time.Since(*at) < lately
}

// settle logs when exports begin to fail, and when they succeed again.
func (s *sender) settle(ctx context.Context, err error) {
	if err == nil {
		if s.failed.Swap(nil) != nil {
			s.log.InfoContext(ctx, "telemetry is exported again", "signal", s.signal)
		}
		return
	}
	now, level := time.Now(), slog.LevelDebug
	if s.failed.Swap(&now) == nil {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "telemetry is not exported, and lost", "signal", s.signal, "error", err.Error())
}
