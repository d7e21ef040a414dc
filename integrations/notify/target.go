package notify

import (
	"crypto/rand"
	"encoding/base64"
	"net/mail"
	"net/url"
	"slices"
	"strings"

	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/integrations/outbound"
)

// Target is where a channel leads to: what is secret of it, as it is sealed.
type Target struct {
	URL           string   `json:"url,omitempty"`
	SigningSecret string   `json:"signing_secret,omitempty"` // of a webhook
	Recipients    []string `json:"recipients,omitempty"`     // of e-mail
}

// Equal reports whether two targets are the same.
func (t Target) Equal(o Target) bool {
	return t.URL == o.URL && t.SigningSecret == o.SigningSecret && slices.Equal(t.Recipients, o.Recipients)
}

// signingPrefix begins the signing secrets of the Standard Webhooks.
const signingPrefix = "whsec_"

// NewSigningSecret draws one.
func NewSigningSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // it never fails
	return signingPrefix + base64.StdEncoding.EncodeToString(raw)
}

// Host is what may be shown of the URL.
func (t Target) Host() string {
	u, err := url.Parse(t.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Check refuses a target that a channel of a kind can't have. A field that is wrong is named, and
// not repeated.
func (t Target) Check(of organization.ChannelKind, allow outbound.Rules) error {
	kind, known := kinds[of]
	if !known {
		return domain.Invalid("kind", "this version has no such channels")
	}
	if kind.mailed {
		switch {
		case t.URL != "":
			return domain.Invalid("url", "an e-mail channel has none")
		case t.SigningSecret != "":
			return domain.Invalid("signing_secret", "an e-mail channel has none")
		}
		return checkRecipients(t.Recipients)
	}
	switch {
	case len(t.Recipients) > 0:
		return domain.Invalid("recipients", "only an e-mail channel has some")
	case !kind.signed && t.SigningSecret != "":
		return domain.Invalid("signing_secret", "only a webhook has one")
	case kind.signed:
		if err := checkSigningSecret(t.SigningSecret); err != nil {
			return err
		}
	}
	return checkURL(t.URL, kind, allow)
}

func checkRecipients(recipients []string) error {
	if len(recipients) == 0 {
		return domain.Invalid("recipients", "an e-mail channel needs them")
	}
	for _, r := range recipients {
		if a, err := mail.ParseAddress(r); err != nil || a.Address != r || a.Name != "" {
			return domain.Invalid(
				"recipients", "each must be an e-mail address such as ops@example.com, without a name",
			)
		}
	}
	return nil
}

// checkSigningSecret checks a secret as Standard Webhooks requires. The library accepts any secret,
// even an empty one.
func checkSigningSecret(text string) error {
	encoded, prefixed := strings.CutPrefix(text, signingPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !prefixed || err != nil || len(key) < 24 || len(key) > 64 {
		return domain.Invalid("signing_secret", "it must be whsec_ and 24 to 64 bytes in base64")
	}
	return nil
}

// checkURL wants https, and for a product the place of its webhooks. At a host that the operator
// lets us call, which may play that product, neither is asked for.
func checkURL(text string, place kind, allow outbound.Rules) error {
	u, err := url.Parse(text)
	if text == "" || err != nil {
		return domain.Invalid("url", "it must be the URL that receives the notifications")
	}
	if err := outbound.CheckURL(u); err != nil {
		return domain.Invalid("url", err.Error())
	}
	if allow.Covers(u) {
		return nil
	}
	allowed := "; to allow this host, an operator adds " + domain.Verbatim(u.Hostname()) + " to " + outbound.AllowSetting
	if u.Scheme != "https" {
		return domain.Invalid("url", "it must begin with https://"+allowed)
	}
	if len(place.hosts) > 0 && (!slices.Contains(place.hosts, u.Host) || !strings.HasPrefix(u.Path, place.path)) {
		begins := "https://" + place.hosts[0] + place.path
		return domain.Invalid("url", "it must be that of an incoming webhook, which begins with "+begins+allowed)
	}
	return nil
}
