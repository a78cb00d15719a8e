package serve_test

import (
	"context"
	"testing"
	"time"
	"sync"
	"strings"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

func TestZZSlots(t *testing.T) {
	alert := func(rule string) []byte {
		return []byte(`{"rule":"` + rule + `","priority":"Critical","time":"2026-01-01T00:00:00.1Z","output":"x","source":"syscall","output_fields":{"container.id":"0123456789ab"}}`)
	}
	r := &recorder{respond: func(ctx context.Context, a falco.Alert) (response.Outcome, error) {
		if strings.HasPrefix(a.Rule, "slow") { select { case <-time.After(12 * time.Second): case <-ctx.Done(): return response.Outcome{}, ctx.Err() } }
		return response.Outcome{Verdict: response.Applied}, nil
	}}
	s := listen(t, r, map[string]string{"CLAIMS": "memory"})
	var wg sync.WaitGroup
	for range 200 { wg.Go(func() { send(t, post(t, s.URL, "application/json", alert("slow"))) }) }
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	got := send(t, post(t, s.URL, "application/json", alert("other")))
	t.Logf("other alert: %d after %s", got.status, time.Since(began))
	wg.Wait()
	t.Logf("all: %s", time.Since(began))
}
