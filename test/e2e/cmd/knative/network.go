package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The servers, by the names of their Services. The channels' Services are many, and all
// lead to the dispatcher.
const (
	ingressServer    = "broker-ingress"
	filterServer     = "broker-filter"
	dispatcherServer = "imc-dispatcher"
	webhookServer    = "eventing-webhook"
)

const (
	systemNamespace = "knative-eventing"
	clusterDomain   = ".svc.cluster.local"
	channelSuffix   = "-kn-channel"
)

// servers are the listeners of this process.
type servers map[string]net.Listener

// listen takes a port for each server, on loopback.
func listen(ctx context.Context) (servers, error) {
	all := servers{}
	for _, name := range []string{ingressServer, filterServer, dispatcherServer, webhookServer} {
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen for %s: %w", name, err)
		}
		all[name] = l
	}
	return all, nil
}

func (s servers) port(name string) int64 {
	_, port, _ := net.SplitHostPort(s[name].Addr().String()) // It is one: we listen there.
	n, _ := strconv.ParseInt(port, 10, 64)
	return n
}

// resolve does what DNS and kube-proxy do in a cluster. Knative makes a client for each
// destination, of a copy of http.DefaultTransport, and takes no other.
func resolve(s servers, network string) error {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return errors.New("resolve names: http.DefaultTransport is not the one of net/http")
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, protocol, address string) (net.Conn, error) {
		to, err := s.lookup(address, network)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, protocol, to)
	}
	return nil
}

func (s servers) lookup(address, network string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", address, err)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return address, nil
	}
	service, namespace, _ := strings.Cut(strings.TrimSuffix(host, clusterDomain), ".")
	switch {
	case namespace == systemNamespace && s[service] != nil:
		return s[service].Addr().String(), nil
	case strings.HasSuffix(service, channelSuffix):
		return s[dispatcherServer].Addr().String(), nil
	case network != "":
		return network, nil
	}
	return "", fmt.Errorf("connect to %s: nothing on this machine has that name", host)
}
