// Package standin plays, on this machine, the two services outside of the cluster that
// functions call: a Slack webhook and the Invoke API of AWS Lambda. They keep what they
// were sent so that it can be shown, and send nothing on.
package standin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxBody = 1 << 20

// Message is what one of the services was sent.
type Message struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"` // slack or aws
	// Title and Text are shown; Colour is Slack's, as #rrggbb or empty.
	Title  string  `json:"title"`
	Text   string  `json:"text"`
	Colour string  `json:"colour,omitempty"`
	Fields []Field `json:"fields,omitempty"`
}

// Field is a short fact of a Slack message.
type Field struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

// Services is both stand-ins.
type Services struct {
	server *http.Server
	base   string
	got    func(Message)
}

// Start starts the stand-ins. The function is called for each message.
func Start(ctx context.Context, got func(Message)) (*Services, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the stand-ins: %w", err)
	}
	s := &Services{base: "http://" + listener.Addr().String(), got: got}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /services/", s.slack)
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", s.invoke)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // Ends with Close.
	return s, nil
}

// Close ends the stand-ins.
func (s *Services) Close() error { return s.server.Close() }

// SlackWebhookURL is where messages for Slack are posted.
func (s *Services) SlackWebhookURL() string { return s.base + "/services/T00000000/B00000000/local" }

// AWSEndpointURL takes the place of AWS.
func (s *Services) AWSEndpointURL() string { return s.base }

// slack takes a message to an incoming webhook.
func (s *Services) slack(w http.ResponseWriter, r *http.Request) {
	var posted struct {
		Text        string `json:"text"`
		Attachments []struct {
			Color    string `json:"color"`
			Fallback string `json:"fallback"`
			Pretext  string `json:"pretext"`
			Title    string `json:"title"`
			Text     string `json:"text"`
			Fields   []struct {
				Title string `json:"title"`
				Value string `json:"value"`
			} `json:"fields"`
			Blocks []block `json:"blocks"`
		} `json:"attachments"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&posted); err != nil {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	message := Message{At: time.Now(), Service: "slack", Text: plain(posted.Text)}
	for _, a := range posted.Attachments {
		message.Colour = a.Color
		message.Title = plain(a.Title)
		for _, text := range []string{a.Pretext, a.Text} {
			message.Text = strings.TrimSpace(message.Text + "\n" + plain(text))
		}
		for _, f := range a.Fields {
			message.Fields = append(message.Fields, Field{Title: plain(f.Title), Value: plain(f.Value)})
		}
		for _, b := range a.Blocks {
			message.Text = strings.TrimSpace(message.Text + "\n" + b.Text.plain())
			for _, f := range b.Fields {
				title, value, _ := strings.Cut(f.plain(), "\n")
				message.Fields = append(message.Fields, Field{Title: title, Value: value})
			}
		}
	}
	s.got(message)
	_, _ = io.WriteString(w, "ok")
}

// block is a section of a message, in Slack's Block Kit.
type block struct {
	Text   mrkdwn   `json:"text"`
	Fields []mrkdwn `json:"fields"`
}

type mrkdwn struct {
	Text string `json:"text"`
}

// plain is the text without the marks of code and bold type.
func (m mrkdwn) plain() string {
	return plain(strings.NewReplacer("`", "", "*", "").Replace(m.Text))
}

// plain takes off Slack's escapes, which are the only ones it has.
func plain(text string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

// invoke answers as a Lambda function does that has nothing to say.
func (s *Services) invoke(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, `{"Message":"the payload is too large"}`, http.StatusRequestEntityTooLarge)
		return
	}
	name, err := url.PathUnescape(r.PathValue("name"))
	if err != nil {
		name = r.PathValue("name")
	}
	kind := r.Header.Get("X-Amz-Invocation-Type")
	var alert struct {
		Rule   string `json:"rule"`
		Output string `json:"output"`
	}
	_ = json.Unmarshal(body, &alert) // Whatever was sent is shown.
	s.got(Message{
		At: time.Now(), Service: "aws", Title: "Invoke " + name + " (" + kind + ")",
		Text: alert.Output, Fields: []Field{{Title: "Rule", Value: alert.Rule}, {Title: "Payload", Value: fmt.Sprintf("%d bytes", len(body))}},
	})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	switch kind {
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
	case "Event":
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString([]byte("stand-in")))
		_, _ = io.WriteString(w, `{"received":true}`)
	}
}
