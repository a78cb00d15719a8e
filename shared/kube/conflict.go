package kube

import "k8s.io/client-go/util/retry"

// RetryOnConflict calls act, and again where somebody else was faster, up to five times. It gives the error of the last call.
// That of client-go (https://pkg.go.dev/k8s.io/client-go/util/retry#RetryOnConflict) gives none where act failed because its
// context ended: it takes the error for one of its own waiting. A change that was cut off would look like one that was made.
func RetryOnConflict(act func() error) error {
	var last error
	_ = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		last = act()
		return last
	})
	return last
}
