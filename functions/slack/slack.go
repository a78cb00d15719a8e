// Package function is slack: it posts alerts, and what other functions did about them, to
// Slack, by an incoming webhook or by a bot token.
//
// With a bot token an outcome answers in the thread of its alert: the alert's message carries
// its id as metadata and is looked up in the channel's history, so that nothing has to be
// remembered here. Text from the alert is escaped: an attacker who controls it can neither
// mention people nor hide a link. A repeat posts again.
package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// Config are the settings of slack.
type Config struct {
	WebhookURL config.Secret `env:"SLACK_WEBHOOK_URL" help:"Incoming webhook to post to."`
	Token      config.Secret `env:"SLACK_TOKEN" help:"Bot token (chat:write, channels:history), instead of a webhook."`
	Channel    string        `env:"SLACK_CHANNEL" help:"ID of the channel, such as C0123456789; needed with SLACK_TOKEN."`
	APIURL     string        `env:"SLACK_API_URL" envDefault:"https://slack.com/api/" help:"Address of the Web API."`
	Template   Template      `env:"MESSAGE_TEMPLATE" help:"Go template of the message text, in place of the built-in one; docs in this README."`
}

// Validate checks that there is exactly one way to post.
func (c Config) Validate() error {
	switch {
	case c.WebhookURL.IsSet() == c.Token.IsSet():
		return errors.New("SLACK_WEBHOOK_URL and SLACK_TOKEN: want one of them")
	case c.Token.IsSet() && !regexp.MustCompile(`^[CGD][A-Z0-9]{5,}$`).MatchString(c.Channel):
		return fmt.Errorf("SLACK_CHANNEL is %q: want the ID of a channel, such as C0123456789", c.Channel)
	case !strings.HasSuffix(c.APIURL, "/"):
		return fmt.Errorf("SLACK_API_URL is %q: want a URL that ends in /", c.APIURL)
	}
	return nil
}

type responder struct {
	config Config
	http   *http.Client
	dryRun bool
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	return &responder{c, outbound.NewClient(), common.DryRun}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	return r.send(ctx, viewAlert(alert), false)
}

// RespondOutcome implements response.OutcomeResponder.
func (r *responder) RespondOutcome(ctx context.Context, record response.Record) (response.Outcome, error) {
	return r.send(ctx, viewOutcome(record), true)
}

func (r *responder) send(ctx context.Context, v View, answers bool) (response.Outcome, error) {
	attachment, err := r.config.Template.render(v)
	if err != nil {
		return response.Outcome{}, response.PermanentError(err)
	}
	o := response.Outcome{
		Verdict: response.Applied, Message: "posted to Slack",
		Target: response.Target{Kind: "SlackChannel", Resource: "slack", Name: r.name()},
	}
	if r.dryRun {
		o.Message = "would post to Slack: " + attachment.Fallback
		return o, nil
	}
	if r.config.Token.IsSet() {
		err = r.postMessage(ctx, attachment, v.AlertID, answers)
	} else {
		err = r.postWebhook(ctx, attachment)
	}
	if err != nil {
		return response.Outcome{}, classify(err)
	}
	return o, nil
}

func (r *responder) name() string {
	if r.config.Token.IsSet() {
		return r.config.Channel
	}
	return "webhook"
}

func (r *responder) postWebhook(ctx context.Context, a slack.Attachment) error {
	url, err := r.config.WebhookURL.Read()
	if err != nil {
		return response.PermanentError(err)
	}
	no := false
	return slack.PostWebhookCustomHTTPContext(ctx, url, r.http, &slack.WebhookMessage{
		Attachments: []slack.Attachment{a}, UnfurlLinks: &no, UnfurlMedia: &no,
	})
}

// alertEvent is the type of the metadata on an alert's message.
const alertEvent = "riposte_alert"

func (r *responder) postMessage(ctx context.Context, a slack.Attachment, alertID string, answers bool) error {
	token, err := r.config.Token.Read()
	if err != nil {
		return response.PermanentError(err)
	}
	api := slack.New(token, slack.OptionHTTPClient(r.http), slack.OptionAPIURL(r.config.APIURL))
	options := []slack.MsgOption{slack.MsgOptionAttachments(a), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl()}
	if answers {
		thread, err := r.thread(ctx, api, alertID)
		if err != nil {
			return err
		}
		if thread != "" {
			options = append(options, slack.MsgOptionTS(thread))
		}
	} else {
		options = append(options, slack.MsgOptionMetadata(slack.SlackMetadata{
			EventType: alertEvent, EventPayload: map[string]any{"alert_id": alertID},
		}))
	}
	_, _, err = api.PostMessageContext(ctx, r.config.Channel, options...)
	return err
}

// thread finds the alert's message among the channel's latest; empty where it is not there, then the outcome
// stands by itself.
func (r *responder) thread(ctx context.Context, api *slack.Client, alertID string) (string, error) {
	history, err := api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: r.config.Channel, Limit: 200, IncludeAllMetadata: true,
	})
	if err != nil {
		return "", err
	}
	for _, m := range history.Messages {
		if m.Metadata.EventType == alertEvent && m.Metadata.EventPayload["alert_id"] == alertID {
			return m.Timestamp, nil
		}
	}
	return "", nil
}

// classify gives Slack's errors their kind. https://docs.slack.dev/apis/web-api/rate-limits
func classify(err error) error {
	err = outbound.Redact(err)
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var refused slack.SlackErrorResponse
	switch {
	case response.KindOf(err) != response.Unknown:
		return err
	case errors.As(err, &limited):
		return response.TransientError(err, limited.RetryAfter)
	case errors.As(err, &status):
		return &response.Error{Kind: outbound.Kind(status.Code), Err: fmt.Errorf("post to Slack: %w", err)}
	case errors.As(err, &refused):
		switch refused.Err {
		case "ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout":
			return response.TransientError(fmt.Errorf("post to Slack: %w", err), 0)
		}
		return response.PermanentError(fmt.Errorf("post to Slack: %w", err))
	}
	return response.TransientError(fmt.Errorf("post to Slack: %w", err), 0)
}
