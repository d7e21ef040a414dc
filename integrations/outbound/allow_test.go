package outbound

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func rules(t *testing.T, items ...string) Rules {
	t.Helper()
	parsed, err := ParseRules(items)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestHostsAreNamedAsPeopleWriteThem(t *testing.T) {
	for _, c := range []struct {
		rule, covers, not string // URLs
	}{
		{"10.0.0.0/8", "http://10.1.2.3:9/x https://[::ffff:10.1.2.3]", "http://11.0.0.1 http://ten"},
		{"10.0.0.5", "http://10.0.0.5:9093", "http://10.0.0.6"},
		{"10.0.0.5:9093", "http://10.0.0.5:9093", "http://10.0.0.5 https://10.0.0.5:9094"},
		{"fd00::5", "http://[fd00::5]:1 http://[FD00:0::5]", "http://[fd00::6]"},
		{"[fd00::5]:443", "https://[fd00::5]", "http://[fd00::5]"},
		{
			"alertmanager", "http://alertmanager:9093/hook https://AlertManager http://alertmanager.:1",
			"http://alertmanager.example.com http://xalertmanager http://alertmanage",
		},
		{"Alertmanager.Monitoring.SVC.", "http://alertmanager.monitoring.svc:9093", "http://monitoring.svc"},
		{
			"hooks.example.com:8443", "https://hooks.example.com:8443/x",
			"https://hooks.example.com https://hooks.example.com:84430",
		},
		{"hooks.example.com:80", "http://hooks.example.com", "https://hooks.example.com"},
		{
			"*.example.com", "https://a.example.com https://B.a.EXAMPLE.com.:8443",
			"https://example.com https://badexample.com https://example.com.evil.net",
		},
		{"*.example.com:8443", "https://a.example.com:8443", "https://a.example.com"},
		{"bücher.example", "https://xn--bcher-kva.example https://BÜCHER.example", "https://bucher.example"},
		{"xn--bcher-kva.example", "https://bücher.example", ""},
		{"my_host", "http://my_host:1", "http://my-host"},
	} {
		parsed := rules(t, c.rule)
		for text := range strings.FieldsSeq(c.covers + " |" + c.not) {
			_, wanted := strings.CutPrefix(text, "|")
			text = strings.TrimPrefix(text, "|")
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if want := !wanted && strings.Contains(c.covers, text); text != "" &&
				parsed.Covers(u) != (want && !strings.Contains(c.not, text)) {
				t.Errorf("%s covers %s: %v", c.rule, text, !want)
			}
		}
	}
	for _, wrong := range []string{
		"http://alertmanager", "alertmanager/hook", "alertmanager:0", "alertmanager:http", "alertmanager:70000", "*",
		"*.", "a.*.b", "a b", "10.0.0.0/33", ".example.com", "a..b", "127.1", "0x7f.1", "user@host", "fe80::1%eth0", "",
		strings.Repeat("a", 300),
	} {
		if parsed, err := ParseRules([]string{wrong}); err == nil {
			t.Errorf("%q is %+v", wrong, parsed)
		}
	}
	if _, err := ParseRules([]string{"a b", "10.0.0.0/8", "c d"}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not each mistake is named: %v", err)
	}
}

func TestAnAllowedNameIsStillCheckedWhenItIsDialled(t *testing.T) {
	parsed := rules(t, "alertmanager", "*.corp.example", "nat.example:9093", "169.254.7.0/24")
	for _, c := range []struct {
		host, address string
		right         bool
	}{
		{"alertmanager", "10.1.2.3:9093", true},
		{"ALERTMANAGER.", "10.1.2.3:9093", true},
		{"alertmanager", "100.64.1.1:9093", true},
		{"alertmanager", "127.0.0.1:9093", true},
		{"alertmanager", "8.8.8.8:9093", true},
		{"alertmanager", "169.254.169.254:80", false}, // where clouds tell secrets
		{"alertmanager", "169.254.7.1:80", true},
		{"alertmanager", "0.0.0.0:80", false},
		{"alertmanager", "224.0.0.1:80", false},
		{"a.corp.example", "10.1.2.3:8080", true},
		{"a.corp.example", "127.0.0.1:8080", false},
		{"corp.example", "10.1.2.3:8080", false},
		{"nat.example", "10.1.2.3:9093", true},
		{"nat.example", "10.1.2.3:9094", false},
		{"other", "10.1.2.3:443", false},
	} {
		if err := parsed.check(c.host, "tcp4", c.address); (err == nil) != c.right ||
			err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s at %s: %v", c.host, c.address, err)
		}
	}
	for _, c := range []struct{ host, address string }{
		{"fd.example", "[fd00::1]:443"},
		{"fd.example", "8.8.8.8:8080"},
	} {
		network := "tcp4"
		if strings.HasPrefix(c.address, "[") {
			network = "tcp6"
		}
		if err := parsed.check(c.host, network, c.address); err == nil ||
			!strings.Contains(err.Error(), "adds fd.example to AGENTKEY_OUTBOUND_ALLOW") {
			t.Errorf("%s: it isn't said what to do: %v", c.address, err)
		}
	}
	if err := parsed.check("10.9.9.9", "tcp4", "10.9.9.9:443"); err == nil ||
		!strings.Contains(err.Error(), "adds its address or network to AGENTKEY_OUTBOUND_ALLOW") {
		t.Errorf("it isn't said what to do: %v", err)
	}
}

func TestAnAllowedHostIsReachedAndNoOther(t *testing.T) {
	inside, calls := server(t, "127.0.0.2", hello)
	base, _ := server(t, "127.0.0.1", hello)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{"localhost", "LOCALHOST.", "localhost:" + u.Port()} {
		c := New(Options{Network: Network{Allow: rules(t, rule)}, Timeout: patience, Redirects: 5})
		for _, host := range []string{"localhost", "LocalHost", "localhost."} {
			if status, text, err := get(t, c, "http://"+host+":"+u.Port()); status != 200 || text != "hello" {
				t.Errorf("%s by %s: %d %q %v", host, rule, status, text, err)
			}
		}
		for _, elsewhere := range []string{base, inside} {
			if _, _, err := get(t, c, elsewhere); !errors.Is(err, ErrRefused) {
				t.Errorf("%s by %s: %v", elsewhere, rule, err)
			}
		}
	}
	if calls.Load() != 0 {
		t.Errorf("%d calls arrived where none may", calls.Load())
	}
}
