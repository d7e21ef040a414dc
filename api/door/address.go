package door

import (
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
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap().WithZone("")
	}
	return address.String()
}

func (d *Door) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(d.Proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
