package outbound

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// refused are addresses in every form that leads into a network that is not public.
var refused = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
	"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1",
	"192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
	"203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1",
	"::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
	"64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1",
	"2001::1", "2001:0:7f00:1::", "2001:1::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::",
	"2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
	"fe80::1", "fe80::1%lo", "fe80::1%1", "febf::1", "fec0::1", "::1%lo", "ff02::1", "ff0e::1",
}

// allowed are rules for networks.
func allowed(networks []netip.Prefix) (rules Rules) {
	for _, n := range networks {
		rules = append(rules, Rule{Network: n})
	}
	return rules
}

func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	dial := func(addr netip.Addr, port uint16, allow ...netip.Prefix) error {
		network := "tcp6"
		if addr.Is4() {
			network = "tcp4"
		}
		return allowed(allow).check("", network, netip.AddrPortFrom(addr, port).String())
	}
	for _, text := range refused {
		err := dial(netip.MustParseAddr(text), 443)
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", text, err)
		} else if strings.Contains(err.Error(), text) {
			t.Errorf("%s is repeated: %v", text, err)
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
		"128.0.0.1", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "::ffff:8.8.8.8", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111",
		"2a00:1450::1", "3ffe::1", "3fff:1000::1",
	} {
		for _, port := range []uint16{80, 443} {
			if err := dial(netip.MustParseAddr(text), port); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
		for _, port := range []uint16{0, 1, 22, 25, 79, 81, 444, 2113, 6379, 8080, 8443} {
			if err := dial(netip.MustParseAddr(text), port); !errors.Is(err, ErrRefused) {
				t.Errorf("%s on %d: %v", text, port, err)
			}
		}
	}
}

func TestAllowedNetworksAreDialledOnAnyPortAndNoOthers(t *testing.T) {
	allow := ranges("10.1.0.0/16", "fd00::/8", "fe80::/10")
	for address, right := range map[string]bool{
		"10.1.2.3:8080": true, "10.2.0.1:443": false, "[::ffff:10.1.2.3]:22": true, "[fd00::1]:9": true,
		"[fe80::1%lo]:80": true, "[::1]:80": false, "127.0.0.1:80": false, "[64:ff9b::10.1.2.3]:443": false,
		"[::10.1.2.3]:443": false, "[2002:a01:203::]:443": false, "8.8.8.8:443": true,
	} {
		network := "tcp4"
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		if err := allowed(allow).check("", network, address); (err == nil) != right ||
			err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAnAddressThatIsNotTCPIsRefused(t *testing.T) {
	all := ranges("0.0.0.0/0", "::/0")
	for _, dialled := range [][2]string{
		{"udp4", "8.8.8.8:443"},
		{"tcp", "8.8.8.8:443"},
		{"unix", "/run/docker.sock"},
		{"ip4:icmp", "8.8.8.8"},
		{"", ""},
		{"tcp4", ""},
		{"tcp4", "8.8.8.8"},
		{"tcp4", "example.com:443"},
		{"tcp4", "0x7f.1:80"},
		{"tcp6", "[fe80::1%]:80"},
		{"tcp4", "8.8.8.8:https"},
	} {
		if err := allowed(all).check("", dialled[0], dialled[1]); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", dialled, err)
		}
	}
}
