package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/riposte-dev/riposte/deploy/local/captures"
	"github.com/riposte-dev/riposte/deploy/local/flow"
	"github.com/riposte-dev/riposte/deploy/local/kube"
)

// sent is an alert on its way.
type sent struct {
	eventID string
	at      time.Time
	capture captures.Capture
	offer   offer
	changes []captures.Change
	target  *kube.Pod
}

// send makes an offer into an alert about the pod and posts it to the Broker.
func (s *stage) send(ctx context.Context, o offer, pod *kube.Pod) (sent, error) {
	aim := captures.Aim{ID: uuid.NewString(), Rule: o.rule, Note: o.note}
	if !o.stale {
		aim.Time = time.Now()
	}
	if pod != nil {
		aim.Target = &captures.Target{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ContainerID: pod.ContainerID}
	}
	c, changes, err := s.menu.captures[o.Capture].Aim(aim)
	if err != nil {
		return sent{}, err
	}
	return s.post(ctx, sent{eventID: aim.ID, capture: c, offer: o, changes: changes, target: pod})
}

// repeat posts an alert that has been sent once more, as a Broker or Falcosidekick may.
func (s *stage) repeat(ctx context.Context, before sent, title, expect string) (sent, error) {
	again := before
	again.eventID = uuid.NewString()
	again.offer.Title, again.offer.Expect = title, expect
	c, changes, err := before.capture.Aim(captures.Aim{ID: again.eventID})
	if err != nil {
		return sent{}, err
	}
	again.capture, again.changes = c, changes
	return s.post(ctx, again)
}

func (s *stage) post(ctx context.Context, a sent) (sent, error) {
	a.at = time.Now()
	s.alerts.Expect(a.eventID, flow.Sent{
		At: a.at, Capture: a.offer.Capture, Title: a.offer.Title, Expect: a.offer.Expect, Changes: a.changes,
	})
	return a, a.capture.Send(ctx, s.client, s.brokerURL())
}
