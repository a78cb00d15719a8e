package kube

import (
	"context"
	"errors"
	"io"
	"net/url"

	"k8s.io/klog/v2"
)

// Stream reads what is no single object, such as the log of a container or a list that is asked for by its fields, as the
// bytes arrive. name and subresource may be empty. The caller closes it; ctx bounds all of the reading.
func (c *Client) Stream(ctx context.Context, r Resource, namespace, name, subresource string, query url.Values) (io.ReadCloser, error) {
	path := r.Path(namespace, name)
	if subresource != "" {
		path += "/" + subresource
	}
	// Errors are JSON, logs are not.
	request := c.rest.Get().AbsPath(path).SetHeader("Accept", "application/json, */*").MaxRetries(maxRetries)
	for key, values := range query {
		for _, value := range values {
			request = request.Param(key, value)
		}
	}
	body, err := request.Stream(klog.NewContext(ctx, klog.Logger{}))
	if err != nil {
		return nil, describe(err, "read", r, namespace, name)
	}
	return &stream{body, r, namespace, name, ctx.Err}, nil
}

// stream gives what breaks off in the middle a kind, as an error at the beginning has.
type stream struct {
	io.ReadCloser

	resource        Resource
	namespace, name string
	over            func() error
}

// Read reads on. An end that comes when the time is over is none: the other side gives up in good order too.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if over := s.over(); over != nil && errors.Is(err, io.EOF) {
		err = over
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = describe(err, "read", s.resource, s.namespace, s.name)
	}
	return n, err
}
