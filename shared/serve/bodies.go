package serve

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

const (
	// maxBodies bounds the bodies of all requests, in bytes, until they are answered. They are read before it is known who
	// sends them: a stranger could else fill the memory, a megabyte for each connection.
	maxBodies = 32 << 20
	// smallBody is what nearly all alerts are smaller than. Beyond maxBodies these are still taken, up to twice that, so
	// that large bodies do not keep them out.
	smallBody = 64 << 10
)

// errCrowded is answered 429, which asks the sender to come back.
var errCrowded = response.TransientError(fmt.Errorf("%d MiB of requests are under way already", maxBodies>>20), time.Second)

// counted reads a body as long as there is room for it.
type counted struct {
	io.Reader
	own int64
	all *atomic.Int64
}

// Read fails with errCrowded where there is none.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.own += int64(n)
	if all := c.all.Add(int64(n)); n > 0 && (all > 2*maxBodies || all > maxBodies && c.own > smallBody) {
		return n, errCrowded
	}
	return n, err
}

// done gives the room back.
func (c *counted) done() { c.all.Add(-c.own) }
