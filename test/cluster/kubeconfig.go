package cluster

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clusterName is the name of the cluster, its user and its context in kubeconfigs.
const clusterName = "riposte-test"

// writeKubeconfigs writes the kubeconfig of each user of the API server, and returns
// their paths.
func writeKubeconfigs(f *folder, p *pki, server string) (map[string]string, error) {
	users := map[string]struct {
		name   string
		groups []string
	}{
		"admin":       {name: "admin", groups: []string{"system:masters"}},
		"controllers": {name: "system:kube-controller-manager"},
		"scheduler":   {name: "system:kube-scheduler"},
		// kwok stands for every kubelet at once, which no narrower role allows.
		"kwok": {name: "kwok", groups: []string{"system:masters"}},
	}
	paths := make(map[string]string, len(users))
	for key, user := range users {
		issued, err := p.user(user.name, user.groups...)
		if err != nil {
			return nil, err
		}
		paths[key] = f.join(key + ".kubeconfig")
		info := &clientcmdapi.AuthInfo{ClientCertificateData: issued.certificate, ClientKeyData: issued.key}
		if err := writeKubeconfig(paths[key], server, p.ca.pem, info, ""); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// writeKubeconfig writes a kubeconfig that holds its certificates and secrets.
func writeKubeconfig(path, server string, ca []byte, user *clientcmdapi.AuthInfo, namespace string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[clusterName] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[clusterName] = user
	config.Contexts[clusterName] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: clusterName, Namespace: namespace}
	config.CurrentContext = clusterName
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write the kubeconfig %s: %w", path, err)
	}
	return nil
}
