//go:build prove

package prove

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/retarget"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/gateway"
)

// crowd is how many alerts go through each way.
const crowd = 1000

func delivery(p proof) {
	overOpenFaaS(p, "OpenFaaS, synchronous", "/function/{function}", 1)
	overOpenFaaS(p, "OpenFaaS, asynchronous", "/async-function/{function}", 2)
}

// ledger is where alerts end: the stand-in of Slack that the function posts to, which will not have some of them, and
// the dead letters.
type ledger struct {
	mu       sync.Mutex
	acted    map[string]int
	poisoned map[string]bool
}

// ServeHTTP is Slack's incoming webhook. What it will not have it refuses for good, as Slack does.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.poisoned {
		if strings.Contains(string(body), id) {
			http.Error(w, "invalid_payload", http.StatusBadRequest)
			return
		}
	}
	var message struct{ Text string }
	if err := json.Unmarshal(body, &message); err != nil {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	l.acted[strings.TrimSpace(message.Text)]++
}

// count says how many of the alerts were acted on, and how many times more than once.
func (l *ledger) count(ids map[string]bool) (acted, repeats int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.acted {
		if ids[id] {
			acted, repeats = acted+1, repeats+n-1
		}
	}
	return acted, repeats
}

// crowdOf makes alerts that differ in their time alone, and says which ones will be refused.
func crowdOf(p proof, n int) (bodies [][]byte, ids map[string]bool, l *ledger) {
	template := testkit.Find(p, "03").Alert
	ids, l = map[string]bool{}, &ledger{acted: map[string]int{}, poisoned: map[string]bool{}}
	now := time.Now()
	for i := range n {
		body, _ := retarget.Body(template, retarget.Values{Time: now.Add(time.Duration(i) * time.Microsecond)})
		alert, err := falco.Decode(body)
		if err != nil {
			p.Fatal(err)
		}
		ids[alert.ID()] = true
		if i%40 == 0 {
			l.poisoned[alert.ID()] = true
		}
		bodies = append(bodies, body)
	}
	return bodies, ids, l
}

const crowdTrigger = `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: everything, namespace: riposte}
spec:
  broker: default
  filters: [{exact: {rule: Drop and execute new binary in container}}, {exact: {type: dev.riposte.alert.v1}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: slack}}
  delivery: {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.05S, timeout: PT10S}
`

// slackSettings make slack post the alert's id to the ledger.
func slackSettings(webhook string) []string {
	return []string{
		"SLACK_WEBHOOK_URL=" + webhook, "DRY_RUN=false", "MESSAGE_TEMPLATE={{.AlertID}}", "MAX_ALERT_AGE=0",
	}
}

// overOpenFaaS sends a crowd to the router, which calls slack through a gateway, while both are killed at random.
func overOpenFaaS(p proof, way, route string, seed uint64) {
	bodies, ids, l := crowdOf(p, crowd)
	webhook := httptest.NewServer(l)
	defer webhook.Close()
	gate := gateway.New(p.Context(), gateway.Options{Workers: 8})
	defer gate.Close()
	gatewayServer := httptest.NewServer(gate)
	defer gatewayServer.Close()

	slack := newVictim(p.T, "slack", slackSettings(webhook.URL)...)
	gate.Set("slack", slack.address)
	dir := p.TempDir()
	dead, journal, triggers := filepath.Join(dir, "dead"), filepath.Join(dir, "journal"), filepath.Join(dir, "triggers")
	for _, d := range []string{dead, journal, triggers} {
		if err := os.Mkdir(d, 0o700); err != nil {
			p.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(triggers, "everything.yaml"), []byte(crowdTrigger), 0o600); err != nil {
		p.Fatal(err)
	}
	settings := []string{
		"AUTH_TOKEN=t", "TRIGGERS=" + triggers, "FUNCTION_URL=" + gatewayServer.URL + route, "DEAD_LETTER_URL=file://" + dead,
	}
	if strings.HasPrefix(route, "/async") {
		settings = append(settings, "JOURNAL_URL=file://"+journal, "JOURNAL_TAKEOVER=3s",
			"CALLBACK_URL="+gatewayServer.URL+"/function/router", "CALLBACK_TIMEOUT=5s", "CALLBACK_KEY=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	}
	router := newVictim(p.T, "router", settings...)
	gate.Set("router", router.address)

	ctx, stop := context.WithTimeout(p.Context(), 4*time.Minute)
	defer stop()
	chaos, calm := context.WithCancel(ctx)
	haunted := haunt(chaos, seed, slack, router)
	accepted := sendAll(ctx, p, "http://"+router.address+"/", http.Header{"Authorization": {"Bearer t"}}, bodies)
	calm()
	<-haunted
	testkit.Eventually(p.T, "every alert ends somewhere", func(context.Context) error {
		acted, _ := l.count(ids)
		if ended := acted + len(deadLetters(p, dead)); ended < accepted || !empty(p, journal) {
			return fmt.Errorf("%d of %d have ended, journal empty: %t", ended, accepted, empty(p, journal))
		}
		return nil
	})
	acted, repeats := l.count(ids)
	ended := deadLetters(p, dead)
	wrong := 0
	for id, data := range ended {
		if !l.poisoned[id] || !contains(bodies, data) {
			wrong++
		}
	}
	p.row(way+": accepted = acted on + dead-lettered, while the function and the router are killed",
		fmt.Sprintf("%d = %d + %d (%d SIGTERM, %d SIGKILL; %d acted on again)", accepted, acted, len(ended),
			slack.terminations+router.terminations, slack.murdered+router.murdered, repeats),
		fmt.Sprintf("%d, all accepted", crowd), accepted == crowd && acted+len(ended) == accepted && wrong == 0)
	p.row(way+": dead letters keep the alert byte for byte", fmt.Sprintf("%d of %d", len(ended)-wrong, len(ended)), "all, 1 or more", wrong == 0 && len(ended) > 0)
}

// sendAll posts all bodies, several at once, each until it is accepted, and returns how many were.
func sendAll(ctx context.Context, p proof, url string, header http.Header, bodies [][]byte) int {
	const senders = 8
	var group sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	next := make(chan []byte)
	for range senders {
		group.Go(func() {
			for body := range next {
				if err := persistently(ctx, url, header, body); err != nil {
					p.Errorf("an alert was never accepted: %v", err)
					continue
				}
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	for _, body := range bodies {
		next <- body
	}
	close(next)
	group.Wait()
	return accepted
}

// deadLetters are the data of the events in a folder of dead letters, by the id of the event.
func deadLetters(p proof, dir string) map[string]string {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".json" {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var e struct {
			ID   string          `json:"id"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(content, &e); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		found[e.ID] = string(e.Data)
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	return found
}

func empty(p proof, dir string) bool {
	none := true
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		none = none && (err != nil || entry.IsDir())
		return nil // What goes away while we look is no matter.
	})
	if err != nil {
		p.Fatal(err)
	}
	return none
}

func contains(bodies [][]byte, data string) bool {
	for _, body := range bodies {
		if string(body) == data {
			return true
		}
	}
	return false
}
