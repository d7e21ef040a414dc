package door

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// Address is the client's address: the peer, or, behind proxies of ours, the rightmost entry of
// X-Forwarded-For that is none of them. What a client writes to the left of that is never believed.
func (d *Door) Address(remote string, forwardedFor []string) string {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	address := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(forwardedFor, ","), ",")
	for i := len(hops) - 1; i >= 0 && d.isProxy(address); i-- {
		hop, err := parseHop(hops[i])
		if err != nil {
			break
		}
		address = hop
	}
	return address.String()
}

// parseHop reads an address as proxies write it: bare, in brackets, in quotes, with a port or
// without.
func parseHop(text string) (netip.Addr, error) {
	text = strings.Trim(strings.TrimSpace(text), `"`)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), nil
	}
	if inner, opened := strings.CutPrefix(text, "["); opened {
		inner, closed := strings.CutSuffix(inner, "]")
		if !closed || !strings.Contains(inner, ":") {
			return netip.Addr{}, errNoAddress
		}
		text = inner
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap().WithZone(""), err
}

var errNoAddress = errors.New("it isn't an address")

func (d *Door) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(d.Proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
