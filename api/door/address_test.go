package door_test

import (
	"net/netip"
	"testing"

	"agentkey/api/door"
)

func TestAddressesAreReadAsProxiesWriteThem(t *testing.T) {
	d := &door.Door{
		Proxies: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("fd00::/8"),
		},
	}
	for text, want := range map[string]string{
		"203.0.113.7":                        "203.0.113.7",
		"203.0.113.7:51234":                  "203.0.113.7",
		" 203.0.113.7:51234 ":                "203.0.113.7",
		`"203.0.113.7:51234"`:                "203.0.113.7",
		"2001:db8::1":                        "2001:db8::1",
		"[2001:db8::1]":                      "2001:db8::1",
		"[2001:db8::1]:443":                  "2001:db8::1",
		`"[2001:DB8::1]:443"`:                "2001:db8::1",
		"[fe80::1%eth0]:443":                 "fe80::1",
		"[::ffff:203.0.113.7]:443":           "203.0.113.7",
		"198.51.100.1, 203.0.113.7:1":        "203.0.113.7",
		"203.0.113.7:1, 10.0.0.1:2":          "203.0.113.7",
		"203.0.113.7:1, [fd00::1]:2":         "203.0.113.7",
		"198.51.100.1, unknown":              "127.0.0.1",
		"198.51.100.1, ":                     "127.0.0.1",
		"198.51.100.1, 203.0.113.7:":         "127.0.0.1",
		"198.51.100.1, 203.0.113.7:99999":    "127.0.0.1",
		"198.51.100.1, [203.0.113.7]":        "127.0.0.1",
		"198.51.100.1, [2001:db8::1":         "127.0.0.1",
		"198.51.100.1, 203.0.113.7 10.0.0.1": "127.0.0.1",
		"":                                   "127.0.0.1",
	} {
		if got := d.Address("127.0.0.1:50000", []string{text}); got != want {
			t.Errorf("%q is read as %s, not %s", text, got, want)
		}
	}
	if got := d.Address("192.0.2.1:50000", []string{"203.0.113.7:1"}); got != "192.0.2.1" {
		t.Errorf("a peer that is not a trusted proxy is believed: %s", got)
	}
}
