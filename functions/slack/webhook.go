package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// webhook posts to an incoming webhook, whose URL is its secret.
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
type webhook struct {
	url    config.Secret
	client *outbound.Client
}

func (w *webhook) check() error {
	_, err := webhookURL(w.url)
	return err
}

func (w *webhook) post(ctx context.Context, m message) (map[string]any, error) {
	address, err := webhookURL(w.url)
	if err != nil {
		return nil, err
	}
	no := false
	body, err := json.Marshal(slack.WebhookMessage{
		Text: m.notification, Blocks: &slack.Blocks{BlockSet: m.heading}, Attachments: []slack.Attachment{m.attachment},
		UnfurlLinks: &no, UnfurlMedia: &no,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the message for Slack: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, response.PermanentError(errors.New("SLACK_WEBHOOK_URL cannot be posted to"))
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("post to Slack: %w", inSlacksWords(err))
	}
	defer func() { _ = answer.Body.Close() }()
	outbound.Drain(answer.Body)
	return map[string]any{}, nil
}

// webhookURL is the address to post to, read anew each time because it may rotate.
func webhookURL(secret config.Secret) (*url.URL, error) {
	raw, err := secret.Read()
	if err != nil {
		return nil, response.PermanentError(err)
	}
	u, err := outbound.ParseURL(raw)
	if err != nil {
		return nil, response.PermanentError(fmt.Errorf("SLACK_WEBHOOK_URL is %s: want a URL such as https://hooks.slack.com/services/... (%w)", secret, err))
	}
	return u, nil
}

// isWord says whether a text is one of Slack's words for what is wrong, such as channel_is_archived. Anything else an answer
// says could be anybody's text.
func isWord(text string) bool { return regexp.MustCompile(`^[a-z][a-z_]{1,63}$`).MatchString(text) }

// inSlacksWords adds Slack's own word to an error, where it gave one.
func inSlacksWords(err error) error {
	var status *outbound.StatusError
	if errors.As(err, &status) {
		if said := string(bytes.TrimSpace(status.Body)); isWord(said) {
			return fmt.Errorf("%w: %s", err, said)
		}
	}
	return err
}
