package function

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// webAPI posts with a bot token. https://docs.slack.dev/reference/methods/chat.postMessage
type webAPI struct {
	token        config.Secret
	channel, url string
	client       *outbound.Client
	wait         time.Duration
}

func (w *webAPI) check() error {
	_, err := botToken(w.token)
	return err
}

// alertEvent is the type of the metadata on an alert's message.
const alertEvent = "riposte_alert"

func (w *webAPI) post(ctx context.Context, m message) (map[string]any, error) {
	token, err := botToken(w.token)
	if err != nil {
		return nil, err
	}
	api := slack.New(token, slack.OptionHTTPClient(w.client), slack.OptionAPIURL(w.url))
	details := map[string]any{}
	options := []slack.MsgOption{
		slack.MsgOptionText(m.notification, false), slack.MsgOptionBlocks(m.heading...), slack.MsgOptionAttachments(m.attachment),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
	}
	if !m.answers {
		options = append(options, slack.MsgOptionMetadata(slack.SlackMetadata{
			EventType: alertEvent, EventPayload: map[string]any{"alert_id": m.alertID},
		}))
	} else if thread, err := w.thread(ctx, api, m); err != nil {
		details["thread_error"] = err.Error() // The outcome is worth more than its place.
	} else if thread != "" {
		options = append(options, slack.MsgOptionTS(thread))
		details["thread_ts"] = thread
	}
	_, posted, err := api.PostMessageContext(ctx, w.channel, options...)
	if err == nil && posted == "" {
		err = errors.New("no timestamp") // The library takes {} for a success.
	}
	if err != nil {
		return nil, fmt.Errorf("post to Slack: %w", classify(err))
	}
	details["ts"] = posted
	return details, nil
}

const (
	// youngAlert is the age up to which an alert's own message may still be on its way: a function that acts in
	// milliseconds is faster than Slack.
	youngAlert = time.Minute
	// historyPages times historyPage messages are looked through.
	historyPages = 5
	historyPage  = 100
)

// thread finds the message of the alert; empty where there is none.
func (w *webAPI) thread(ctx context.Context, api *slack.Client, m message) (string, error) {
	thread, err := w.search(ctx, api, m)
	if err != nil || thread != "" || w.wait == 0 || time.Since(m.time) > youngAlert {
		return thread, err
	}
	timer := time.NewTimer(w.wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return w.search(ctx, api, m)
	}
}

// search looks through the messages since the alert. https://docs.slack.dev/reference/methods/conversations.history
func (w *webAPI) search(ctx context.Context, api *slack.Client, m message) (string, error) {
	query := slack.GetConversationHistoryParameters{
		ChannelID: w.channel, Limit: historyPage, IncludeAllMetadata: true,
		// The node's clock and Slack's may differ.
		Oldest: strconv.FormatInt(m.time.Add(-time.Minute).Unix(), 10),
	}
	for range historyPages {
		page, err := api.GetConversationHistoryContext(ctx, &query)
		if err != nil {
			return "", classify(err)
		}
		for _, found := range page.Messages {
			if found.Metadata.EventType == alertEvent && found.Metadata.EventPayload["alert_id"] == m.alertID {
				return found.Timestamp, nil
			}
		}
		if query.Cursor = page.ResponseMetaData.NextCursor; query.Cursor == "" {
			break
		}
	}
	return "", nil
}

// botToken is the token, read anew each time because it may rotate.
func botToken(secret config.Secret) (string, error) {
	token, err := secret.Read()
	if err != nil {
		return "", response.PermanentError(err)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", response.PermanentError(fmt.Errorf("SLACK_TOKEN is %s: want one such as xoxb-..., without blanks", secret))
	}
	return token, nil
}

// classify gives the errors of the Web API their kind. https://docs.slack.dev/reference/methods/chat.postMessage#errors
func classify(err error) error {
	var refused slack.SlackErrorResponse
	var status slack.StatusCodeError
	switch {
	case response.KindOf(err) != response.Unknown:
		return inSlacksWords(err)
	case errors.As(err, &refused):
		said := refused.Err
		if !isWord(said) {
			said = "an unknown error"
		}
		kind := response.Permanent
		switch said {
		case "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
			kind = response.Transient
		}
		return &response.Error{Kind: kind, Err: errors.New(said)}
	case errors.As(err, &status): // A success by HTTP, but the Web API knows no other than 200.
		return response.PermanentError(fmt.Errorf("SLACK_API_URL answered %d: want the address of the Web API", status.Code))
	}
	// The library's own error can quote the whole answer.
	return response.TransientError(errors.New("the answer is not that of the Web API"), 0)
}
