package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// Leases are the resource that the records are kept in.
const Leases Resource = "apis/coordination.k8s.io/v1/leases"

// leases is a store.Store of one Lease for each record, named after the record's key. Leases are small, are in every
// cluster, and nothing watches them that would be woken by a write.
//
// What makes one of many succeed is the API server's: a name is created once, and a write or a deletion that names the UID
// and the resourceVersion takes place only on what these were read from.
type leases struct {
	client    *Client
	namespace string

	mu sync.Mutex
	// next is where the next sweep goes on.
	next string
}

// NewLeases keeps records in the Leases of a namespace, which must be the same for all replicas, and for all functions
// that share a budget. A client in dry run stores nothing, and takes no claims that hold: a dry run needs store.Memory.
// It needs the verbs get, list, create, update and delete on leases.coordination.k8s.io in that namespace.
func NewLeases(client *Client, namespace string) store.Store {
	return &leases{client: client, namespace: namespace}
}

// Get implements store.Store.
func (l *leases) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.Check(key, nil); err != nil {
		return store.Entry{}, response.PermanentError(err)
	}
	e, _, err := l.read(ctx, key)
	switch {
	case apierrors.IsNotFound(err), err == nil && expired(e):
		return store.Entry{}, fmt.Errorf("lease %s: %w", leaseName(key), store.ErrNotFound)
	case err != nil:
		return store.Entry{}, err
	}
	return e, nil
}

// read reads a record and who wrote it, expired or not.
func (l *leases) read(ctx context.Context, key string) (store.Entry, string, error) {
	var lease coordinationv1.Lease
	if err := l.client.Get(ctx, Leases, l.namespace, leaseName(key), &lease); err != nil {
		return store.Entry{}, "", err
	}
	e, err := entryOf(&lease, key)
	return e, writer(&lease), err
}

func expired(e store.Entry) bool { return !time.Now().Before(e.Expires) }

// createAttempts bounds how often somebody else may remove or replace an expired record under our eyes.
const createAttempts = 5

// Create implements store.Store.
func (l *leases) Create(ctx context.Context, key string, value []byte, expires time.Time) (store.Entry, error) {
	if err := store.Check(key, value); err != nil {
		return store.Entry{}, response.PermanentError(err)
	}
	lease := l.newLease(key, value, expires)
	for range createAttempts {
		_, err := l.post(ctx, lease)
		if err == nil {
			return entryOf(lease, key)
		}
		if !apierrors.IsAlreadyExists(err) {
			return store.Entry{}, err
		}
		present, by, err := l.read(ctx, key)
		switch {
		case apierrors.IsNotFound(err): // swept or deleted in between
			continue
		case err != nil:
			return store.Entry{}, err
		case by == writer(lease): // stored by a request of ours whose answer said that it may not have been
			return present, nil
		case !expired(present):
			return store.Entry{}, fmt.Errorf("lease %s: %w", lease.Name, store.ErrExists)
		}
		e, err := l.put(ctx, key, lease, present)
		if !errors.Is(err, store.ErrChanged) {
			return e, err
		}
	}
	return store.Entry{}, response.TransientError(fmt.Errorf("create lease %s/%s: it was created and removed %d times meanwhile", l.namespace, lease.Name, createAttempts), 0)
}

// Replace implements store.Store.
func (l *leases) Replace(ctx context.Context, key string, old store.Entry, value []byte, expires time.Time) (store.Entry, error) {
	if err := store.Check(key, value); err != nil {
		return store.Entry{}, response.PermanentError(err)
	}
	return l.put(ctx, key, l.newLease(key, value, expires), old)
}

// put stores a Lease in place of the version that old is.
func (l *leases) put(ctx context.Context, key string, lease *coordinationv1.Lease, old store.Entry) (store.Entry, error) {
	fresh := lease.DeepCopy()
	fresh.UID, fresh.ResourceVersion = parseVersion(old.Version)
	again, err := l.update(ctx, fresh)
	switch {
	case err == nil:
		return entryOf(fresh, key)
	case !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
		return store.Entry{}, err
	case again: // The version may have been changed by our own first request.
		if present, by, err := l.read(ctx, key); err == nil && by == writer(lease) {
			return present, nil
		}
	}
	return store.Entry{}, fmt.Errorf("lease %s: %w", lease.Name, store.ErrChanged)
}

// Delete implements store.Store.
func (l *leases) Delete(ctx context.Context, key string, old store.Entry) error {
	if err := store.Check(key, nil); err != nil {
		return response.PermanentError(err)
	}
	err := l.remove(ctx, leaseName(key), old.Version)
	if apierrors.IsConflict(err) {
		return fmt.Errorf("lease %s: %w", leaseName(key), store.ErrChanged)
	}
	return ignoreNotFound(err)
}

func (l *leases) remove(ctx context.Context, name, version string) error {
	uid, resourceVersion := parseVersion(version)
	return l.delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &resourceVersion}})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

const (
	// page and pages bound what a sweep reads. It ends with the page on which it has deleted so many.
	page, pages, enough = 250, 20, 250
)

// Sweep implements store.Store. It does a part of the work, and goes on there the next time.
func (l *leases) Sweep(ctx context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	swept := 0
	for range pages {
		list, err := l.list(ctx, l.next)
		if apierrors.IsResourceExpired(err) { // The API server remembers for some minutes only how the list was.
			l.next = ""
			return swept, nil
		}
		if err != nil {
			return swept, err
		}
		for _, lease := range list.Items {
			if until, err := expiry(&lease); err != nil || time.Now().Before(until) {
				continue // One that cannot be read is not ours to delete.
			}
			err := l.remove(ctx, lease.Name, versionOf(&lease))
			switch {
			case err == nil:
				swept++
			case !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
				return swept, err
			}
		}
		if l.next = list.Continue; l.next == "" || swept >= enough {
			break
		}
	}
	return swept, nil
}
