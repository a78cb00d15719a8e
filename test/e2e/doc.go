// Package e2e proves the way of an alert on Knative Eventing itself: Falcosidekick's bytes
// go to the real ingress of a real Broker, and the functions run as processes, on a real
// API server. README.md says what is real here and what is not.
//
// The tests want RIPOSTE_TEST_KUBECONFIG or start a cluster of their own, and the programs
// in dist/bin; make e2e sees to both.
package e2e
