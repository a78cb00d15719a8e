package function

import (
	"errors"
	"fmt"
	"hash"
	"io"
)

// counted hashes and counts what is written, and remembers what went wrong: so a store that fails is told from a
// source that does.
type counted struct {
	inner io.Writer
	hash  hash.Hash
	bytes int64
	err   error
}

// Write passes bytes on.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.inner.Write(b)
	_, _ = c.hash.Write(b[:n]) // a hash takes everything
	c.bytes += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// maxTail bounds the end of a log that is kept in memory until the log has ended.
const maxTail = 1 << 20

// copyLog passes a log on. One that is longer than limit loses its middle: an attack is at its end, unless somebody has
// filled up the log since. left is how many bytes were left out. What was read before an error is passed on.
func copyLog(to io.Writer, from io.Reader, limit int64) (left int64, err error) {
	size := min(limit/4, maxTail)
	if _, err := io.CopyN(to, from, limit-size); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		return 0, err
	}
	t := &tail{size: int(size)}
	_, err = io.Copy(t, from)
	if left = t.seen - int64(len(t.kept)); left > 0 {
		mark := fmt.Sprintf("\n[riposte: %d bytes are left out here, LOG_LIMIT_BYTES is %d]\n", left, limit)
		if _, err := io.WriteString(to, mark); err != nil {
			return left, err
		}
	}
	for _, part := range t.parts() {
		if _, err := to.Write(part); err != nil {
			return left, err
		}
	}
	return left, err
}

// tail keeps the last bytes written to it.
type tail struct {
	size int
	kept []byte
	// next is where the oldest byte is, once kept is full.
	next int
	seen int64
}

// Write keeps bytes in place of the oldest.
func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	t.seen += int64(n)
	b = b[max(0, n-t.size):]
	if room := min(t.size-len(t.kept), len(b)); room > 0 {
		t.kept, b = append(t.kept, b[:room]...), b[room:]
	}
	for len(b) > 0 {
		done := copy(t.kept[t.next:], b)
		t.next, b = (t.next+done)%t.size, b[done:]
	}
	return n, nil
}

// parts are the bytes in their order.
func (t *tail) parts() [][]byte { return [][]byte{t.kept[t.next:], t.kept[:t.next]} }
