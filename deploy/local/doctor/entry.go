package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/uuid"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound"
)

// Kind is what stands at the entry.
type Kind string

// The kinds of entry.
const (
	// Falcosidekick takes what Falco's http_output sends: the bare alert.
	Falcosidekick Kind = "falcosidekick"
	// Broker is a Broker's ingress: it takes what Falcosidekick's CloudEvents output sends.
	Broker Kind = "broker"
	// Router is Riposte's: it takes the bare alert and a token.
	Router Kind = "router"
)

// Entry is where the alert goes in.
type Entry struct {
	URL  *url.URL
	Kind Kind
	// Token is the router's bearer token, if it wants one.
	Token config.Secret
	// AcceptQueued takes a router's word that it has stored the alert for delivery.
	AcceptQueued bool
}

// answer is what the entry said.
type answer struct {
	status  int
	timings []string
}

func (e Entry) post(ctx context.Context, alert falco.Alert) (answer, error) {
	request, err := e.request(ctx, alert)
	if err != nil {
		return answer{}, err
	}
	resp, err := outbound.NewClient().Do(request)
	if err != nil {
		return answer{}, refusal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	outbound.Drain(resp.Body)
	return answer{resp.StatusCode, resp.Header.Values("Server-Timing")}, nil
}

// refusal adds the first line of what the entry answered: Riposte and Knative say there what they want.
func refusal(err error) error {
	var status *outbound.StatusError
	if !errors.As(err, &status) {
		return err
	}
	line, _, _ := strings.Cut(string(status.Body), "\n")
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, line))
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "..."
	}
	if line == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, line)
}

func (e Entry) request(ctx context.Context, alert falco.Alert) (*http.Request, error) {
	if e.Kind == Broker {
		return e.cloudEvent(ctx, alert)
	}
	body, err := json.Marshal(alert)
	if err != nil {
		return nil, fmt.Errorf("encode the alert: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if e.Token.IsSet() {
		token, err := e.Token.Read()
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// cloudEvent makes the request that Falcosidekick would send for the alert.
func (e Entry) cloudEvent(ctx context.Context, alert falco.Alert) (*http.Request, error) {
	ce := event.New()
	ce.SetID(uuid.NewString())
	ce.SetType(falco.TypeFalcosidekick)
	ce.SetSource("https://falco.org")
	ce.SetTime(alert.Time)
	for name, value := range alert.Attributes() {
		ce.SetExtension(name, value)
	}
	if err := ce.SetData(event.ApplicationJSON, alert); err != nil {
		return nil, fmt.Errorf("encode the alert: %w", err)
	}
	request, err := cehttp.NewHTTPRequestFromEvent(ctx, e.URL.String(), ce)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	// The length is known, as it is from Falcosidekick; chunks would say that the doctor is another client.
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return request, nil
}

// look says what to look at where the entry did not take the alert.
func (e Entry) look(err error) string {
	var status *outbound.StatusError
	switch {
	case errors.Is(err, errTimeout) && e.Kind == Router:
		return fmt.Sprintf("whether router can be reached from here at %s and, if so, which function holds it up: it answers when all deliveries "+
			"are done, retries and dead letters too, or with 500 after its RESPONSE_TIMEOUT; -timeout waits longer", e.URL.Redacted())
	case !errors.As(err, &status):
		return fmt.Sprintf("whether %s runs and can be reached from here at %s", e.Kind, e.URL.Redacted())
	}
	switch {
	case status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden:
		return "the token: AUTH_TOKEN or AUTH_TOKEN_FILE must hold the one that " + string(e.Kind) + " wants"
	case status.Status == http.StatusNotFound && e.Kind == Broker:
		return "the path: the ingress of the channel-based Broker wants /NAMESPACE/BROKER, and the Broker must exist (kubectl get broker -A)"
	}
	return "the log of " + string(e.Kind)
}

// lost says what to look at where the entry took the alert and the Broker did not get it.
func (e Entry) lost(namespace string) string {
	switch e.Kind {
	case Broker:
		return "the Broker's data plane, which has taken the alert and delivers nothing: kubectl -n " + namespace +
			" describe broker, and the log of its filter or dispatcher"
	case Router:
		return "the router's K_SINK and its log"
	case Falcosidekick:
	}
	return "Falcosidekick's cloudevents.address and its minimum priority, which must let the canary's pass. " +
		"It reports every failure to reach the Broker as sent, so its log and metrics do not help; post to the Broker itself to see whether it works"
}
