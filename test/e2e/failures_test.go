package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// most is the longest answer of a failed call that Knative can take: its dispatcher makes
// 1024 characters of base64 of it for the dead letter, and one byte more is a panic that
// ends the process, with all that was under way. Functions answer 512 at most.
const most = 768

const (
	// often is a trigger's delivery with retries and a dead letter.
	often = `{retry: 3, backoffPolicy: exponential, backoffDelay: PT0.1S, deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead-letter}}}`
	// hasty is one with a time-out.
	hasty = `{retry: 1, backoffPolicy: linear, backoffDelay: PT0.1S, timeout: PT1S, deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead-letter}}}`
	// alone is one without a dead letter: the Broker's may take its place.
	alone = `{retry: 1, backoffPolicy: linear, backoffDelay: PT0.1S}`
	// elsewhere is one with a dead letter by its address.
	elsewhere = `{deadLetterSink: {uri: "http://dead-letter.riposte.svc.cluster.local/elsewhere"}}`
)

// failures are functions, by name, with the delivery of their trigger and what they do.
var failures = map[string]struct {
	delivery string
	do       behaviour
}{
	"nothing":             {often, answers(http.StatusNoContent, "")},
	"nothing-at-all":      {often, answers(http.StatusOK, "")},
	"accepted":            {often, answers(http.StatusAccepted, "")},
	"outcome":             {often, responds("outcome")},
	"no-event":            {often, answers(http.StatusOK, "deleted")},
	"created-no-event":    {often, answers(http.StatusCreated, "deleted")},
	"redirects":           {often, answers(http.StatusFound, "elsewhere")},
	"bad-request":         {often, answers(http.StatusBadRequest, "rule is missing\n")},
	"unauthorized":        {often, answers(http.StatusUnauthorized, "no token")},
	"forbidden":           {often, answers(http.StatusForbidden, "wrong token")},
	"too-large":           {often, answers(http.StatusRequestEntityTooLarge, "too large")},
	"unprocessable":       {often, answers(http.StatusUnprocessableEntity, "may not delete pods\n")},
	"teapot":              {often, answers(http.StatusTeapot, "")},
	"not-found-twice":     {often, twice(answers(http.StatusNotFound, "no such page"))},
	"timeout-twice":       {often, twice(answers(http.StatusRequestTimeout, "slow"))},
	"conflict-twice":      {often, twice(answers(http.StatusConflict, "changed"))},
	"busy-twice":          {often, twice(answers(http.StatusTooManyRequests, "later"))},
	"broken-twice":        {often, twice(answers(http.StatusInternalServerError, "API server away"))},
	"away-twice":          {often, twice(answers(http.StatusServiceUnavailable, ""))},
	"cut-twice":           {often, twice(cut)},
	"always-broken":       {often, answers(http.StatusInternalServerError, "API server away")},
	"always-cut":          {often, cut},
	"says-all-it-can":     {often, answers(http.StatusBadRequest, strings.Repeat("x", most))},
	"says-odd-things":     {often, answers(http.StatusBadRequest, "caf\u00e9 \x00\xff \r\n two lines")},
	"never-ends":          {hasty, hangs},
	"of-the-broker":       {"", answers(http.StatusBadRequest, "by the broker's delivery")},
	"of-the-broker-twice": {"", twice(answers(http.StatusInternalServerError, "by the broker's delivery"))},
	"alone":               {alone, answers(http.StatusInternalServerError, "nobody is told")},
	"elsewhere":           {elsewhere, answers(http.StatusInternalServerError, "no retries")},
}

func fails(service string) behaviour { return failures[service].do }

// failureManifests are a Broker with a delivery of its own and a trigger for each failure.
func failureManifests() string {
	var all strings.Builder
	fmt.Fprintf(&all, "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: riposte}\nspec: {delivery: %s}\n",
		strings.Replace(often, "retry: 3", "retry: 2", 1))
	names := []string{}
	for name := range failures {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&all, `---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: %[1]s, namespace: riposte}
spec:
  broker: default
  filters: [{exact: {type: falco.rule.output.v1}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: %[1]s}}
`, name)
		if d := failures[name].delivery; d != "" {
			fmt.Fprintf(&all, "  delivery: %s\n", d)
		}
	}
	return all.String()
}

func answers(status int, text string) behaviour {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Content-Type", "text/plain")
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// twice fails two times and then has nothing to say.
func twice(failure behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request, number int) {
		if number > 2 {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		failure(w, r, number)
	}
}

// cut ends the connection, as the death of a process does.
func cut(http.ResponseWriter, *http.Request, int) { panic(http.ErrAbortHandler) }

// hangs does not answer.
func hangs(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }

// decode reads the event of these headers, without its data.
func decode(header http.Header) (event.Event, error) {
	e, err := cehttp.NewEventFromHTTPRequest(&http.Request{Header: header.Clone(), Body: io.NopCloser(bytes.NewReader(nil))})
	if err != nil {
		return event.Event{}, err
	}
	return *e, nil
}
