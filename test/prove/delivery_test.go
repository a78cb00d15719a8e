//go:build prove

package prove

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/retarget"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/gateway"
)

// crowd is how many alerts go through each way, and every how long one is sent.
const (
	crowd = 1000
	every = 20 * time.Millisecond
)

func delivery(p proof) {
	overOpenFaaS(p, "OpenFaaS, synchronous", "/function/{function}", 1)
	overOpenFaaS(p, "OpenFaaS, asynchronous", "/async-function/{function}", 2)
	overNATS(p)
	overKnative(p, testkit.Cluster(p.T))
	answers(p)
	scale(p)
}

// ledger is where alerts end: the stand-in of Slack that the function posts to, which will not have some of them, and
// the dead letters.
type ledger struct {
	mu       sync.Mutex
	acted    map[string]int
	poisoned map[string]bool
}

// alertID is how a message in Slack names its alert.
var alertID = regexp.MustCompile("alert `([0-9a-f]{32})`")

// ServeHTTP is Slack's incoming webhook. What it will not have it refuses for good, as Slack does.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	id := alertID.FindSubmatch(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || id == nil || l.poisoned[string(id[1])] {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	l.acted[string(id[1])]++
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
  delivery: {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.1S, timeout: PT10S}
`

// slackSettings make slack post to the ledger.
func slackSettings(webhook string) []string {
	return []string{"SLACK_WEBHOOK_URL=" + webhook, "DRY_RUN=false"}
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
	dead, journal, manifests := folder(p, "dead"), folder(p, "journal"), folder(p, "triggers")
	writeCrowdTrigger(p, manifests)
	settings := []string{
		"AUTH_TOKEN=t", "TRIGGERS=" + manifests, "FUNCTION_URL=" + gatewayServer.URL + route, "DEAD_LETTER_URL=file://" + dead,
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
	settle(p, l, ids, dead, accepted)
	testkit.Eventually(p.T, "the journal is empty", func(context.Context) error {
		if left := entries(p, journal); left != 0 {
			return fmt.Errorf("%d are left", left)
		}
		return nil
	})
	acted, repeats := l.count(ids)
	ended := deadLetters(p, dead)
	wrong := 0
	for id, dead := range ended {
		if l.poisoned[id] && contains(bodies, string(dead.Data)) {
			continue
		}
		if wrong++; wrong == 1 {
			why, _ := base64.StdEncoding.DecodeString(dead.Why) // Cut where it was too long.
			p.Errorf("dead-lettered without a reason of ours: %s answered %d: %s", dead.From, dead.Code, why)
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
	pace := time.NewTicker(every)
	defer pace.Stop()
	for _, body := range bodies {
		<-pace.C // A crowd that is through before the first kill proves nothing.
		next <- body
	}
	close(next)
	group.Wait()
	return accepted
}

// deadLetter is an event that was kept, and why.
type deadLetter struct {
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data"`
	From string          `json:"knativeerrordest"`
	Code int             `json:"knativeerrorcode"`
	Why  string          `json:"knativeerrordata"`
}

// deadLetters are the events in a folder of dead letters, by the id of the event.
func deadLetters(p proof, dir string) map[string]deadLetter {
	found := map[string]deadLetter{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".json" {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var e deadLetter
		if err := json.Unmarshal(content, &e); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		found[e.ID] = e
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	return found
}

// settle waits until every alert that was accepted has ended somewhere.
func settle(p proof, l *ledger, ids map[string]bool, dead string, accepted int) {
	testkit.Eventually(p.T, "every alert ends somewhere", func(context.Context) error {
		acted, _ := l.count(ids)
		if ended := acted + len(deadLetters(p, dead)); ended < accepted {
			return fmt.Errorf("%d of %d have ended", ended, accepted)
		}
		return nil
	})
}

// entries counts the copies in a journal. What a killed writer left half written is none; it is swept away in time.
func entries(p proof, dir string) int {
	n := 0
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(entry.Name()) == ".json" {
			n++
		}
		return nil // What goes away while we look is no matter.
	})
	if err != nil {
		p.Fatal(err)
	}
	return n
}

func contains(bodies [][]byte, data string) bool {
	for _, body := range bodies {
		if string(body) == data {
			return true
		}
	}
	return false
}
