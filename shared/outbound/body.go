package outbound

import (
	"fmt"
	"io"
)

const (
	// maxBody is how much of an answer is read.
	maxBody = 4 << 20
	// MaxHeader is how much is read of an answer's header.
	MaxHeader = 64 << 10
	// maxHead is how much is read of an answer that nobody asked for.
	maxHead = 4 << 10
)

// bounded fails beyond its limit: an answer cut in silence would look like another answer.
type bounded struct {
	io.ReadCloser
	most, left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("answer is larger than %d bytes", b.most)
	}
	// One byte more than allowed tells an answer of just that size from a longer one.
	p = p[:min(int64(len(p)), b.left+1)]
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, fmt.Errorf("answer is larger than %d bytes", b.most)
	}
	return n, err
}
