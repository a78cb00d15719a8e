package function

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
)

// maxLogs bounds the logs of one pod.
const maxLogs = 64

// image is what runs in a container, by the digest that the runtime has resolved.
type image struct {
	Container string `json:"container"`
	// Kind is init, regular or ephemeral.
	Kind        string             `json:"kind"`
	Image       string             `json:"image"`
	ImageID     string             `json:"imageID"`
	ContainerID string             `json:"containerID"`
	Restarts    int32              `json:"restarts"`
	State       api.ContainerState `json:"state"`
}

// images are the containers of a pod by their statuses.
func images(pod *api.Pod) []image {
	list := []image{}
	each(pod, func(kind string, s api.ContainerStatus) {
		list = append(list, image{s.Name, kind, s.Image, s.ImageID, s.ContainerID, s.RestartCount, s.State})
	})
	return list
}

func each(pod *api.Pod, do func(kind string, s api.ContainerStatus)) {
	for _, of := range []struct {
		kind     string
		statuses []api.ContainerStatus
	}{
		{"init", pod.Status.InitContainerStatuses},
		{"regular", pod.Status.ContainerStatuses},
		{"ephemeral", pod.Status.EphemeralContainerStatuses},
	} {
		for _, s := range of.statuses {
			do(of.kind, s)
		}
	}
}

// log is one log of one container.
type log struct {
	container string
	previous  bool
}

func (l log) name() string {
	if l.previous {
		return "logs/" + l.container + ".previous.log"
	}
	return "logs/" + l.container + ".log"
}

// logs are those of every container that ran at some time, and of the one before it where there was one.
func (c *collector) logs() []log {
	var list []log
	each(c.found.Pod, func(_ string, s api.ContainerStatus) {
		if s.State.Running != nil || s.State.Terminated != nil {
			list = append(list, log{s.Name, false})
		}
		if s.LastTerminationState.Terminated != nil || s.RestartCount > 0 {
			list = append(list, log{s.Name, true})
		}
	})
	if len(list) > maxLogs {
		c.lacks("logs", fmt.Sprintf("there are %d: the first %d are kept", len(list), maxLogs))
		list = list[:maxLogs]
	}
	return list
}

// log stores a log as it arrives, in at most atOnce streams of this process. The part's time begins when its turn has come.
func (c *collector) log(ctx context.Context, l log) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.reading.Done():
		c.lacks(l.name(), c.reason(ctx, nil))
		return nil
	}
	part, cancel := c.part(ctx)
	defer cancel()
	body, err := c.client.Stream(part, kube.Pods, c.found.Pod.Namespace, c.found.Pod.Name, "log", url.Values{
		"container": {l.container}, "previous": {strconv.FormatBool(l.previous)}, "timestamps": {"true"},
	})
	if err != nil {
		c.lacks(l.name(), c.reason(part, err))
		return nil
	}
	defer body.Close() //nolint:errcheck // It was read, or an error says why not.
	broken, err := c.stream(ctx, l.name(), "text/plain; charset=utf-8", body, func(to io.Writer, from io.Reader) error {
		left, err := copyLog(to, from, int64(c.config.LogLimit))
		if left > 0 {
			c.lacks(l.name(), fmt.Sprintf("%d bytes are left out in the middle: LOG_LIMIT_BYTES is %d", left, c.config.LogLimit))
		}
		if err != nil {
			why := c.reason(part, err)
			_, _ = fmt.Fprintf(to, "\n[riposte: the log breaks off here: %s]\n", why) // the store's errors are remembered
			return fmt.Errorf("it breaks off: %s", why)
		}
		return nil
	})
	if broken != nil {
		c.lacks(l.name(), broken.Error())
	}
	return err
}
