package function

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
)

// unproven is a sender that has not proved who it is, which is answered 401, in words that help.
type unproven struct{ error }

// Is says what it comes to.
func (unproven) Is(target error) bool { return target == auth.ErrUnauthenticated }

// Unwrap is the cause.
func (u unproven) Unwrap() error { return u.error }

// sender sends requests: a client of shared/outbound.
type sender interface {
	Do(r *http.Request) (*http.Response, error)
}

// downloading is how long a download may take.
const downloading = 10 * time.Second

// download is what is at an address, within the limits of shared/outbound.
func download(ctx context.Context, send sender, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloading)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := send.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // It has been read.
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, response.TransientError(fmt.Errorf("GET %s: %w", r.URL.Host, err), 0)
	}
	return body, nil
}
