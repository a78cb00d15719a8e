package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

type pubSubConfig struct {
	Audience       string `env:"PUBSUB_AUDIENCE" help:"Audience of the push subscriptions of Google Pub/Sub that are taken; set the same one at the subscription. Unset, none is."`
	ServiceAccount string `env:"PUBSUB_SERVICE_ACCOUNT" help:"Email address of the service account that the push subscriptions authenticate as."`
}

// Validate checks that both are set or neither: a token for our audience alone can be had by every user of Google's cloud.
func (c pubSubConfig) Validate() error {
	if (c.Audience == "") != (c.ServiceAccount == "") {
		return fmt.Errorf("PUBSUB_AUDIENCE is %q and PUBSUB_SERVICE_ACCOUNT is %q: want both or neither", c.Audience, c.ServiceAccount)
	}
	return nil
}

// Where Google's tokens come from, and the keys they are signed with.
// https://accounts.google.com/.well-known/openid-configuration
const (
	googleIssuer = "https://accounts.google.com"
	googleKeys   = "https://www.googleapis.com/oauth2/v3/certs"
)

// pubSubInput takes what Google Pub/Sub pushes.
// https://cloud.google.com/pubsub/docs/push
type pubSubInput struct {
	pubSubConfig
	issuer string
	keys   *keySet
	now    func() time.Time
}

func newPubSubInput(c pubSubConfig) *pubSubInput {
	return &pubSubInput{pubSubConfig: c, issuer: googleIssuer, keys: &keySet{send: outbound.NewClient(), address: googleKeys, now: time.Now, fetching: newGate(1)}, now: time.Now}
}

// push is the body of a push request.
type push struct {
	Message      json.RawMessage `json:"message"`
	Subscription string          `json:"subscription"`
}

// pushed is the message in it.
type pushed struct {
	// Data is the alert.
	Data       []byte            `json:"data"`
	Attributes map[string]string `json:"attributes"`
	ID         string            `json:"messageId"`
}

// takes recognises a push by the shape of its body; no alert and no CloudEvent has it.
func (p *pubSubInput) takes(q serve.Request) bool {
	if p.Audience == "" || q.Header.Get("Ce-Specversion") != "" {
		return false
	}
	var body push
	return json.Unmarshal(q.Body, &body) == nil && len(body.Message) > 0 && body.Subscription != ""
}

// open checks the sender and takes the alert out of the message.
func (p *pubSubInput) open(ctx context.Context, q serve.Request) ([]serve.Event, error) {
	if err := p.authenticate(ctx, q.Header); err != nil {
		return nil, err
	}
	var body push
	if err := json.Unmarshal(q.Body, &body); err != nil {
		return nil, response.InvalidError(fmt.Errorf("push of Pub/Sub is not readable: %w", err))
	}
	var message pushed
	if err := json.Unmarshal(body.Message, &message); err != nil {
		return nil, response.InvalidError(fmt.Errorf("message of %s is not readable: %w", body.Subscription, err))
	}
	if len(message.Data) == 0 {
		return nil, response.InvalidError(fmt.Errorf("message %s of %s has no data", message.ID, body.Subscription))
	}
	header := http.Header{} // Attributes can be those of a CloudEvent.
	for name, value := range message.Attributes {
		header.Set(name, value)
	}
	return serve.Decode(ctx, serve.Request{Header: header, Body: message.Data})
}

// authenticate is nil for a request with a token of Google for our audience and the service account.
// https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
func (p *pubSubInput) authenticate(ctx context.Context, header http.Header) error {
	scheme, token, found := strings.Cut(header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return unproven{errors.New("push of Pub/Sub has no token: enable authentication at the subscription")}
	}
	keys, err := p.keys.forToken(ctx, token)
	if err != nil {
		return err
	}
	verifier := oidc.NewVerifier(p.issuer, &oidc.StaticKeySet{PublicKeys: keys}, &oidc.Config{ClientID: p.Audience, Now: p.now})
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return unproven{fmt.Errorf("token of Pub/Sub: %w", err)}
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := verified.Claims(&claims); err != nil {
		return unproven{fmt.Errorf("token of Pub/Sub: %w", err)}
	}
	if claims.Email != p.ServiceAccount || !claims.Verified {
		return unproven{fmt.Errorf("token of Pub/Sub is that of %q, verified %t: want that of PUBSUB_SERVICE_ACCOUNT", claims.Email, claims.Verified)}
	}
	return nil
}
