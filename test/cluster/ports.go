package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// port is a free TCP port of the loopback interface. It is held until its component
// is about to take it, so that nobody else can get it in the meantime, this
// cluster's own connections included.
type port struct {
	number int
	holder net.Listener
}

// choosePorts holds n free ports.
func choosePorts(ctx context.Context, n int) ([]*port, error) {
	ports := make([]*port, 0, n)
	for range n {
		holder, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			for _, p := range ports {
				p.release()
			}
			return nil, fmt.Errorf("choose a free port: %w", err)
		}
		_, text, err := net.SplitHostPort(holder.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("choose a free port: %w", err)
		}
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("choose a free port: %w", err)
		}
		ports = append(ports, &port{number: number, holder: holder})
	}
	return ports, nil
}

// release lets the port's component have it.
func (p *port) release() { _ = p.holder.Close() }

// String is the port's number.
func (p *port) String() string { return strconv.Itoa(p.number) }

// address is the port's address, host and number.
func (p *port) address() string { return net.JoinHostPort("127.0.0.1", p.String()) }

// url is the address as an HTTPS URL.
func (p *port) url() string { return "https://" + p.address() }
