package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestStream(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	for name, tc := range map[string]struct {
		resource    kube.Resource
		name, below string
		query       url.Values
		effect      testkit.Effect
		want        string // somewhere in what is read
		kind        response.Kind
	}{
		"a log":                          {kube.Pods, pod.Name, "log", url.Values{"container": {testkit.Container}}, nil, "by kwok", response.Unknown},
		"a list by its fields":           {kube.Pods, "", "", url.Values{"fieldSelector": {"metadata.name=" + pod.Name}}, nil, string(pod.UID), response.Unknown},
		"a container that is not there":  {kube.Pods, pod.Name, "log", url.Values{"container": {"none"}}, nil, "", response.Permanent},
		"a pod that is not there":        {kube.Pods, "none", "log", nil, nil, "", response.Transient},
		"a server that has an error":     {kube.Pods, pod.Name, "log", nil, testkit.Answers(500, 0), "", response.Transient},
		"a right that is missing":        {kube.Pods, pod.Name, "log", nil, testkit.Answers(403, 0), "", response.Permanent},
		"a connection that is cut":       {kube.Pods, pod.Name, "log", nil, testkit.Resets(), "", response.Transient},
		"an answer that is cut":          {kube.Pods, pod.Name, "log", nil, testkit.Truncates(), "started", response.Transient},
		"a server that does not answer":  {kube.Pods, pod.Name, "log", nil, testkit.Hangs(), "", response.Transient},
		"a server that answers the next": {kube.Pods, pod.Name, "log", nil, once(testkit.Answers(429, 1)), "by kwok", response.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, proxy := newClient(t, env, false)
			if tc.effect != nil {
				proxy.Inject(&testkit.Fault{Effect: tc.effect})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if strings.Contains(name, "does not answer") {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			defer cancel()
			body, err := client.Stream(ctx, tc.resource, pod.Namespace, tc.name, tc.below, tc.query)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(body)
				err = errors.Join(err, body.Close())
			}
			if (err == nil) != (tc.kind == response.Unknown) || response.KindOf(err) != tc.kind {
				t.Errorf("the error is %v of kind %s, want %s", err, response.KindOf(err), tc.kind)
			}
			if !strings.Contains(string(got), tc.want) || tc.want == "" && len(got) > 0 {
				t.Errorf("read %q, want %q in it", got, tc.want)
			}
		})
	}
}

// once has an effect on the first request alone.
func once(effect testkit.Effect) testkit.Effect {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-first:
			effect(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	}
}
