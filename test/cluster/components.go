package cluster

import "path/filepath"

// The networks of a cluster. Nothing is routed to them: they give pods, nodes and
// Services addresses that look like those of any cluster.
const (
	serviceCIDR = "10.96.0.0/16"
	podCIDR     = "10.244.0.0/16"
)

// endpoints are the ports of the components.
type endpoints struct {
	etcd, etcdPeer, apiServer, controllers, scheduler, kwok *port
}

func newEndpoints(ports []*port) endpoints {
	return endpoints{
		etcd: ports[0], etcdPeer: ports[1], apiServer: ports[2], controllers: ports[3], scheduler: ports[4], kwok: ports[5],
	}
}

func (e endpoints) all() []*port {
	return []*port{e.etcd, e.etcdPeer, e.apiServer, e.controllers, e.scheduler, e.kwok}
}

// The flags of each component. Every listener is on the loopback interface, speaks
// TLS and asks for a certificate of the cluster's authority where the component can:
// other users of the machine can reach these ports too.

func etcdFlags(folder string, p *pki, e endpoints) []string {
	return []string{
		"--data-dir=" + filepath.Join(folder, "etcd"),
		"--listen-client-urls=" + e.etcd.url(),
		"--advertise-client-urls=" + e.etcd.url(),
		"--listen-peer-urls=" + e.etcdPeer.url(),
		"--initial-advertise-peer-urls=" + e.etcdPeer.url(),
		"--initial-cluster=default=" + e.etcdPeer.url(),
		"--client-cert-auth",
		"--trusted-ca-file=" + p.path("ca.crt"),
		"--cert-file=" + p.path("server.crt"),
		"--key-file=" + p.path("server.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + p.path("ca.crt"),
		"--peer-cert-file=" + p.path("server.crt"),
		"--peer-key-file=" + p.path("server.key"),
		// The data dies with the cluster: no write needs to reach the disk.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiServerFlags(p *pki, e endpoints) []string {
	return []string{
		"--etcd-servers=" + e.etcd.url(),
		"--etcd-cafile=" + p.path("ca.crt"),
		"--etcd-certfile=" + p.path("etcd-client.crt"),
		"--etcd-keyfile=" + p.path("etcd-client.key"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + e.apiServer.String(),
		// An Endpoints object may not hold a loopback address.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + p.path("server.crt"),
		"--tls-private-key-file=" + p.path("server.key"),
		"--client-ca-file=" + p.path("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		// As kubeadm has it. Without it privileged pods, the likeliest subjects of an
		// alert, are refused.
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.path("sa.pub"),
		"--service-account-signing-key-file=" + p.path("sa.key"),
		// The external address of a node is where kwok serves logs; real nodes have none.
		"--kubelet-preferred-address-types=ExternalIP,InternalIP",
		"--kubelet-certificate-authority=" + p.path("ca.crt"),
		"--kubelet-client-certificate=" + p.path("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + p.path("apiserver-kubelet-client.key"),
		"--requestheader-client-ca-file=" + p.path("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + p.path("front-proxy-client.crt"),
		"--proxy-client-key-file=" + p.path("front-proxy-client.key"),
	}
}

func controllerManagerFlags(kubeconfig string, p *pki, e endpoints) []string {
	return append(managerFlags(kubeconfig, p, e.controllers),
		"--use-service-account-credentials",
		"--service-account-private-key-file="+p.path("sa.key"),
		"--root-ca-file="+p.path("ca.crt"),
		"--cluster-signing-cert-file="+p.path("ca.crt"),
		"--cluster-signing-key-file="+p.path("ca.key"),
		// Each node is created with its range.
		"--allocate-node-cidrs=false",
		"--cluster-cidr="+podCIDR,
		// As root it makes the default one, /usr/libexec/kubernetes, and leaves it there.
		"--flex-volume-plugin-dir="+p.path("volume-plugins"),
	)
}

func schedulerFlags(kubeconfig string, p *pki, e endpoints) []string {
	return managerFlags(kubeconfig, p, e.scheduler)
}

// managerFlags are those that the controller manager and the scheduler share.
func managerFlags(kubeconfig string, p *pki, secure *port) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--secure-port=" + secure.String(),
		"--tls-cert-file=" + p.path("server.crt"),
		"--tls-private-key-file=" + p.path("server.key"),
		// There is one of each.
		"--leader-elect=false",
		// With the default of 20 requests a second the start takes five seconds more.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	}
}

func kwokFlags(kubeconfig, configuration string, p *pki, e endpoints) []string {
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--config=" + configuration,
		"--manage-nodes-with-annotation-selector=" + nodeAnnotation + "=fake",
		"--cidr=" + podCIDR,
		"--node-ip=127.0.0.1",
		"--node-port=" + e.kwok.String(),
		"--server-address=" + e.kwok.address(),
		"--tls-cert-file=" + p.path("server.crt"),
		"--tls-private-key-file=" + p.path("server.key"),
		"--node-lease-duration-seconds=40",
	}
}
