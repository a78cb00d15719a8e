package function

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// program starts the function as a program of its own.
func program(t *testing.T, binary string, env settings) (*exec.Cmd, string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), "LISTEN_ADDRESS=127.0.0.1:0")
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			go func() { _, _ = io.Copy(io.Discard, log) }() // nobody reads it, but it must not fill the pipe
			return command, "http://" + line.Address + "/"
		}
	}
	t.Fatal("the function did not start to listen")
	return nil, ""
}

// What was answered 204 is there, whole, however the program ends, and what was not can come again.
func TestProgramThatIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	binary := testkit.Binary(t, "dead-letter")
	for where, p := range map[string]place{"in a folder": folder(t), "in a bucket": bucket(artifacttest.Start(t))} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			env := maps.Clone(artifacttest.Environment())
			env["DEAD_LETTER_URL"] = p.address
			data := func(i int) string { return fmt.Sprintf(`{"number":%d,"much":%q}`, i, strings.Repeat("a", 50_000)) }
			const rounds, senders, enough = 3, 4, 15
			accepted, next, broken := map[int]bool{}, 0, 0
			var mu sync.Mutex
			for range rounds {
				victim, url := program(t, binary, env)
				client := &http.Client{Transport: &http.Transport{}}
				had := len(accepted)
				var group sync.WaitGroup
				for range senders {
					group.Go(func() {
						for {
							mu.Lock()
							next++
							i := next
							mu.Unlock()
							status := post(t, client, url, data(i))
							mu.Lock()
							switch status {
							case 0:
								broken++
							case http.StatusNoContent:
								accepted[i] = true
							default:
								t.Errorf("answered %d", status)
							}
							if len(accepted) == had+enough {
								_ = victim.Process.Kill() // While the other senders wait.
							}
							mu.Unlock()
							if status != http.StatusNoContent {
								return
							}
						}
					})
				}
				group.Wait()
				client.CloseIdleConnections()
			}
			if broken == 0 || len(accepted) < rounds*enough {
				t.Fatalf("%d were accepted, and %d broke off: the test has not done what it says", len(accepted), broken)
			}
			kept := map[string]int{}
			for name, text := range p.objects(t) {
				if !strings.HasSuffix(name, ".tmp") { // What is not finished is beside the place.
					kept[string(parse(t, text).Data())]++
				}
			}
			for i := range accepted {
				if kept[data(i)] != 1 {
					t.Errorf("number %d, which was accepted, is there %d times", i, kept[data(i)])
				}
			}
			t.Logf("%d accepted, %d broke off, %d are there", len(accepted), broken, len(kept))
		})
	}
}

// post sends a dead letter, and gives 0 where the connection broke.
func post(t *testing.T, client *http.Client, url, data string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(data))
	if err != nil {
		t.Error(err)
		return 0
	}
	for _, line := range binary() {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}
