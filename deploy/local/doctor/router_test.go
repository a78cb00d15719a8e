package doctor_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
)

// router answers as Riposte's does, with these headers.
func router(t *testing.T, status int, timings ...string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "no valid token\x07\r\nmore", http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if alert, err := falco.Decode(body); err != nil || !alert.IsCanary() || alert.UUID != "" {
			t.Errorf("got %s (%v), want the canary as Falco would send it", body, err)
		}
		for _, timing := range timings {
			w.Header().Add("Server-Timing", timing)
		}
		w.WriteHeader(status)
	})
}

func TestRouter(t *testing.T) {
	const delivered = `match;dur=0.12, delete-pod;dur=28.1;desc="200"`
	cases := map[string]struct {
		status       int
		timings      []string
		token        string
		acceptQueued bool
		want         []string
		detail       string
	}{
		"delivered": {
			timings: []string{delivered},
			want:    []string{"entry answered: ok", "router matched: ok", "delete-pod answered: ok"},
		},
		"delivered to others too": {
			timings: []string{delivered, `archive;desc="204";dur=1`},
			want:    []string{"entry answered: ok", "router matched: ok", "delete-pod answered: ok", "archive answered: ok"},
		},
		"refused by the function": {
			timings: []string{`match;dur=0.1, delete-pod;dur=3;desc="422"`},
			want:    []string{"entry answered: ok", "router matched: ok", "delete-pod answered: failed"},
			detail:  `the router says "422"`,
		},
		"dead-lettered": {
			timings: []string{`match;dur=0.1, delete-pod;dur=3000;desc=dead-lettered`},
			want:    []string{"entry answered: ok", "router matched: ok", "delete-pod answered: failed"},
			detail:  "dead-lettered",
		},
		"queued": {
			status: http.StatusAccepted, timings: []string{`match;dur=0.1, delete-pod;dur=2;desc="queued"`},
			want:   []string{"entry answered: ok", "router matched: ok", "delete-pod answered: failed"},
			detail: "has stored the alert",
		},
		"queued, and that will do": {
			status: http.StatusAccepted, timings: []string{`match;dur=0.1, delete-pod;dur=2;desc="queued"`}, acceptQueued: true,
			want: []string{"entry answered: ok", "router matched: ok", "delete-pod answered: ok"},
		},
		"matched by no trigger": {
			timings: []string{"match;dur=0.1"},
			want:    []string{"entry answered: ok", "router matched: ok", "router matched: failed"},
			detail:  "no delivery to delete-pod",
		},
		"matched by another's trigger alone": {
			timings: []string{`match;dur=0.1, slack;dur=1;desc="200"`},
			want:    []string{"entry answered: ok", "router matched: ok", "slack answered: ok", "router matched: failed"},
			detail:  "no delivery to delete-pod",
		},
		"no router": {
			want:   []string{"entry answered: ok", "router matched: failed"},
			detail: "Server-Timing",
		},
		"a header that is none": {
			timings: []string{`match;dur=soon`},
			want:    []string{"entry answered: ok", "router matched: failed"},
			detail:  `dur of match is "soon"`,
		},
		"a wrong token": {
			token: "other", want: []string{"entry answered: failed"}, detail: "401 Unauthorized: no valid token",
		},
		"overloaded": {
			status: http.StatusTooManyRequests, want: []string{"entry answered: failed"}, detail: "429",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.status == 0 {
				c.status = http.StatusNoContent
			}
			if c.token == "" {
				c.token = "secret"
			}
			report, err := doctor.Run(t.Context(), doctor.Options{
				Entry: doctor.Entry{
					Kind: doctor.Router, URL: parse(t, router(t, c.status, c.timings...)),
					Token: config.NewSecret("AUTH_TOKEN", c.token), AcceptQueued: c.acceptQueued,
				},
				Function: "delete-pod", Namespace: "riposte", Priority: falco.Notice, Timeout: patience, Ready: patience, Now: time.Now,
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, hops(report)); diff != "" {
				t.Errorf("hops (-want +got):\n%s", diff)
			}
			failed := report.Failed()
			if (failed != nil) != slices.ContainsFunc(c.want, func(s string) bool { return strings.HasSuffix(s, "failed") }) {
				t.Errorf("failed hop is %+v", failed)
			}
			if failed != nil && (!strings.Contains(failed.Detail, c.detail) || failed.Look == "" || strings.ContainsAny(failed.Detail, "\n\r\x07")) {
				t.Errorf("failed hop is %+v, want %q and something to look at", failed, c.detail)
			}
		})
	}
}

// A router waits for its functions: one that says nothing yet can be reached all the same.
func TestRouterThatWaits(t *testing.T) {
	gone := make(chan struct{})
	entry := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Until then the server does not notice who goes.
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	defer close(gone)
	report, err := doctor.Run(t.Context(), doctor.Options{
		Entry:    doctor.Entry{URL: parse(t, entry), Kind: doctor.Router},
		Function: "delete-pod", Namespace: "riposte", Priority: falco.Notice, Timeout: 100 * time.Millisecond, Ready: patience, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := report.Failed()
	if failed == nil || failed.Name != doctor.HopEntry || failed.Detail != "no answer within 100ms" || !strings.Contains(failed.Look, "-timeout") {
		t.Errorf("got %+v, want that there was no answer in time and how to wait longer", failed)
	}
}
