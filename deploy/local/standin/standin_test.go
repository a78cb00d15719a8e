package standin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/riposte-dev/riposte/deploy/local/standin"
)

func start(t *testing.T) (*standin.Services, func() []standin.Message) {
	t.Helper()
	messages := make(chan standin.Message, 10)
	s, err := standin.Start(t.Context(), func(m standin.Message) { messages <- m })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, func() []standin.Message {
		var all []standin.Message
		for len(messages) > 0 {
			all = append(all, <-messages)
		}
		return all
	}
}

func post(t *testing.T, url, kind, body string) (int, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("X-Amz-Invocation-Type", kind)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode, response.Header
}

func TestSlack(t *testing.T) {
	s, got := start(t)
	status, _ := post(t, s.SlackWebhookURL(), "", `{"text":"a &lt;b&gt; &amp;amp;","attachments":[
		{"color":"#ff9000","text":"*rule*\noutput","fields":[{"title":"Pod","value":"cart-0","short":true}]}]}`)
	if status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	want := []standin.Message{{
		Service: "slack", Text: "a <b> &amp;\n*rule*\noutput", Colour: "#ff9000", Fields: []standin.Field{{Title: "Pod", Value: "cart-0"}},
	}}
	if diff := cmp.Diff(want, got(), cmpopts.IgnoreFields(standin.Message{}, "At")); diff != "" {
		t.Error(diff)
	}
	post(t, s.SlackWebhookURL(), "", `{"text":"Notice: rule","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*Notice* `+"`rule`"+`"}}],"attachments":[
		{"color":"#5bffb5","fallback":"Notice: rule","blocks":[
			{"type":"section","text":{"type":"mrkdwn","text":"`+"```a &lt;b&gt;```"+`"}},
			{"type":"section","fields":[{"type":"mrkdwn","text":"*Pod*\n`+"`cart-0`"+`"}]},
			{"type":"context","elements":[{"type":"mrkdwn","text":"Riposte"}]}]}]}`)
	want = []standin.Message{{
		Service: "slack", Text: "Notice: rule\na <b>", Colour: "#5bffb5", Fields: []standin.Field{{Title: "Pod", Value: "cart-0"}},
	}}
	if diff := cmp.Diff(want, got(), cmpopts.IgnoreFields(standin.Message{}, "At")); diff != "" {
		t.Error(diff)
	}
	if status, _ := post(t, s.SlackWebhookURL(), "", "no"); status != http.StatusBadRequest {
		t.Errorf("a broken message answered %d", status)
	}
}

func TestInvoke(t *testing.T) {
	s, got := start(t)
	for kind, want := range map[string]int{"RequestResponse": http.StatusOK, "Event": http.StatusAccepted, "DryRun": http.StatusNoContent} {
		status, header := post(t, s.AWSEndpointURL()+"/2015-03-31/functions/lock-account/invocations", kind, `{"rule":"r","output":"o"}`)
		if status != want || header.Get("X-Amz-Executed-Version") == "" {
			t.Errorf("%s answered %d %v", kind, status, header)
		}
		all := got()
		if len(all) != 1 || all[0].Service != "aws" || all[0].Title != "Invoke lock-account ("+kind+")" || all[0].Text != "o" {
			t.Errorf("%s was noted as %+v", kind, all)
		}
	}
	if status, _ := post(t, s.AWSEndpointURL()+"/2015-03-31/functions/f/invocations", "Event", strings.Repeat("x", 2<<20)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large a payload answered %d", status)
	}
}
