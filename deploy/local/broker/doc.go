// Package broker is a Knative Broker in one process: the data plane of Knative's own
// channel-based Broker (its ingress, in-memory channel fan-out, filter and event
// dispatcher, unchanged), over a folder of Broker and Trigger manifests instead of
// an API server. Retries, back-off, time-outs, dead letters, replies and the limit
// on loops are Knative's.
//
// What a cluster's DNS does is done by a [Network]: names of Services lead to
// addresses on this machine, and nothing else can be reached. [Hooks] are told what
// happens to every event: which triggers take it and why the others do not, each
// attempt to deliver it, and what ends as a dead letter.
//
// It keeps nothing on disk and listens on loopback only.
package broker
