// Package captures sends real alerts: the requests in test/captures, in the bytes
// that Falcosidekick sent them in, aimed at a pod that is there now.
//
// A capture names a pod, a container and a time of the day it was taken. [Capture.Aim]
// replaces these as text and leaves every other byte as it was: the time and its copy
// in evt.time, the names of pod and (if need be) namespace, the container's id, and
// the pod's UID where the capture has one. The event's id is new, as Falcosidekick
// gives every event a new one.
package captures

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// fileName is the request of Falcosidekick's CloudEvents output in a capture's folder.
const fileName = "cloudevents.http"

// Capture is one request as it was recorded.
type Capture struct {
	// Name is the folder's name.
	Name string
	// Header and Body are those of the request.
	Header http.Header
	Body   []byte
	// Alert is what the body says, for showing and choosing.
	Alert Alert
}

// Alert is the part of an alert that is shown.
type Alert struct {
	Rule     string         `json:"rule"`
	Priority string         `json:"priority"`
	Time     string         `json:"time"`
	Source   string         `json:"source"`
	Output   string         `json:"output"`
	Fields   map[string]any `json:"output_fields"`
}

// Field returns an output field that is a string and not one of Falco's words for
// "unknown".
func (a Alert) Field(name string) string {
	value, ok := a.Fields[name].(string)
	if !ok || value == "<NA>" || value == "host" {
		return ""
	}
	return value
}

// Load reads every capture in the folder that Falcosidekick sent as a CloudEvent,
// sorted by name.
func Load(dir string) ([]Capture, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", fileName))
	if err != nil {
		return nil, fmt.Errorf("find captures: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("find captures: no %s in the folders of %s: %w", fileName, dir, fs.ErrNotExist)
	}
	slices.Sort(files)
	out := make([]Capture, 0, len(files))
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		c, err := Parse(filepath.Base(filepath.Dir(file)), raw)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Parse reads one recorded request.
func Parse(name string, raw []byte) (Capture, error) {
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return Capture{}, fmt.Errorf("read capture %s: %w", name, err)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return Capture{}, fmt.Errorf("read capture %s: %w", name, err)
	}
	c := Capture{Name: name, Header: request.Header, Body: body}
	request.Body = io.NopCloser(bytes.NewReader(body))
	if _, err := cehttp.NewEventFromHTTPRequest(request); err != nil {
		return Capture{}, fmt.Errorf("read capture %s: %w", name, err)
	}
	if err := json.Unmarshal(body, &c.Alert); err != nil {
		return Capture{}, fmt.Errorf("read capture %s: %w", name, err)
	}
	return c, nil
}

// Send posts the request to a Broker, as Falcosidekick does.
func (c Capture) Send(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(c.Body))
	if err != nil {
		return fmt.Errorf("send capture %s: %w", c.Name, err)
	}
	request.Header = c.Header.Clone()
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("send capture %s: %w", c.Name, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("send capture %s: read the broker's answer: %w", c.Name, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("send capture %s: the broker answered %s", c.Name, response.Status)
	}
	return nil
}

// replaceAll replaces whole tokens: text that goes on with a letter, a digit or a
// dash is another name.
func replaceAll(body []byte, prefix, from, to string) []byte {
	var out []byte
	token := []byte(prefix + from)
	for {
		before, after, found := bytes.Cut(body, token)
		if !found {
			return append(out, body...)
		}
		out = append(out, before...)
		if len(after) > 0 && (after[0] == '-' || after[0] >= '0' && after[0] <= '9' || strings.ContainsRune("abcdefghijklmnopqrstuvwxyz", rune(after[0]))) {
			out = append(out, token...)
		} else {
			out = append(out, prefix+to...)
		}
		body = after
	}
}
