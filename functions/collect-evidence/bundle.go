package function

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/artifact"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/target"
)

// maxManifest bounds the manifest of an earlier attempt.
const maxManifest = 1 << 20

// bundle is the evidence of one alert on its way into the store. It is safe for concurrent use.
type bundle struct {
	store  *artifact.Store
	dryRun bool
	// folder is where it is: the same for every delivery of the alert, so that a repeat takes the place of a part.
	folder string

	mu       sync.Mutex
	manifest manifest
	// sum is that of manifest.json.
	sum string
}

func newBundle(store *artifact.Store, dryRun bool, found *target.Found, alert falco.Alert) *bundle {
	const longest = 200 // with the UID behind it, what a file system takes as one name
	name := found.Pod.Name[:min(len(found.Pod.Name), longest)]
	folder := strings.Join([]string{
		alert.Time.Format(time.DateOnly), found.Pod.Namespace, name + "-" + string(found.Pod.UID), alert.ID(), "",
	}, "/")
	return &bundle{store: store, dryRun: dryRun, folder: folder, manifest: newManifest(found, alert)}
}

// earlier is the manifest of an attempt that was complete; nil where there was none. Such a bundle is left as it is:
// what the pod says by now may be what somebody wants it to say. In a dry run it asks instead whether anything could be
// written at all.
func (b *bundle) earlier(ctx context.Context) (*manifest, error) {
	if b.dryRun {
		return nil, b.store.Probe(ctx, b.folder+manifestName)
	}
	body, err := b.store.Read(ctx, b.folder+manifestName, maxManifest)
	switch {
	case errors.Is(err, artifact.ErrNotFound) || artifact.IsDenied(err): // Credentials that may write alone see nothing.
		return nil, nil //nolint:nilnil // There is none, and nothing wrong.
	case err != nil:
		return nil, err
	}
	b.sum = hexSum(body)
	return b.parse(body), nil
}

// parse reads a manifest. It is nil where somebody else wrote it, who can say nothing about a bundle of ours.
func (b *bundle) parse(body []byte) *manifest {
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil || m.Format != b.manifest.Format || m.Alert.ID != b.manifest.Alert.ID {
		return nil
	}
	return &m
}

// seal writes the manifest: from now on the bundle is complete.
func (b *bundle) seal(ctx context.Context) (*manifest, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.manifest
	slices.SortFunc(m.Files, func(x, y file) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(m.Missing, func(x, y missing) int { return cmp.Compare(x.Name, y.Name) })
	m.Complete, m.Finished = len(m.Missing) == 0, time.Now().UTC()
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	b.sum = hexSum(body)
	if b.dryRun {
		return m, nil
	}
	return m, b.store.Write(ctx, b.folder+manifestName, "application/json", body)
}

// lacks notes what could not be had.
func (b *bundle) lacks(name, why string) {
	const longest = 300
	b.mu.Lock()
	defer b.mu.Unlock()
	b.manifest.Missing = append(b.manifest.Missing, missing{name, strings.ToValidUTF8(why[:min(len(why), longest)], "")})
}

// put stores a file that is in memory. The error is the store's.
func (b *bundle) put(ctx context.Context, name, mediaType string, body []byte) error {
	_, err := b.stream(ctx, name, mediaType, bytes.NewReader(body), func(to io.Writer, from io.Reader) error {
		_, err := io.Copy(to, from)
		return err
	})
	return err
}

// stream stores a file as it is read, and hashes it on its way. What copying met at the source is given back as broken;
// what was read until then is kept. The error is the store's.
func (b *bundle) stream(ctx context.Context, name, mediaType string, from io.Reader, pass func(io.Writer, io.Reader) error) (broken, err error) {
	to := &counted{hash: sha256.New(), inner: io.Discard}
	var w *artifact.Writer
	if !b.dryRun {
		if w, err = b.store.Create(ctx, b.folder+name, mediaType); err != nil {
			return nil, err
		}
		to.inner = w
	}
	broken = pass(to, from)
	switch {
	case to.err != nil:
		return nil, errors.Join(to.err, w.Abort())
	case w != nil:
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.manifest.Files = append(b.manifest.Files, file{
		Name: name, SHA256: hex.EncodeToString(to.hash.Sum(nil)), Bytes: to.bytes, MediaType: mediaType, Stored: time.Now().UTC(),
	})
	return broken, nil
}

func hexSum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
