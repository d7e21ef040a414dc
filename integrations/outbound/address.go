package outbound

import (
	"net/netip"
	"slices"
)

// special are the ranges of IANA's registries of special-purpose addresses, IPv4 first, then those
// inside 2000::/3, outside which nothing of IPv6 is called: not loopback, link-local, site-local or
// unique-local, not multicast, and no form that holds an IPv4 address (compatible, translated,
// NAT64) or a segment.
var special = ranges(
	"0.0.0.0/8",         // this network
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // behind a carrier's NAT
	"127.0.0.0/8",       // loopback
	"169.254.0.0/16",    // link-local; clouds tell secrets there
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, and broadcast
	"2001::/23",         // protocol assignments, Teredo and ORCHID among them
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4, which holds an IPv4 address
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

var global = netip.MustParsePrefix("2000::/3")

func ranges(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// check decides on an address that is about to be dialled for a host. The error does not repeat the
// address; it says what an operator would have to write.
func (rules Rules) check(host, network, address string) error {
	if network != "tcp4" && network != "tcp6" {
		return &refusal{"it is not reached over TCP"}
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return &refusal{"it has no address"}
	}
	addr := target.Addr().WithZone("").Unmap()
	if rules.address(addr, target.Port()) {
		return nil
	}
	named, exactly := rules.name(host, target.Port())
	switch {
	case named && (isPublic(addr) || isInternal(addr) || exactly && addr.IsLoopback()):
		return nil
	case named:
		return &refusal{"its name is allowed, but leads to an address that is neither public nor private; " +
			"to allow that, an operator adds its network to " + AllowSetting}
	case !isPublic(addr):
		return &refusal{"it lies in a network that is not public; " + allowing(host)}
	case target.Port() != 80 && target.Port() != 443:
		return &refusal{"its port is neither 443 nor 80; " + allowing(host)}
	}
	return nil
}

// AllowSetting is the setting that decides.
const AllowSetting = "AGENTKEY_OUTBOUND_ALLOW"

// allowing says how an operator allows a host.
func allowing(host string) string {
	if name, known := hostName(host); known && !endsInNumber(name) {
		return "to allow it, an operator adds " + name + " to " + AllowSetting
	}
	return "to allow it, an operator adds its address or network to " + AllowSetting
}

func isPublic(addr netip.Addr) bool {
	in := func(prefix netip.Prefix) bool { return prefix.Contains(addr) }
	return (addr.Is4() || global.Contains(addr)) && !slices.ContainsFunc(special, in)
}

// shared is the range behind a carrier's NAT, which clusters and overlay networks use too.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// isInternal reports whether an address is one that a company gives its own hosts.
func isInternal(addr netip.Addr) bool { return addr.IsPrivate() || shared.Contains(addr) }
