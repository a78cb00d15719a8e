package outbound

import (
	"errors"
	"net/netip"
	"net/url"
)

// ParseURL reads the address of a service: https, or http on this machine alone, because alerts and secrets do not
// travel in the clear. Its errors do not quote the address, which may itself be a secret.
func ParseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("it is no URL with a scheme and a host")
	case u.User != nil:
		return nil, errors.New("it holds a user name or a password")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("it does not begin with https://, or http:// and an address of this machine")
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}
