package bench

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// settings are what each function needs to start, and whether it acts on Kubernetes.
type settings struct {
	env     []string
	cluster bool
}

func functions(b *B) map[string]settings {
	b.Helper()
	triggers := filepath.Join(testkit.Root(b), "triggers")
	return map[string]settings{
		"collect-evidence": {[]string{"ARTIFACT_URL=file://" + b.TempDir()}, true},
		"delete-pod":       {nil, true},
		"isolate":          {nil, true},
		"label":            {[]string{"LABELS=riposte.dev/suspect=true"}, true},
		"release":          {nil, true},
		"taint":            {nil, true},
		"dead-letter":      {[]string{"DEAD_LETTER_URL=file://" + b.TempDir()}, false},
		"lambda":           {[]string{"LAMBDA_FUNCTION=f", "AWS_REGION=eu-west-1"}, false},
		"slack":            {[]string{"SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T/B/x"}, false},
		"router":           {[]string{"AUTH=off", "TRIGGERS=" + triggers, "FUNCTION_URL=http://127.0.0.1:9/{function}", "DEAD_LETTER_URL=file://" + b.TempDir()}, false},
	}
}

// start measures how long each function takes from its start to its first answer, what it holds of memory when it idles, and
// how large it is, against an empty program of net/http that is built in the same way.
func start(b *B) {
	empty := floorProgram(b)
	all := functions(b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		binary := filepath.Join(testkit.Root(b), "dist", "bin", name)
		env := append(slices.Clone(f.env), "PATH=/usr/bin:/bin")
		if f.cluster {
			env = append(env, "KUBECONFIG="+b.Env.ServiceAccountKubeconfig(b, name))
		}
		var floor, mine times
		for range max(b.Samples/10, 10) {
			floor = append(floor, firstAnswer(b, empty, nil))
			mine = append(mine, firstAnswer(b, binary, env))
		}
		ratio, detail := mine.against(floor, 0.5)
		goal := AtMost(3.5)
		if name == "router" {
			goal = nil
		}
		b.Add(Figure{
			ID: "start/" + name + "/answer", What: name + ", from its start to its first answer, p50", Unit: "x",
			Value: ratio, Detail: detail, Goal: goal, Noise: 0.3,
		})
		idle(b, name, binary, empty, env)
		size(b, name, binary, empty, f.cluster)
	}
}

// idle measures what a program holds when it has answered once.
func idle(b *B, name, binary, empty string, env []string) {
	b.Helper()
	var held []float64
	for _, program := range []string{binary, empty} {
		command, _ := started(b, program, env)
		time.Sleep(time.Second) // It idles.
		held = append(held, float64(process.Memory(b, command.Process.Pid, "VmRSS"))/1e6)
		stop(command)
	}
	goal := AtMost(22)
	if name == "router" {
		goal = nil
	}
	b.Add(Figure{
		ID: "start/" + name + "/rss", What: name + ", resident memory when idle", Unit: "MB", Value: held[0], Goal: goal, Noise: 0.1,
		Detail: fmt.Sprintf("%s times %s MB", number(held[0]/held[1]), number(held[1])),
	})
}

// size is that of the stripped binary.
func size(b *B, name, binary, empty string, cluster bool) {
	b.Helper()
	var sizes []float64
	for _, program := range []string{binary, empty} {
		info, err := os.Stat(program)
		if err != nil {
			b.Fatal(err)
		}
		sizes = append(sizes, float64(info.Size())/1e6)
	}
	goal := AtMost(24)
	switch {
	case name == "router":
		goal = nil
	case cluster:
		goal = AtMost(30)
	}
	b.Add(Figure{
		ID: "start/" + name + "/size", What: name + ", size of the stripped binary", Unit: "MB", Value: sizes[0], Goal: goal, Noise: 0.03,
		Detail: fmt.Sprintf("%s times %s MB", number(sizes[0]/sizes[1]), number(sizes[1])),
	})
}

// floorProgram builds the empty program.
func floorProgram(b *B) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "floor")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, "./test/bench/floor")
	build.Dir = testkit.Root(b)
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the floor: %v\n%s", err, out)
	}
	return binary
}

// firstAnswer is how long a program takes to its first answer.
func firstAnswer(b *B, binary string, env []string) time.Duration {
	b.Helper()
	command, took := started(b, binary, env)
	stop(command)
	return took
}

// started starts a program and asks it until it answers.
func started(b *B, binary string, env []string) (*exec.Cmd, time.Duration) {
	b.Helper()
	free, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		b.Fatal(err)
	}
	command := exec.CommandContext(b.Context(), binary)
	command.Env = append(slices.Clone(env), "LISTEN_ADDRESS="+address)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	for time.Since(began) < 20*time.Second {
		if answer, err := client.Do(request); err == nil {
			took := time.Since(began)
			_ = answer.Body.Close()
			return command, took
		}
		time.Sleep(200 * time.Microsecond)
	}
	stop(command)
	b.Fatalf("%s does not answer", binary)
	return nil, 0
}

func stop(command *exec.Cmd) {
	_ = command.Process.Kill()
	_ = command.Wait() // Killed, which is an error.
}
