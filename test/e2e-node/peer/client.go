package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client tells the peer at an address what to do.
type Client struct{ Address string }

// ErrUnreachable says that a peer got no connection to where it was told to.
var ErrUnreachable = errors.New("no connection")

// Data is the address of a peer's data port.
func Data(host string) string { return net.JoinHostPort(host, strconv.Itoa(DataPort)) }

// Try lets the peer make a connection, and returns the name of the pod at its other end.
func (c Client) Try(ctx context.Context, to string) (host string, err error) {
	return c.post(ctx, "/try", url.Values{"to": {to}})
}

// Stream lets the peer make a connection and keep it.
func (c Client) Stream(ctx context.Context, name, to string) error {
	_, err := c.post(ctx, "/stream", url.Values{"to": {to}, "name": {name}})
	return err
}

// Streams are the peer's ends of streams, the youngest first.
func (c Client) Streams(ctx context.Context) ([]Stream, error) {
	body, _, err := c.do(ctx, http.MethodGet, "/streams", nil)
	if err != nil {
		return nil, err
	}
	var list []Stream
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read the streams of %s: %w", c.Address, err)
	}
	return list, nil
}

func (c Client) post(ctx context.Context, path string, form url.Values) (string, error) {
	body, status, err := c.do(ctx, http.MethodPost, path, form)
	if status == http.StatusGatewayTimeout {
		return "", fmt.Errorf("%s of %s: %w: %s", path, c.Address, ErrUnreachable, strings.TrimSpace(string(body)))
	}
	if err != nil {
		return "", err
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", fmt.Errorf("read the answer of the peer %s: %w", c.Address, err)
	}
	return a.Host, nil
}

func (c Client) do(ctx context.Context, method, path string, form url.Values) (body []byte, status int, err error) {
	fail := func(err error) ([]byte, int, error) {
		return body, status, fmt.Errorf("%s of the peer %s: %w", path, c.Address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := "http://" + net.JoinHostPort(c.Address, strconv.Itoa(ControlPort)) + path
	request, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(form.Encode()))
	if err != nil {
		return fail(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request) //nolint:forbidigo // A test's way to its own pods.
	if err != nil {
		return fail(err)
	}
	defer func() { _ = response.Body.Close() }()
	status = response.StatusCode
	if body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return fail(err)
	}
	if status != http.StatusOK {
		return fail(fmt.Errorf("%s: %s", response.Status, body))
	}
	return body, status, nil
}
