package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

type snsConfig struct {
	Topics     config.List `env:"SNS_TOPIC_ARNS" help:"SNS topics whose HTTPS subscriptions are confirmed and whose notifications are taken, such as arn:aws:sns:eu-west-1:123456789012:falco; SNS proves itself by its signature. Unset, none."`
	Attributes bool        `env:"SNS_UNSIGNED_ATTRIBUTES" envDefault:"false" help:"Read alerts from the message attributes too, as Falcosidekick without rawjson sends them. SNS does not sign attributes: whoever has seen a notification of the topic can make alerts of it for an hour."`
}

var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$`)

// Validate checks the names of the topics.
func (c snsConfig) Validate() error {
	for _, arn := range c.Topics {
		if !topicARN.MatchString(arn) {
			return fmt.Errorf("SNS_TOPIC_ARNS has %q: want arn:aws:sns:REGION:ACCOUNT:TOPIC, with commas between several", arn)
		}
	}
	if c.Attributes && len(c.Topics) == 0 {
		return errors.New("SNS_UNSIGNED_ATTRIBUTES is true although SNS_TOPIC_ARNS is not set: want both or neither")
	}
	return nil
}

// snsInput takes the messages of SNS's HTTPS subscriptions.
type snsInput struct {
	snsConfig
	log          *slog.Logger
	send         sender
	certificates *certificates
	now          func() time.Time
}

func newSNSInput(c snsConfig, log *slog.Logger) *snsInput {
	send := outbound.NewClient()
	if c.Attributes {
		log.Warn("SNS_UNSIGNED_ATTRIBUTES is true: SNS does not sign what alerts are made of")
	}
	return &snsInput{snsConfig: c, log: log, send: send, certificates: newCertificates(send), now: time.Now}
}

const rawDelivery = "X-Amz-Sns-Rawdelivery"

// isSNS says whether a request claims to come from SNS.
func isSNS(q serve.Request) bool {
	return q.Header.Get("X-Amz-Sns-Message-Type") != "" || q.Header.Get(rawDelivery) != ""
}

// maxAge is how old a message may be: SNS tries for an hour at most.
// https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
const maxAge = time.Hour + auth.Tolerance

// open checks a message and takes the alert out of it; messages about the subscription itself hold none.
func (s *snsInput) open(ctx context.Context, q serve.Request) ([]serve.Event, error) {
	if len(s.Topics) == 0 {
		return nil, unproven{errors.New("SNS_TOPIC_ARNS is not set: nothing is taken from SNS")}
	}
	if q.Header.Get(rawDelivery) == "true" {
		return nil, unproven{errors.New("raw message delivery of SNS carries no signature: turn it off for this subscription")}
	}
	var m snsMessage
	if err := json.Unmarshal(q.Body, &m); err != nil {
		return nil, response.InvalidError(fmt.Errorf("message of SNS is not readable: %w", err))
	}
	if err := s.check(ctx, m); err != nil {
		return nil, err
	}
	switch m.Type {
	case typeNotification:
		return s.alert(ctx, m)
	case typeSubscribe:
		return nil, s.confirm(ctx, m)
	case typeUnsubscribe: // To visit its address would subscribe again.
		s.log.WarnContext(ctx, "SNS ended a subscription: no more alerts come from it", "topic", m.TopicArn)
	}
	return nil, nil
}

// check is nil for a message that SNS has sent for one of our topics, lately.
func (s *snsInput) check(ctx context.Context, m snsMessage) error {
	if !slices.Contains(s.Topics, m.TopicArn) {
		return unproven{fmt.Errorf("topic is %q: want one of SNS_TOPIC_ARNS", m.TopicArn)}
	}
	sent, err := time.Parse(time.RFC3339, m.Timestamp)
	if age := s.now().Sub(sent); err != nil || age > maxAge || age < -auth.Tolerance {
		return unproven{fmt.Errorf("timestamp is %q: want one of the last hour", m.Timestamp)}
	}
	text, algorithm, signature, err := m.signed()
	if err != nil {
		return unproven{err}
	}
	if !strings.HasPrefix(m.SigningCertURL, "https://"+hostOf(m.TopicArn)+"/") {
		return unproven{errors.New("SigningCertURL is none of SNS in the topic's region")}
	}
	certificate, err := s.certificates.get(ctx, m.SigningCertURL)
	if err != nil {
		return err
	}
	if err := certificate.CheckSignature(algorithm, text, signature); err != nil {
		return unproven{errors.New("signature of SNS is not that of the message")}
	}
	return nil
}

// alert is the event in a notification.
func (s *snsInput) alert(ctx context.Context, m snsMessage) ([]serve.Event, error) {
	sent, err := time.Parse(time.RFC3339, m.Timestamp)
	if err != nil {
		return nil, err
	}
	n := events.SNSEntity{Message: m.Message, Timestamp: sent}
	if s.Attributes && len(m.MessageAttributes) > 0 {
		if err := json.Unmarshal(m.MessageAttributes, &n.MessageAttributes); err != nil {
			return nil, fmt.Errorf("message attributes are not readable: %w", err)
		}
	}
	body, err := serve.FromTopic(n)
	if err != nil {
		return nil, err
	}
	return serve.Decode(ctx, serve.Request{Header: http.Header{}, Body: body})
}

// confirm visits the address by which SNS learns that the subscription is wanted.
func (s *snsInput) confirm(ctx context.Context, m snsMessage) error {
	u, err := url.Parse(m.SubscribeURL)
	if err != nil || !atSNS(u) || u.Host != hostOf(m.TopicArn) || u.Query().Get("Action") != "ConfirmSubscription" || u.Query().Get("TopicArn") != m.TopicArn {
		return unproven{errors.New("SubscribeURL is none of SNS that confirms a subscription to this topic")}
	}
	if _, err := download(ctx, s.send, u.String()); err != nil {
		return fmt.Errorf("confirm the subscription to %s: %w", m.TopicArn, err)
	}
	s.log.InfoContext(ctx, "subscription to SNS confirmed", "topic", m.TopicArn)
	return nil
}
