package function

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v3"

	"github.com/riposte-dev/riposte/shared/response"
)

const (
	// keysAge is how long keys are used without asking whether they still are. Google changes its keys about weekly.
	keysAge = time.Hour
	// keysPause is how long nothing is asked after an answer, so that a stranger with made-up tokens cannot make us ask.
	keysPause = time.Minute
	// failurePause is how long nothing is asked after a failure, so that many who wait do not ask one after the other.
	failurePause = 2 * time.Second
)

// keySet holds the keys of an issuer, fetched when a token needs them.
type keySet struct {
	send    sender
	address string
	now     func() time.Time
	// fetching lets one ask. Those whose keys are known do not wait for what a stranger's made-up token asks for.
	fetching *gate

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time

	// What came of the last time, for those who are let in by fetching.
	failure error
	failed  time.Time
}

// forToken are the keys a token may be signed with, none for one that is no token. Where they cannot be had the error
// is transient: the token may be good.
func (k *keySet) forToken(ctx context.Context, token string) ([]crypto.PublicKey, error) {
	signed, err := jose.ParseSigned(token)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, unproven{errors.New("token of Pub/Sub is no token with one signature")}
	}
	id := signed.Signatures[0].Header.KeyID
	if found, enough := k.known(id); enough {
		return found, nil
	}
	leave, err := k.fetching.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys of Google: %w", err)
	}
	defer leave()
	found, enough := k.known(id) // Another one may have asked.
	if enough {
		return found, nil
	}
	if k.failure == nil || k.now().Sub(k.failed) > failurePause {
		k.failure, k.failed = k.fetch(ctx), k.now()
	}
	if err := k.failure; err != nil && len(found) == 0 {
		return nil, err
	}
	found, _ = k.known(id)
	return found, nil // Where the new ones cannot be had, the old are as good as they were.
}

// known are the keys of this name, and whether to go by them without asking again.
func (k *keySet) known(id string) (found []crypto.PublicKey, enough bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.fetched)
	found = k.find(id)
	return found, age < keysPause || len(found) > 0 && age < keysAge
}

func (k *keySet) find(id string) []crypto.PublicKey {
	var found []crypto.PublicKey
	for _, key := range k.keys {
		if key.KeyID == id && key.IsPublic() {
			found = append(found, key.Key)
		}
	}
	return found
}

func (k *keySet) fetch(ctx context.Context) error {
	// Others wait for it too: it does not end with the request that asked first.
	text, err := download(context.WithoutCancel(ctx), k.send, k.address)
	if err != nil {
		return response.TransientError(fmt.Errorf("keys of Google: %w", err), 0)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return response.TransientError(fmt.Errorf("keys of Google are not readable: %w", err), 0)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.fetched = set.Keys, k.now()
	return nil
}
