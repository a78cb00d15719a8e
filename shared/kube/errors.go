package kube

import (
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
