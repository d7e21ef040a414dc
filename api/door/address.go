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
	address, err := peerOf(remote)
	if err != nil {
		return remote
	}
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

// forwarding are the headers by which a proxy shows itself, in canonical form.
var forwarding = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
}

// Local reports whether a call comes from this machine. One that a proxy on this machine passes on
// does only when that proxy is one of ours and the client, as every hop, is this machine too.
func (d *Door) Local(remote string, header map[string][]string) bool {
	peer, err := peerOf(remote)
	if err != nil || !peer.IsLoopback() {
		return false
	}
	if !slices.ContainsFunc(forwarding, func(name string) bool { return len(header[name]) > 0 }) {
		return true
	}
	forwardedFor := header["X-Forwarded-For"]
	if !d.isProxy(peer) || len(forwardedFor) == 0 {
		return false
	}
	for hop := range strings.SplitSeq(strings.Join(forwardedFor, ","), ",") {
		if address, err := parseHop(hop); err != nil || !address.IsLoopback() {
			return false
		}
	}
	return true
}

func peerOf(remote string) (netip.Addr, error) {
	peer, err := netip.ParseAddrPort(remote)
	return peer.Addr().Unmap().WithZone(""), err
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
