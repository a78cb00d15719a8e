// Package cluster runs a real Kubernetes control plane on this machine: etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler, with kwok playing
// the nodes and their pods. It needs Go and nothing else: no root, no container
// engine, no downloaded binaries. The tests, "make cluster" and "make run" use it.
//
//	binary, err := cluster.Build(ctx, root, os.Stderr)
//	c, err := cluster.Start(ctx, cluster.Options{Binary: binary})
//	defer c.Stop()
//
// # What is real
//
// The API server is the real one: RBAC, the Node authorizer and NodeRestriction
// are on, and admission, preconditions, dry run, eviction and PodDisruptionBudgets
// behave as in production. The controllers and the scheduler are real too, so a
// deleted pod of a Deployment is replaced. Privileged pods are admitted, as in a
// cluster made by kubeadm.
//
// Containers are not real. kwok writes the status that a kubelet would write, and
// nothing runs: exec is not served, logs are a fixed text, NetworkPolicies are
// stored but not enforced, there is no volume provisioner, and a pod of a Job
// succeeds as soon as it runs unless it has the annotation
// [KeepRunningAnnotation]. Deleted pods go at once, whatever their grace period.
//
// Each container's status has the id sha256(pod UID + "/" + container name), see
// [ContainerID]: unique, as containerd's are, and known to a test that wants to
// write the alert for a pod.
//
// With [Options.RealNodes] there is no kwok: the caller brings a kubelet, and with it
// containers and networks that are real. test/e2e-node does.
//
// # Life and death
//
// Every cluster has a folder, ports, a certificate authority and keys of its own.
// [Cluster.Stop] kills its processes and removes a folder that Start made. On
// Linux the kernel kills them too when the process that called Start dies, however
// it dies; elsewhere a SIGKILL of that process leaves them behind. A folder left
// behind by a killed process is removed by a later Start.
//
// # One cluster for other programs
//
// Programs that cannot import this package run the command
// github.com/riposte-dev/riposte/test/cluster/cmd/cluster:
//
//   - "cluster run -- CMD" starts a cluster and runs CMD with the environment
//     variable RIPOSTE_TEST_KUBECONFIG set to the path of a cluster-admin
//     kubeconfig. KUBECONFIG is left alone, so that a test that forgets to ask for
//     the test cluster does not reach it by accident, nor a user's by surprise.
//   - "cluster up --until-stdin-closes" is for a parent that wants a cluster for as
//     long as it lives. The contract: the parent starts it with a pipe as its
//     standard input and keeps the pipe's other end open without writing to it.
//     When the cluster is ready, exactly one line appears on standard output,
//     KUBECONFIG=PATH, where PATH is everything up to the line feed; nothing else
//     is ever written there. Progress and errors go to standard error. If standard
//     output ends without that line, the start failed, the reason is on standard
//     error and the exit status is 1 (2 for bad usage, 0 if it was told to stop
//     before it was ready). The first start may have to build the control plane
//     first, so a parent should not limit its time tightly. The cluster stops when the
//     pipe closes, which a parent that dies cannot fail to do, or at SIGINT, SIGTERM
//     or SIGHUP; the command then exits with status 0, all its processes gone and
//     its folder removed. If a component dies while the cluster is up, the rest is
//     stopped and the exit status is 1.
//
// A test that is given such a kubeconfig has the helpers of a [Cluster] through
// [Attach].
package cluster
