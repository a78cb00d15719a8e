// Package e2enode proves on a real node what functions do to real pods: isolate cuts the
// network of one, delete-pod kills one's processes. README.md says what is real here.
//
// The tests need the build tag e2enode and a node, which cmd/e2e-node starts: make e2e-node.
package e2enode
