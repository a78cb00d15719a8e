package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/riposte-dev/riposte/test/process"
)

// memory measures how much more a function holds, at the highest, for bodies that are made to fill it.
func memory(b *B) {
	kubeconfig := b.Env.ServiceAccountKubeconfig(b, "delete-pod")
	dense := []byte(`{"output_fields":{"a":[` + strings.Repeat("{},", 340_000) + `{}]}}`)
	const size, n = 400 << 20, 20
	for id, test := range map[string]struct {
		what string
		send func(p *process.Process)
	}{
		"endless": {"a body of 400 MB", func(p *process.Process) {
			// It may be cut off in the middle: then there is an error, and nothing to read.
			_, _, _ = p.Stream(b.Context(), io.LimitReader(zeros{}, size))
		}},
		"dense": {"20 bodies of a megabyte of JSON values at once", func(p *process.Process) {
			var wait sync.WaitGroup
			for range n {
				wait.Go(func() {
					if status, _, err := p.Stream(b.Context(), bytes.NewReader(dense)); err == nil && status != http.StatusBadRequest && status != http.StatusTooManyRequests {
						b.Errorf("a dense body is answered %d", status)
					}
				})
			}
			wait.Wait()
		}},
	} {
		p := process.Start(b.T, "delete-pod", kubeconfig)
		p.Alert([]byte("{}")) // warm
		before := p.Memory("VmRSS")
		test.send(p)
		b.Add(Figure{
			ID: "memory/" + id, What: "delete-pod, memory that " + test.what + " adds at the highest", Unit: "MB",
			Value: float64(p.Memory("VmHWM")-before) / 1e6, Detail: fmt.Sprintf("%s MB before", number(float64(before)/1e6)),
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}
