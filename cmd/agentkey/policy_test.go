package main

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// egress is a rule of the shipped network policy, with the comment before it.
type egress struct {
	comment string
	shipped bool // otherwise it is in a comment
	To      []struct {
		IPBlock struct {
			CIDR   string
			Except []string
		} `yaml:"ipBlock"`
	}
	Ports []struct {
		Port     int
		Protocol string
	}
}

// allowsTCP reports whether a rule lets a port out.
func (e egress) allowsTCP(port int) bool {
	for _, p := range e.Ports {
		if p.Port == port && p.Protocol == "TCP" {
			return true
		}
	}
	return false
}

// policyRules reads the shipped policy twice: as it is, and with the rules in its comments.
func policyRules(t *testing.T) (rules []egress) {
	t.Helper()
	raw, err := os.ReadFile("../../deployments/kubernetes/networkpolicy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Spec struct{ Egress []egress } }
	if err := yaml.Unmarshal(raw, &policy); err != nil {
		t.Fatal(err)
	}
	shipped := len(policy.Spec.Egress)
	ruled := regexp.MustCompile(`(?m)^    # (- |  )`)
	whole := ruled.ReplaceAllString(string(raw), "    $1")
	policy.Spec.Egress = nil
	if err := yaml.Unmarshal([]byte(whole), &policy); err != nil {
		t.Fatalf("with the rules in its comments: %v", err)
	}
	_, text, _ := strings.Cut(whole, "\n  egress:\n")
	comment := ""
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "    # "):
			comment += line + "\n"
		case strings.HasPrefix(line, "    - "):
			rule := policy.Spec.Egress[len(rules)]
			rule.comment, rule.shipped = comment, len(rules) < shipped
			rules, comment = append(rules, rule), ""
		}
	}
	if len(rules) != len(policy.Spec.Egress) || shipped == len(rules) {
		t.Fatalf("%d rules of which %d are shipped, and %d were read", len(policy.Spec.Egress), shipped, len(rules))
	}
	return rules
}

// TestThePolicyLetsOutWhatASettingConnectsTo goes through every setting. Those that open a
// connection are in the shipped policy, with their ports, or in a comment there that is the rule to
// add. A new setting fails until it says which it is.
func TestThePolicyLetsOutWhatASettingConnectsTo(t *testing.T) {
	t.Parallel()
	rules := policyRules(t)
	for _, s := range settings {
		if (len(s.dials) == 0) != slices.Contains(openNothing, s.name) {
			t.Errorf("does %s make the program connect to something? Say so in its dials, or in openNothing", s.name)
		}
		named := regexp.MustCompile(`\b` + s.name + `\b`)
		for _, port := range s.dials {
			if !slices.ContainsFunc(
				rules, func(e egress) bool { return named.MatchString(e.comment) && e.allowsTCP(port) },
			) {
				t.Errorf("no rule of the network policy, and no comment in it, lets %s out to port %d", s.name, port)
			}
		}
	}
	for _, name := range openNothing {
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			t.Errorf("there is no setting %s", name)
		}
	}
	// No setting is needed for notifications and for pages of documentation.
	for _, address := range []string{"3.5.1.1", "2606:4700::1111"} {
		for _, port := range []int{443, 80} {
			if !slices.ContainsFunc(
				rules, func(e egress) bool { return e.shipped && e.allowsTCP(port) && e.reaches(t, address) },
			) {
				t.Errorf("nothing is let out to %s on port %d", address, port)
			}
		}
	}
	for _, address := range []string{
		"10.0.0.1", "169.254.169.254", "172.17.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1",
	} {
		if slices.ContainsFunc(
			rules, func(e egress) bool { return e.shipped && e.allowsTCP(443) && e.reaches(t, address) },
		) {
			t.Errorf("%s is let out on port 443", address)
		}
	}
}

// reaches reports whether a rule lets an address out.
func (e egress) reaches(t *testing.T, address string) bool {
	t.Helper()
	in := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return prefix.Contains(netip.MustParseAddr(address))
	}
	for _, to := range e.To {
		if to.IPBlock.CIDR != "" && in(to.IPBlock.CIDR) && !slices.ContainsFunc(to.IPBlock.Except, in) {
			return true
		}
	}
	return len(e.To) == 0
}

// openNothing are the settings that make the program connect to nothing.
var openNothing = []string{
	"AGENTKEY_ABANDON",
	"AGENTKEY_DASHBOARD_DIR",
	"AGENTKEY_LISTEN",
	"AGENTKEY_TLS_CERT",
	"AGENTKEY_TLS_KEY",
	"AGENTKEY_PLAIN_HTTP",
	"AGENTKEY_TRUSTED_PROXIES",
	"AGENTKEY_AGENT_CORS_ORIGINS",
	"AGENTKEY_ADMIN_CORS_ORIGINS",
	"AGENTKEY_WITNESSES",
	"AGENTKEY_SECURITY_CONTACT",
	"AGENTKEY_METRICS_LISTEN",
	"AGENTKEY_MAX_CONNECTIONS",
	"AGENTKEY_DATA_DIR",
	"AGENTKEY_DATABASE_SCHEMA",
	"AGENTKEY_MASTER_KEYS",
	"AGENTKEY_ADMIN_TOKEN",
	"AGENTKEY_LIMIT_READS",
	"AGENTKEY_LIMIT_REQUESTS",
	"AGENTKEY_LIMIT_CREDENTIALS",
	"AGENTKEY_LIMIT_ADMIN",
	"AGENTKEY_LIMIT_ADMIN_READS",
	"AGENTKEY_LIMIT_PREAUTH",
	"AGENTKEY_DASHBOARD_URL",
	"AGENTKEY_SMTP_FROM",
	"AGENTKEY_AI_API_KEY",
	"AGENTKEY_AI_MODEL",
	"OTEL_SDK_DISABLED",
	"AGENTKEY_OIDC_PRESET",
	"AGENTKEY_OIDC_AUDIENCE",
	"AGENTKEY_OIDC_AUTHORIZED_PARTIES",
	"AGENTKEY_OIDC_CLIENT_ID",
	"AGENTKEY_OIDC_CLIENT_SECRET",
	"AGENTKEY_OIDC_SCOPES",
	"AGENTKEY_OIDC_CLAIM_SUBJECT",
	"AGENTKEY_OIDC_CLAIM_EMAIL",
	"AGENTKEY_OIDC_CLAIM_EMAIL_VERIFIED",
	"AGENTKEY_OIDC_CLAIM_NAME",
	"AGENTKEY_OIDC_CLAIM_ORGANIZATION",
	"AGENTKEY_OIDC_CLAIM_ROLE",
	"AGENTKEY_OIDC_ROLES",
	"AGENTKEY_OIDC_PROVISION",
	"AGENTKEY_OIDC_DEFAULT_ROLE",
	"AGENTKEY_OIDC_ID_TOKEN",
	"AGENTKEY_OIDC_INTROSPECT",
}
