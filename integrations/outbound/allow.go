package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Rule names hosts: those of a network, one by its name, or all below a name.
type Rule struct {
	Network netip.Prefix // invalid: it names hosts by Name
	Name    string       // in ASCII and lower case, without a final dot
	Below   bool         // the hosts below Name, but not itself
	Port    uint16       // 0: any
}

// Rules name hosts. None is named by no rule.
type Rules []Rule

// ParseRules reads networks, addresses and host names, each with a port if only that one is meant.
func ParseRules(items []string) (rules Rules, err error) {
	for _, item := range items {
		rule, rerr := parseRule(item)
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("%q: %w", item, rerr))
			continue
		}
		rules = append(rules, rule)
	}
	return rules, err
}

func parseRule(text string) (Rule, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return Rule{Network: prefix.Masked()}, nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil && addr.Zone() == "" {
		return single(addr, 0), nil
	}
	if strings.Contains(text, "/") {
		return Rule{}, errors.New("name a network such as 10.0.0.0/8, or a host without http:// and without a path")
	}
	host, port := text, uint64(0)
	if h, p, err := net.SplitHostPort(text); err == nil {
		host = h
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return Rule{}, errors.New("its port must be a number from 1 to 65535")
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return single(addr, uint16(port)), nil
	}
	name, below := strings.CutPrefix(host, "*.")
	ascii, known := hostName(name)
	if !known || endsInNumber(ascii) {
		return Rule{}, errors.New(
			"it must be a network such as 10.0.0.0/8, a host such as alertmanager, or *.example.com for all below it",
		)
	}
	return Rule{Name: ascii, Below: below, Port: uint16(port)}, nil
}

func single(addr netip.Addr, port uint16) Rule {
	addr = addr.Unmap()
	return Rule{Network: netip.PrefixFrom(addr, addr.BitLen()), Port: port}
}

// lookup makes the name that is looked up of one that people write.
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// hostName returns a name in the one form in which names are compared.
func hostName(text string) (string, bool) {
	name, err := lookup.ToASCII(strings.TrimSuffix(text, "."))
	odd := func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}
	if name = strings.ToLower(name); err != nil || name == "" || len(name) > 253 || strings.ContainsFunc(name, odd) {
		return "", false
	}
	return name, !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..")
}

// endsInNumber reports whether some resolver would take a name for an IPv4 address, as it does
// 127.1, 0x7f000001 and 2130706433.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, is := strings.CutPrefix(last, "0x"); is {
		return !strings.ContainsFunc(hex, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
	}
	return !strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' })
}

// Covers reports whether a URL's host is named as it is written there. It resolves nothing.
func (rules Rules) Covers(u *url.URL) bool {
	port := portOf(u)
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return rules.address(addr.WithZone("").Unmap(), port)
	}
	named, _ := rules.name(u.Hostname(), port)
	return named
}

func (rules Rules) address(addr netip.Addr, port uint16) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return r.Network.IsValid() && r.Network.Contains(addr) && (r.Port == 0 || r.Port == port)
	})
}

// name reports whether a host is named, and whether by its very own name.
func (rules Rules) name(host string, port uint16) (named, exactly bool) {
	name, known := hostName(host)
	for _, r := range rules {
		switch {
		case !known || r.Network.IsValid() || r.Port != 0 && r.Port != port:
		case !r.Below && r.Name == name:
			return true, true
		case r.Below && strings.HasSuffix(name, "."+r.Name):
			named = true
		}
	}
	return named, false
}

func portOf(u *url.URL) uint16 {
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(port)
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}
