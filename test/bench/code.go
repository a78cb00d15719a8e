package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// measured is a line of a Go benchmark: what it says, by unit.
type measured map[string]float64

// benchmarks runs Go benchmarks and gives the best of several runs for each, and what go test wrote, for benchstat.
func benchmarks(b *B, pattern string, count int, packages ...string) (map[string]measured, string) {
	b.Helper()
	run := exec.CommandContext(b.Context(), "go", append([]string{
		"test", "-run=^$", "-bench=" + pattern, "-benchmem", "-benchtime=300ms", "-count=" + strconv.Itoa(count),
	}, packages...)...)
	run.Dir = testkit.Root(b)
	out, err := run.CombinedOutput()
	if err != nil {
		b.Fatalf("go test -bench=%s: %v\n%s", pattern, err, out)
	}
	return parse(string(out)), string(out)
}

// parse reads the lines of benchmarks: https://go.dev/design/14313-benchmark-format. Of several of one name the least counts.
func parse(output string) map[string]measured {
	all := map[string]measured{}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 && strings.Trim(name[i+1:], "0123456789") == "" {
			name = name[:i]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				continue
			}
			if all[name] == nil {
				all[name] = measured{}
			}
			if before, ok := all[name][fields[i+1]]; !ok || value < before {
				all[name][fields[i+1]] = value
			}
		}
	}
	return all
}

// code measures what an alert costs in the parts that it passes, by Go's benchmarks, which are beside the code. What they
// wrote is left in dist/bench.txt, for benchstat.
func code(b *B) {
	parts, output := benchmarks(b, "^Benchmark(Decode|Identity|Verify|Sane|When|Select|Match|Encode|Event|Redaction|Repeat|Duplicate)", 5,
		"./shared/falco", "./shared/serve", "./shared/target", "./shared/guard", "./shared/response", "./triggers")
	if err := os.WriteFile(filepath.Join(testkit.Root(b), "dist", "bench.txt"), []byte(output), 0o600); err != nil {
		b.Fatal(err)
	}
	for name, m := range sorted(parts) {
		b.Add(Figure{
			ID: "code/" + name, What: "`Benchmark" + name + "`, allocations", Unit: "allocs", Value: m["allocs/op"], Noise: 0.05,
			Detail: fmt.Sprintf("%s µs, %.0f bytes", number(m["ns/op"]/1000), m["B/op"]),
		})
	}
}

// router measures what an event costs by how many Triggers there are, and what the router takes beside a plain reverse proxy.
func router(b *B) {
	parts, _ := benchmarks(b, "^Benchmark(Take|Throughput)", 3, "./functions/router")
	few := parts["Take/wanted/10-triggers"]
	for _, n := range []int{10, 100, 1000} {
		m := parts[fmt.Sprintf("Take/wanted/%d-triggers", n)]
		var goal *Goal
		if n == 1000 {
			goal = AtMost(20)
		}
		b.Add(Figure{
			ID: fmt.Sprintf("router/%d", n), What: fmt.Sprintf("router, an event that one of %d Triggers wants", n), Unit: "µs", Value: m["ns/op"] / 1000,
			Detail: fmt.Sprintf("%s times that with 10; %.0f allocations", number(m["ns/op"]/few["ns/op"]), m["allocs/op"]), Goal: goal,
		})
	}
	mine, plain := parts["Throughput/router"]["ns/op"], parts["Throughput/reverse-proxy"]["ns/op"]
	b.Add(Figure{
		ID: "router/proxy", What: "router, an alert through it to a function, on one core, against `httputil.ReverseProxy`", Unit: "x", Value: mine / plain,
		Detail: fmt.Sprintf("%s µs against %s µs, client and function included", number(mine/1000), number(plain/1000)), Noise: 0.25,
	})
}
