package function

import (
	"errors"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/serve"
)

// The ways a sender is authenticated.
const (
	authRequired = "required"
	authMTLS     = "mtls"
	authOff      = "off"
)

// access says who may send events.
type access struct {
	Auth string `env:"AUTH" envDefault:"required" oneof:"required,mtls,off" help:"Whom to take events from: required, who shows a token or a signature; mtls, who shows a certificate of TLS_CLIENT_CA_FILE; off, anybody who reaches the router."`
	auth.Secrets
}

// Validate refuses a router that would take events from anybody without being told to.
func (a access) Validate() error {
	switch {
	case a.Auth == authRequired && !a.Enabled():
		return errors.New("AUTH_TOKEN and AUTH_HMAC_KEY are not set: want one of them or both, or AUTH=mtls, or AUTH=off to take events from anybody who reaches the router")
	case a.Auth != authRequired && a.Enabled():
		return fmt.Errorf("AUTH is %q although AUTH_TOKEN or AUTH_HMAC_KEY is set: want AUTH=required, or neither of them", a.Auth)
	}
	return a.Secrets.Validate()
}

// check is nil for a sender that may send.
func (a access) check(r serve.Request, now time.Time) error {
	switch {
	case a.Auth == authOff:
		return nil
	case a.Auth == authMTLS && r.Verified:
		return nil
	case a.Auth == authMTLS:
		return fmt.Errorf("caller shows no certificate: %w", auth.ErrUnauthenticated)
	}
	return a.Check(r.Header, r.Body, now)
}
