package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/response"
)

// classify gives an error of the API server, or of the way there, its Kind.
// https://kubernetes.io/docs/reference/using-api/api-concepts/
func classify(err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		// No answer from the API server: time-out, refused or broken connection, an answer cut short.
		return &response.Error{Kind: response.Transient, Err: err}
	}
	e := &response.Error{Kind: response.Unknown, Err: err}
	switch code := int(status.Status().Code); {
	case code == http.StatusTooManyRequests:
		e.Kind = response.Transient
		if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
			e.RetryAfter = time.Duration(seconds) * time.Second
		}
	case code >= http.StatusInternalServerError, code == http.StatusConflict, code == http.StatusNotFound, code == http.StatusRequestTimeout, code == http.StatusGone:
		// Not found and conflict are outcomes where a response expects them; where it does not, the object
		// went or changed in between, and the next attempt will see that.
		e.Kind = response.Transient
	case code >= http.StatusBadRequest:
		e.Kind = response.Permanent // denied by RBAC or admission, or a request the API server does not take
	}
	return e
}

// Causes are the details the API server gives of an error, such as the fields of a conflict.
func Causes(err error) []metav1.StatusCause {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return status.Status().Details.Causes
}

// errReplaced says that another object has the name.
var errReplaced = errors.New("another object has the name")

// IsReplaced says that a change was not made because the object of that name has another UID than the change demands.
func IsReplaced(err error) bool { return errors.Is(err, errReplaced) }

// wantedUID is the UID that a change has as a precondition: that of a patch, a deletion or an eviction.
func wantedUID(body []byte) types.UID {
	type preconditions struct {
		UID types.UID `json:"uid"`
	}
	var change struct {
		Metadata      preconditions `json:"metadata"`
		Preconditions preconditions `json:"preconditions"`
		DeleteOptions struct {
			Preconditions preconditions `json:"preconditions"`
		} `json:"deleteOptions"`
	}
	if json.Unmarshal(body, &change) != nil {
		return "" // a patch of another form, which has none
	}
	for _, p := range []preconditions{change.Metadata, change.Preconditions, change.DeleteOptions.Preconditions} {
		if p.UID != "" {
			return p.UID
		}
	}
	return ""
}

// settle finds out what it means that a change with a UID was refused. The API server answers a deletion of another
// incarnation with a conflict, a patch of it with an invalid field, an apply to none at all with a conflict too, and
// gives none of them a mark of its own; a conflict can also be about something else. So the object is read again.
func (c *Client) settle(ctx context.Context, err error, uid types.UID, r Resource, namespace, name string) error {
	if uid == "" || (!isOtherConflict(err) && !isInvalidUID(err)) {
		return err
	}
	var now metav1.PartialObjectMetadata
	if err := c.Get(ctx, r, namespace, name, &now); err != nil {
		return err // not found, most likely: the object is gone
	}
	if now.UID != uid {
		return &response.Error{Kind: response.Transient, Err: fmt.Errorf("%s %s: %w", r.Plural(), name, errReplaced)}
	}
	return err
}

// isOtherConflict is a conflict that is not one between field managers.
func isOtherConflict(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict)
}

func isInvalidUID(err error) bool {
	return apierrors.IsInvalid(err) && slices.ContainsFunc(Causes(err), func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}
