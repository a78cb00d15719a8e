package broker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Network leads the names of Services to addresses on this machine.
//
// Knative's dispatcher clones http.DefaultTransport for every destination and takes
// no other, so a process that runs a [Broker] sets http.DefaultTransport to a
// Network's Transport, once, before the first Broker starts.
type Network struct {
	mu        sync.RWMutex
	addresses map[string]string
}

// NewNetwork returns a Network without names.
func NewNetwork() *Network {
	return &Network{addresses: map[string]string{}}
}

// Set leads a host name to an address. An empty address takes the name away.
func (n *Network) Set(host, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if address == "" {
		delete(n.addresses, host)
		return
	}
	n.addresses[host] = address
}

// Transport returns a transport that reaches the names of the Network and loopback
// addresses, by no proxy, and nothing else.
func (n *Network) Transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to, err := n.lookup(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, to)
		},
		MaxIdleConns:    100,
		IdleConnTimeout: 90 * time.Second,
	}
}

func (n *Network) lookup(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", address, err)
	}
	n.mu.RLock()
	to := n.addresses[host]
	n.mu.RUnlock()
	if to != "" {
		return to, nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return address, nil
	}
	return "", fmt.Errorf("connect to %s: nothing on this machine has that name", host)
}
