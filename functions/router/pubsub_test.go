package function

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

const (
	issuer   = "https://issuer.example"
	keysPage = issuer + "/certs"
	audience = "https://router.example/push"
	account  = "push@project.iam.gserviceaccount.com"
)

// google is an issuer of tokens.
type google struct {
	*outside
	keys map[string]*rsa.PrivateKey
}

func newGoogle(t *testing.T) *google {
	t.Helper()
	g := &google{outside: newOutside(t, "issuer.example"), keys: map[string]*rsa.PrivateKey{}}
	g.publish(t, "one")
	return g
}

// publish makes a key and shows it, and no other.
func (g *google) publish(t *testing.T, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g.keys[id] = key
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	g.put(keysPage, http.StatusOK, set)
}

func (g *google) input(t *testing.T) *pubSubInput {
	t.Helper()
	var c pubSubConfig
	if err := config.Load(map[string]string{"PUBSUB_AUDIENCE": audience, "PUBSUB_SERVICE_ACCOUNT": account}, &c); err != nil {
		t.Fatal(err)
	}
	p := newPubSubInput(c)
	p.issuer, p.keys.send, p.keys.address = issuer, g, keysPage
	return p
}

// token is signed with a key; claims that are nil are left out.
func token(t *testing.T, signer jose.SigningKey, id string, claims map[string]any) string {
	t.Helper()
	all := map[string]any{
		"iss": issuer, "aud": audience, "email": account, "email_verified": true, "sub": "1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
	for name, value := range claims {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(signer, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func (g *google) token(t *testing.T, id string, claims map[string]any) string {
	t.Helper()
	return token(t, jose.SigningKey{Algorithm: jose.RS256, Key: g.keys[id]}, id, claims)
}

// pushes is a push request.
func pushes(t *testing.T, authorization string, data []byte, attributes map[string]string) serve.Request {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"message":      map[string]any{"data": data, "messageId": "1", "publishTime": "2026-01-01T00:00:00Z", "attributes": attributes},
		"subscription": "projects/p/subscriptions/s",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	return serve.Request{Header: h, Body: body}
}

func TestPushTokens(t *testing.T) {
	g := newGoogle(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := g.token(t, "one", nil)
	head, rest, _ := strings.Cut(good, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	tests := map[string]struct {
		authorization string
		want          string
	}{
		"good":                     {"Bearer " + good, accepted},
		"several audiences":        {"Bearer " + g.token(t, "one", map[string]any{"aud": []string{"a", audience}}), accepted},
		"none":                     {"", unauthenticated},
		"another scheme":           {"Basic " + good, unauthenticated},
		"no token":                 {"Bearer abc", unauthenticated},
		"expired":                  {"Bearer " + g.token(t, "one", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), unauthenticated},
		"for another audience":     {"Bearer " + g.token(t, "one", map[string]any{"aud": "https://other.example"}), unauthenticated},
		"by another issuer":        {"Bearer " + g.token(t, "one", map[string]any{"iss": "https://accounts.google.com"}), unauthenticated},
		"of another account":       {"Bearer " + g.token(t, "one", map[string]any{"email": "other@project.iam.gserviceaccount.com"}), unauthenticated},
		"of no account":            {"Bearer " + g.token(t, "one", map[string]any{"email": nil}), unauthenticated},
		"email not verified":       {"Bearer " + g.token(t, "one", map[string]any{"email_verified": false}), unauthenticated},
		"email claimed as text":    {"Bearer " + g.token(t, "one", map[string]any{"email_verified": "true"}), unauthenticated},
		"signed by somebody else":  {"Bearer " + token(t, jose.SigningKey{Algorithm: jose.RS256, Key: other}, "one", nil), unauthenticated},
		"with an unknown key":      {"Bearer " + token(t, jose.SigningKey{Algorithm: jose.RS256, Key: other}, "two", nil), unauthenticated},
		"signed with a secret":     {"Bearer " + token(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte("a secret of thirty-two characters")}, "one", nil), unauthenticated},
		"with another algorithm":   {"Bearer " + token(t, jose.SigningKey{Algorithm: jose.PS256, Key: g.keys["one"]}, "one", nil), unauthenticated},
		"without a signature":      {"Bearer " + head + "." + claims + ".", unauthenticated},
		"signature of other words": {"Bearer " + head + "." + claims[:len(claims)-3] + "." + signature, unauthenticated},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := pushes(t, test.authorization, numbered(1), nil)
			p := g.input(t)
			if !p.takes(q) {
				t.Fatal("it is not recognised")
			}
			events, err := p.open(t.Context(), q)
			if got := verdict(err); got != test.want {
				t.Fatalf("%s: %v, want %s", got, err, test.want)
			}
			if err == nil && !cmp.Equal(bare(events), []response.Event{{Type: falco.TypeFalcosidekick, Data: numbered(1)}}) {
				t.Errorf("took %v", events)
			}
		})
	}
}

// Google's keys are fetched when they are needed, kept, and fetched again for a key nobody knows, but not at the pace of
// those who make up keys.
func TestGooglesKeys(t *testing.T) {
	g := newGoogle(t)
	p := g.input(t)
	now := time.Now()
	p.keys.now = func() time.Time { return now }
	push := func(token string) string {
		t.Helper()
		_, err := p.open(t.Context(), pushes(t, "Bearer "+token, numbered(1), nil))
		return verdict(err)
	}
	expect := func(what, got, want string, fetched int) {
		t.Helper()
		if n := len(g.requests()); got != want || n != fetched {
			t.Errorf("%s: %s with %d fetches, want %s with %d", what, got, n, want, fetched)
		}
	}
	one := g.token(t, "one", nil)
	g.disappear(true)
	expect("Google is away", push(one), "transient", 0)
	g.disappear(false)
	expect("it was away just now", push(one), "transient", 0)
	now = now.Add(3 * time.Second)
	expect("Google is back", push(one), accepted, 1)
	expect("once more", push(one), accepted, 0)

	g.publish(t, "two")
	two := g.token(t, "two", nil)
	expect("a new key at once", push(two), unauthenticated, 0)
	now = now.Add(2 * time.Minute)
	expect("a new key later", push(two), accepted, 1)
	expect("the old key", push(one), unauthenticated, 0)

	now = now.Add(2 * time.Hour)
	g.disappear(true)
	expect("a key we know while Google is away", push(two), accepted, 0)
	now = now.Add(3 * time.Second)
	expect("a key we do not know while Google is away", push(one), "transient", 0)
	g.disappear(false)
	now = now.Add(3 * time.Second)
	g.put(keysPage, http.StatusOK, []byte("<html>"))
	expect("no keys", push(one), "transient", 1)
	g.put(keysPage, http.StatusInternalServerError, nil)
	now = now.Add(3 * time.Second)
	expect("an error", push(one), "transient", 1)
}

// While a stranger's made-up token makes us ask Google, who takes its time, those whose keys are known go on.
func TestKnownKeysDoNotWait(t *testing.T) {
	g := newGoogle(t)
	p := g.input(t)
	now := time.Now()
	p.keys.now = func() time.Time { return now }
	good := pushes(t, "Bearer "+g.token(t, "one", nil), numbered(1), nil)
	if _, err := p.open(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	h := held{g, make(chan struct{}), make(chan struct{})}
	p.keys.send = h
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := pushes(t, "Bearer "+token(t, jose.SigningKey{Algorithm: jose.RS256, Key: other}, "two", nil), numbered(1), nil)
	const strangers = 50
	answers := make(chan error, strangers)
	for range strangers {
		go func() {
			_, err := p.open(t.Context(), forged)
			answers <- err
		}()
	}
	<-h.asked
	for range strangers - 1 - maxWaiting {
		if err := <-answers; response.KindOf(err) != response.Transient {
			t.Fatalf("one too many: %v", err)
		}
	}
	if _, err := p.open(t.Context(), good); err != nil {
		t.Errorf("a key we know: %v", err)
	}
	close(h.release)
	for range 1 + maxWaiting { // Nobody asks again: a second request would find nobody who takes it.
		if err := <-answers; verdict(err) != unauthenticated {
			t.Errorf("a made-up token: %v", err)
		}
	}
}

func TestPushBodies(t *testing.T) {
	g := newGoogle(t)
	p := g.input(t)
	authorization := "Bearer " + g.token(t, "one", nil)
	cloudEvent := map[string]string{"ce-specversion": "1.0", "ce-id": "7", "ce-type": "dev.riposte.response.v1", "ce-source": "/a", "content-type": "application/json"}
	tests := map[string]struct {
		body  string
		takes bool
		want  string
		event response.Event
	}{
		"an alert":       {string(pushes(t, "", numbered(1), nil).Body), true, accepted, response.Event{Type: falco.TypeFalcosidekick, Data: numbered(1)}},
		"a CloudEvent":   {string(pushes(t, "", numbered(1), cloudEvent).Body), true, accepted, response.Event{ID: "7", Type: "dev.riposte.response.v1", Data: numbered(1)}},
		"half of one":    {string(pushes(t, "", numbered(1), map[string]string{"ce-specversion": "1.0"}).Body), true, "unknown", response.Event{}},
		"no data":        {`{"message":{"messageId":"1"},"subscription":"s"}`, true, "invalid", response.Event{}},
		"no base64":      {`{"message":{"data":"{}"},"subscription":"s"}`, true, "invalid", response.Event{}},
		"no message":     {`{"message":"a","subscription":"s"}`, true, "invalid", response.Event{}},
		"bare":           {string(numbered(1)), false, "", response.Event{}},
		"a subscription": {`{"subscription":"s"}`, false, "", response.Event{}},
		"no JSON":        {"{", false, "", response.Event{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := serve.Request{Header: http.Header{"Authorization": {authorization}}, Body: []byte(test.body)}
			if got := p.takes(q); got != test.takes {
				t.Fatalf("it takes it: %t", got)
			}
			if !test.takes {
				return
			}
			events, err := p.open(t.Context(), q)
			if got := verdict(err); got != test.want {
				t.Fatalf("%s: %v, want %s", got, err, test.want)
			}
			if err == nil && !cmp.Equal(bare(events), []response.Event{test.event}) {
				t.Errorf("took %v", events)
			}
		})
	}
	q := pushes(t, authorization, numbered(1), nil)
	if newPubSubInput(pubSubConfig{}).takes(q) {
		t.Error("it is taken although it is off")
	}
	q.Header.Set("Ce-Specversion", "1.0")
	if p.takes(q) {
		t.Error("a CloudEvent is taken for a push")
	}
	q.Body = []byte("{")
	if _, err := p.open(t.Context(), q); verdict(err) != "invalid" {
		t.Errorf("no JSON: %v", err)
	}
}

func TestPubSubSettings(t *testing.T) {
	for name, environ := range map[string]map[string]string{
		"no account": {"PUBSUB_AUDIENCE": "a"}, "no audience": {"PUBSUB_SERVICE_ACCOUNT": "a"},
	} {
		if err := config.Load(environ, &pubSubConfig{}); err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
	if p := newPubSubInput(pubSubConfig{Audience: "a"}); p.issuer != "https://accounts.google.com" || !strings.HasPrefix(p.keys.address, "https://www.googleapis.com/") {
		t.Errorf("tokens are those of %s, keys at %s", p.issuer, p.keys.address)
	}
}
