package notify

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/integrations/outbound"
)

func TestAChannelLeadsWhereItsKindCan(t *testing.T) {
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	loopback := outbound.Rules{{Network: netip.MustParsePrefix("127.0.0.0/8")}}
	hook := func(url string) Target { return Target{URL: url, SigningSecret: secret} }
	for _, c := range []struct {
		name   string
		kind   organization.ChannelKind
		target Target
		allow  outbound.Rules
		wrong  string // the field; "" when it is right
	}{
		{"Slack", organization.Slack, Target{URL: "https://hooks.slack.com/services/T/B/x"}, nil, ""},
		{"a workflow of Slack", organization.Slack, Target{URL: "https://hooks.slack.com/triggers/T/1/x"}, nil, ""},
		{
			"Slack elsewhere", organization.Slack,
			Target{URL: "https://hooks.slack.com.evil.example/services/T/B/x"},
			nil, "url",
		},
		{
			"Slack on another port", organization.Slack,
			Target{URL: "https://hooks.slack.com:8443/services/T/B/x"},
			nil, "url",
		},
		{"Slack in clear", organization.Slack, Target{URL: "http://hooks.slack.com/services/T/B/x"}, nil, "url"},
		{
			"Slack with a secret", organization.Slack, hook("https://hooks.slack.com/services/T/B/x"), nil,
			"signing_secret",
		},
		{"an allowed server that plays Slack", organization.Slack, Target{URL: "http://127.0.0.1:9/x"}, loopback, ""},
		{
			"a server that plays Slack without permission", organization.Slack,
			Target{URL: "http://127.0.0.1:9/x"},
			nil, "url",
		},
		{"Discord", organization.Discord, Target{URL: "https://discord.com/api/webhooks/1/x"}, nil, ""},
		{
			"Discord by its former name", organization.Discord,
			Target{URL: "https://discordapp.com/api/webhooks/1/x"},
			nil, "",
		},
		{"another call of Discord", organization.Discord, Target{URL: "https://discord.com/api/users/@me"}, nil, "url"},
		{"a webhook", organization.Webhook, hook("https://example.com/in?x=y"), nil, ""},
		{"a webhook without a secret", organization.Webhook, Target{URL: "https://example.com"}, nil, "signing_secret"},
		{
			"a webhook with a short secret", organization.Webhook,
			Target{URL: "https://example.com", SigningSecret: "whsec_MDEyMw=="},
			nil, "signing_secret",
		},
		{
			"a webhook with a long secret", organization.Webhook,
			Target{URL: "https://example.com", SigningSecret: "whsec_" + strings.Repeat("MDEy", 22)},
			nil,
			"signing_secret",
		},
		{
			"a webhook with another secret", organization.Webhook,
			Target{URL: "https://example.com", SigningSecret: secret[6:]},
			nil, "signing_secret",
		},
		{
			"a webhook whose secret is not base64", organization.Webhook,
			Target{URL: "https://example.com", SigningSecret: "whsec_" + strings.Repeat("!", 40)},
			nil,
			"signing_secret",
		},
		{"a webhook in clear", organization.Webhook, hook("http://example.com"), nil, "url"},
		{"a webhook without a URL", organization.Webhook, hook(""), nil, "url"},
		{"a webhook of another sort", organization.Webhook, hook("ftp://example.com"), nil, "url"},
		{"a webhook with a password", organization.Webhook, hook("https://canary:canary@example.com"), nil, "url"},
		{"a webhook that is not a URL", organization.Webhook, hook("https://[canary"), nil, "url"},
		{
			"a webhook with recipients", organization.Webhook,
			Target{URL: "https://example.com", SigningSecret: secret, Recipients: []string{"a@example.com"}},
			nil,
			"recipients",
		},
		{"e-mail", organization.Email, Target{Recipients: []string{"a@example.com", "b@example.com"}}, nil, ""},
		{"e-mail without recipients", organization.Email, Target{}, nil, "recipients"},
		{
			"e-mail to a name", organization.Email,
			Target{Recipients: []string{"canary <a@example.com>"}},
			nil,
			"recipients",
		},
		{
			"e-mail to two in one", organization.Email,
			Target{Recipients: []string{"a@example.com, b@example.com"}},
			nil, "recipients",
		},
		{
			"e-mail with a header", organization.Email,
			Target{Recipients: []string{"a@example.com\r\nBcc: canary@example.com"}},
			nil, "recipients",
		},
		{
			"e-mail to a URL", organization.Email,
			Target{URL: "https://example.com", Recipients: []string{"a@example.com"}},
			nil, "url",
		},
		{
			"e-mail with a secret", organization.Email,
			Target{SigningSecret: secret, Recipients: []string{"a@example.com"}},
			nil, "signing_secret",
		},
	} {
		err := c.target.Check(c.kind, c.allow)
		refusal, _ := errors.AsType[*domain.Error](err)
		if c.wrong == "" && err != nil || c.wrong != "" && (refusal == nil || refusal.Fields[0].Field != c.wrong) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: it is repeated: %v", c.name, err)
		}
	}
	for range 10 {
		if err := hook("https://example.com").Check(organization.Webhook, nil); err != nil {
			t.Error(err)
		}
		if err := (Target{URL: "https://example.com", SigningSecret: NewSigningSecret()}).Check(
			organization.Webhook, nil,
		); err != nil {
			t.Errorf("one that was drawn: %v", err)
		}
	}
}

func TestAMailServerIsReachedUnderTLSUnlessItIsHere(t *testing.T) {
	for text, right := range map[string]bool{
		"smtp://user:canary@mail.example.com:587": true, "smtp://mail.example.com": true,
		"smtps://user:canary@mail.example.com": true,
		"smtps://mail.example.com:465/":        true, "smtp://127.0.0.1:1025?tls=off": true,
		"smtp://user:canary@localhost:25?tls=off": true, "smtp://[::1]:25?tls=off": true,
		"smtp://mail.example.com:25?tls=off": false, "smtp://10.0.0.1:25?tls=off": false,
		"smtps://127.0.0.1:465?tls=off": false,
		"smtp://127.0.0.1:25?tls=maybe": false, "http://canary@mail.example.com": false, "mail.example.com:587": false,
		"smtp://":                   false,
		"smtp://mail.example.com:0": false, "smtp://mail.example.com:99999": false,
		"smtp://mail.example.com/canary": false, "smtp://[canary": false,
	} {
		_, err := ParseMailServer(text)
		if (err == nil) != right {
			t.Errorf("%s: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s is repeated: %v", text, err)
		}
	}
	for text, right := range map[string]bool{
		"AgentKey <agentkey@example.com>": true, "agentkey@example.com": true, "AgentKey": false,
		"a@b\r\nBcc: c@d": false,
	} {
		if _, err := ParseMailFrom(text); (err == nil) != right {
			t.Errorf("%q: %v", text, err)
		}
	}
}
