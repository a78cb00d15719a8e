// Package function is slack: it posts alerts, and what other functions did about them, to
// Slack, by an incoming webhook or by a bot token.
//
// With a bot token an outcome answers in the thread of its alert: the alert's message carries
// its id as metadata and is looked up in the channel's history, so that nothing has to be
// remembered here. Where it is not found the outcome stands by itself.
//
// Whatever an alert says stands in code and is escaped: an attacker who controls it can neither
// mention people, nor hide a link, nor write a line that looks like one of ours. A repeat posts
// again.
package function

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

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
	ThreadWait time.Duration `env:"THREAD_WAIT" envDefault:"2s" help:"With SLACK_TOKEN: time an outcome waits for the message of its alert, once, before it stands by itself."`
	Template   Template      `env:"MESSAGE_TEMPLATE" help:"Go template of the message text, in place of the built-in one; the README lists its fields."`
}

// Validate checks that there is exactly one way to post, and that it can work.
func (c Config) Validate() error {
	switch {
	case c.WebhookURL.IsSet() && c.Token.IsSet():
		return errors.New("SLACK_WEBHOOK_URL and SLACK_TOKEN are both set: want one of them")
	case c.Token.IsSet():
		return c.validateToken()
	case !c.WebhookURL.IsSet():
		return errors.New("SLACK_WEBHOOK_URL and SLACK_TOKEN are not set: want one of them, or one of them with _FILE and the path of a file")
	case c.Channel != "":
		return fmt.Errorf("SLACK_CHANNEL is %q: want it with SLACK_TOKEN only; a webhook has a channel of its own", c.Channel)
	}
	_, err := webhookURL(c.WebhookURL)
	return err
}

func (c Config) validateToken() error {
	_, err := botToken(c.Token)
	_, urlErr := outbound.ParseURL(c.APIURL)
	// An ID is what the Web API takes everywhere; names work in some methods only.
	channelID := regexp.MustCompile(`^[CGD][A-Z0-9]{2,}$`)
	switch {
	case err != nil:
		return err
	case urlErr != nil:
		return fmt.Errorf("SLACK_API_URL is %q: want a URL such as https://slack.com/api/ (%w)", c.APIURL, urlErr)
	case !strings.HasSuffix(c.APIURL, "/"):
		return fmt.Errorf("SLACK_API_URL is %q: want a URL that ends in /", c.APIURL)
	case !channelID.MatchString(c.Channel):
		return fmt.Errorf("SLACK_CHANNEL is %q: want the ID of a channel, such as C0123456789", c.Channel)
	case c.ThreadWait < 0 || c.ThreadWait > 10*time.Second:
		return fmt.Errorf("THREAD_WAIT is %q: want 0s to 10s", c.ThreadWait)
	}
	return nil
}

// poster is one way to post.
type poster interface {
	// check says whether its secret can be used now.
	check() error
	// post sends a message once. The details are facts for the outcome.
	post(ctx context.Context, m message) (details map[string]any, err error)
}

type responder struct {
	poster   poster
	channel  string
	template Template
	dryRun   bool
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client := outbound.NewClient()
	r := &responder{channel: "webhook", template: c.Template, dryRun: common.DryRun, poster: &webhook{c.WebhookURL, client}}
	if c.Token.IsSet() {
		r.channel = c.Channel
		r.poster = &webAPI{token: c.Token, channel: c.Channel, url: c.APIURL, client: client, wait: c.ThreadWait}
	}
	return r, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	return r.send(ctx, alertMessage(alert, r.template))
}

// RespondOutcome implements response.OutcomeResponder.
func (r *responder) RespondOutcome(ctx context.Context, record response.Record) (response.Outcome, error) {
	return r.send(ctx, outcomeMessage(record, r.template))
}

func (r *responder) send(ctx context.Context, m message) (response.Outcome, error) {
	o := response.Outcome{
		Verdict: response.Applied, Message: "posted to Slack",
		Target: response.Target{Kind: "SlackChannel", Resource: "slack", Name: r.channel},
	}
	var err error
	if r.dryRun {
		o.Verdict, o.Message = response.DryRun, "would post to Slack: "+m.plain
		err = r.poster.check()
	} else {
		o.Details, err = r.poster.post(ctx, m)
	}
	if err != nil {
		return response.Outcome{}, err
	}
	if m.templateError != nil {
		o.Message += fmt.Sprintf("; with the built-in text, because MESSAGE_TEMPLATE failed: %s", m.templateError)
	}
	return o, nil
}
