package function

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// copies are the names of the copies in a journal.
func copies(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestJournalAnswersBeforeTheFunction(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir)
	header, _ := s.expect(t, 202, alertAt(t, 1))
	if timing := header.Get("Server-Timing"); !strings.HasSuffix(timing, `delete-pod;dur=0.00;desc="queued"`) {
		t.Errorf("Server-Timing is %q", timing)
	}
	if len(copies(t, dir)) != 1 {
		t.Errorf("the journal has %v", copies(t, dir))
	}
	close(released)
	eventually(t, "the copy is removed", func() bool { return len(copies(t, dir)) == 0 })
	if len(g.got("delete-pod")) != 1 {
		t.Errorf("the function got %d calls", len(g.got("delete-pod")))
	}
}

// What a function answers is in the journal before its own delivery leaves it.
func TestJournalHasTheOutcome(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	released := make(chan struct{})
	g.function("delete-pod", outcomes("delete-pod"))
	g.function("slack", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, "    - exact: {response: delete-pod}\n")), "JOURNAL_URL", "file://"+dir)
	s.expect(t, 202, alertAt(t, 1))
	eventually(t, "slack is called", func() bool { return len(g.got("slack")) == 1 })
	eventually(t, "one copy is left", func() bool { return len(copies(t, dir)) == 1 })
	close(released)
	eventually(t, "no copy is left", func() bool { return len(copies(t, dir)) == 0 })
}

func TestJournalThatTakesNothing(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir)
	if err := os.WriteFile(filepath.Join(dir, "journal"), nil, 0o600); err != nil { // Where a folder has to be.
		t.Fatal(err)
	}
	s.expect(t, 204, alertAt(t, 1))
	if len(g.got("delete-pod")) != 1 {
		t.Errorf("the function got %d calls", len(g.got("delete-pod")))
	}
}

// The copy stays while neither the function nor the dead letter takes the event.
func TestJournalKeepsWhatCannotBeBuried(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	g.function("delete-pod", answers(400, "no pod"))
	g.function("dead", answers(400, "full"))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir, "JOURNAL_TAKEOVER", "300ms")
	body := alertAt(t, 1)
	s.expect(t, 202, body)
	eventually(t, "the dead letter was tried", func() bool { return len(g.got("dead")) > 1 })
	if len(copies(t, dir)) != 1 {
		t.Errorf("the journal has %v", copies(t, dir))
	}
	g.function("dead", answers(200, ""))
	eventually(t, "the copy is gone", func() bool { return len(copies(t, dir)) == 0 })
	dead := g.got("dead")
	last := dead[len(dead)-1]
	why, _ := base64.StdEncoding.DecodeString(last.header.Get("Ce-Knativeerrordata"))
	if string(last.body) != string(body) || last.header.Get("Ce-Knativeerrorcode") != "400" || string(why) != "no pod" {
		t.Errorf("the dead letter is %v %q", last.header, why)
	}
	if len(g.got("delete-pod")) != 1 {
		t.Errorf("the function got %d calls", len(g.got("delete-pod")))
	}
}

func TestStrangeThingsInTheJournal(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		strings.Repeat("a", 32) + ".json": "{}", strings.Repeat("b", 32) + ".json.1234.tmp": "{", "README": "hello",
	} {
		if err := os.WriteFile(filepath.Join(dir, "journal", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir, "JOURNAL_TAKEOVER", "300ms")
	eventually(t, "the copy is gone", func() bool { return len(copies(t, dir)) == 0 })
	if dead := g.got("dead"); len(dead) != 1 || string(dead[0].body) != "{}" || dead[0].header.Get("Ce-Type") != deadletter.TypeDiscarded {
		t.Errorf("dead letters: %v", dead)
	}
	if len(g.got("delete-pod")) != 0 {
		t.Error("the function was called")
	}
}

// Whoever took a Trigger away wants the function not to act, also where a queue had the call.
func TestTriggerIsGone(t *testing.T) {
	tests := map[string]func(*delivery){
		"before an attempt": func(*delivery) {},
		"while a queue had the call": func(d *delivery) {
			d.attempts, d.due = 1, time.Now().Add(-time.Minute)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			g, dir := newGateway(t), t.TempDir()
			j, err := newJournal(journaling{JournalURL: "file://" + dir, Takeover: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			e, err := (&engine{}).name(response.Event{Type: falco.TypeFalcosidekick, Data: alertAt(t, 1)})
			if err != nil {
				t.Fatal(err)
			}
			d := &delivery{event: e, route: &route{function: "label", trigger: "riposte/to-label", to: duckv1.Addressable{URL: parsed(g.URL)}}}
			change(d)
			if _, err := j.add(t.Context(), d.key(), d); err != nil {
				t.Fatal(err)
			}
			routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir)
			eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
			if dead := g.got("dead"); len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != "410" {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

// A router that is done with a copy does not bring it back, however late its touch is.
func TestTouchBringsNothingBack(t *testing.T) {
	dir := t.TempDir()
	j, err := newJournal(journaling{JournalURL: "file://" + dir, Takeover: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	e, err := (&engine{}).name(response.Event{Type: falco.TypeFalcosidekick, Data: alertAt(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	d := &delivery{event: e, route: &route{function: "label", to: duckv1.Addressable{URL: parsed("http://label.example")}}}
	r, err := j.add(t.Context(), d.key(), d)
	if err != nil {
		t.Fatal(err)
	}
	r.close() // A queue has the call.
	if err := j.drop(t.Context(), &record{key: d.key()}); err != nil {
		t.Fatal(err)
	}
	if err := j.touch(t.Context(), r); err != nil || len(copies(t, dir)) != 0 {
		t.Errorf("the journal has %v (%v)", copies(t, dir), err)
	}
}

// More copies than a function has places are taken up bit by bit, and none is dead-lettered for want of room.
func TestManyCopiesAreTakenUp(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	j, err := newJournal(journaling{JournalURL: "file://" + dir, Takeover: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	u, err := webAddress("http://gone.example")
	if err != nil {
		t.Fatal(err)
	}
	const many = 40
	for n := range many {
		e, err := (&engine{}).name(response.Event{Type: falco.TypeFalcosidekick, Data: alertAt(t, n)})
		if err != nil {
			t.Fatal(err)
		}
		d := &delivery{event: e, route: &route{function: "delete-pod", trigger: "riposte/to-delete-pod", to: duckv1.Addressable{URL: u}}}
		if _, err := j.add(t.Context(), d.key(), d); err != nil {
			t.Fatal(err)
		}
	}
	routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", "file://"+dir, "JOURNAL_TAKEOVER", "100ms", "FUNCTION_CONCURRENCY", "1", "FUNCTION_QUEUE", "3")
	eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
	ids := map[string]bool{}
	for _, c := range g.got("delete-pod") {
		ids[c.header.Get("Ce-Id")] = true
	}
	if len(ids) != many || len(g.got("dead")) != 0 {
		t.Errorf("the function got %d events, the dead letter %d", len(ids), len(g.got("dead")))
	}
}

// program is the router as a process.
type program struct {
	*exec.Cmd
	address string
}

func runProgram(t *testing.T, settings map[string]string) *program {
	t.Helper()
	p := &program{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), testkit.Binary(t, "router"))}
	p.Env = []string{"LISTEN_ADDRESS=127.0.0.1:0"}
	for name, value := range settings {
		p.Env = append(p.Env, name+"="+value)
	}
	log, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	lines := bufio.NewScanner(log)
	for p.address == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			p.address = line.Address
		} else {
			t.Log(lines.Text())
		}
	}
	if p.address == "" {
		t.Fatal("the router does not start")
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	return p
}

func (p *program) post(t *testing.T, body []byte, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := (&http.Client{}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func (p *program) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // Killed.
}

// Without a journal a router that is told to stop finishes what it has begun.
func TestRouterThatIsToldToStop(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	p := runProgram(t, map[string]string{"AUTH": "off", "TRIGGERS": folder(t, manifest("delete-pod", alerts, quick)), "FUNCTION_URL": g.URL + "/function/{function}"})
	answer := make(chan int)
	go func() { answer <- p.post(t, alertAt(t, 1)) }()
	eventually(t, "the function is called", func() bool { return len(g.got("delete-pod")) == 1 })
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the router takes nothing more", func() bool {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.address)
		if err == nil {
			_ = connection.Close()
		}
		return err != nil
	})
	close(released)
	if status := <-answer; status != 204 {
		t.Errorf("answered %d", status)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the router ended with %v", err)
	}
}

// What was answered 202 is delivered, whenever the router dies, and with the attempts it has had.
func TestRouterThatIsKilled(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	g.function("delete-pod", hangsUntil(nil))
	g.function("label", answers(500, ""))
	triggers := folder(t, manifest("delete-pod", alerts, quick), manifest("label", alerts, "retry: 1, backoffPolicy: exponential, backoffDelay: PT1H, timeout: PT10S"))
	settings := map[string]string{
		"AUTH": "off", "TRIGGERS": triggers, "FUNCTION_URL": g.URL + "/function/{function}", "DEAD_LETTER_URL": g.URL + "/dead",
		"JOURNAL_URL": "file://" + dir, "RESPONSE_TIMEOUT": "1s",
	}
	body := alertAt(t, 1)
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "told to stop": syscall.SIGTERM} {
		p := runProgram(t, settings)
		if status := p.post(t, body); status != 202 {
			t.Fatalf("answered %d", status)
		}
		eventually(t, "both functions were called, and label failed", func() bool {
			failed := 0
			for _, file := range copies(t, dir) {
				if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(`"attempts":1`)) {
					failed++
				}
			}
			return failed == 1 && len(g.got("delete-pod")) > 0
		})
		begin := time.Now()
		p.end(t, signal)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s, the router took %s to end", name, took)
		}
		if len(copies(t, dir)) != 2 {
			t.Fatalf("%s, the journal has %v", name, copies(t, dir))
		}
	}
	g.function("delete-pod", answers(204, ""))
	rewrite(t, triggers, manifest("delete-pod", alerts, quick)) // The Trigger of label is taken away.
	p := runProgram(t, settings)
	eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
	calls := g.got("delete-pod")
	if string(calls[len(calls)-1].body) != string(body) {
		t.Errorf("the data has changed: %s", calls[len(calls)-1].body)
	}
	dead := g.got("dead")
	if len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != "410" || string(dead[0].body) != string(body) {
		t.Errorf("dead letters: %v", dead)
	}
	p.end(t, syscall.SIGTERM)
}
