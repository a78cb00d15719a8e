package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// post creates a Lease; afterwards it is as the API server made it.
func (l *leases) post(ctx context.Context, lease *coordinationv1.Lease) (again bool, err error) {
	return l.send(ctx, l.client.rest.Post().AbsPath(Leases.Path(l.namespace, "")), lease, "create")
}

// update puts a Lease in the place of the version it names; afterwards it is as the API server made it. It says whether
// the request was sent more than once.
func (l *leases) update(ctx context.Context, lease *coordinationv1.Lease) (again bool, err error) {
	return l.send(ctx, l.client.rest.Put().AbsPath(Leases.Path(l.namespace, lease.Name)), lease, "update")
}

// send goes past Client.send, which reads an object again to find out what a conflict means: here it means one thing.
func (l *leases) send(ctx context.Context, r *rest.Request, lease *coordinationv1.Lease, verb string) (again bool, err error) {
	body, err := json.Marshal(lease)
	if err != nil {
		return false, fmt.Errorf("encode %s %s: %w", verb, Leases.Plural(), err)
	}
	var sent atomic.Int32
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }})
	err = l.client.doOnce(traced, l.client.change(r).MaxRetries(maxRetries).Body(body), lease, verb, Leases, l.namespace, lease.Name)
	return sent.Load() > 1, err
}

func (l *leases) delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	body, err := json.Marshal(l.client.deletion(options))
	if err != nil {
		return fmt.Errorf("encode delete %s: %w", Leases.Plural(), err)
	}
	r := l.client.rest.Delete().AbsPath(Leases.Path(l.namespace, name)).MaxRetries(maxRetries).Body(body)
	return l.client.doOnce(ctx, r, nil, "delete", Leases, l.namespace, name)
}

// list reads a page of the records.
func (l *leases) list(ctx context.Context, next string) (*coordinationv1.LeaseList, error) {
	r := l.client.rest.Get().AbsPath(Leases.Path(l.namespace, "")).Param("labelSelector", labelManagedBy+"="+managedBy).Param("limit", strconv.Itoa(page))
	if next != "" {
		r = r.Param("continue", next)
	}
	list := &coordinationv1.LeaseList{}
	return list, l.client.do(ctx, r, list, "list", Leases, l.namespace, "")
}
