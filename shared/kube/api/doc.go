// Package api has the objects of Kubernetes, as far as responses have to know them, under the names that k8s.io/api gives their
// types and fields. That library is whole or not at all: a program that imports k8s.io/api/core/v1 links its two hundred types,
// which is 3 MB of the binary and 0.8 MB of memory when idle. A test holds what is here against it.
//
// https://kubernetes.io/docs/reference/kubernetes-api/
package api
