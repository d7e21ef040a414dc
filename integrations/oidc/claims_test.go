package oidc_test

import (
	"testing"

	"agentkey/domain"
	"agentkey/integrations/oidc/oidctest"
)

// TestTheWidestRoleOfAClaimCounts has each role alone, and beside each that is narrower.
func TestTheWidestRoleOfAClaimCounts(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	i := issuer(t, p, "")
	i.Claims.Organization, i.Claims.Role, i.Roles = "org", "roles", map[string]domain.Role{}
	i.Provision, i.DefaultRole = true, domain.RoleOwner
	for _, role := range domain.Roles {
		i.Roles["team-"+string(role)] = role
	}
	v := verifier(new(clock), i)
	for n, role := range domain.Roles {
		values := []string{"team-unknown"}
		for _, narrower := range domain.Roles[n:] {
			values = append([]string{"team-" + string(narrower)}, values...)
			who, err := v.Verify(t.Context(), p.Token(claims{"sub": "ada", "aud": api, "org": "acme", "roles": values}))
			if err != nil || who.Role != role {
				t.Errorf("%v stands for the role %q, not %s: %v", values, who.Role, role, err)
			}
		}
		who, err := v.Verify(t.Context(), p.Token(claims{
			"sub": "ada", "aud": api, "org": "acme", "roles": "team-" + string(role),
		}))
		if err != nil || who.Role != role {
			t.Errorf("the role %s alone is %q: %v", role, who.Role, err)
		}
	}
}

// TestALabelHasNothingThatHidesOrMovesItsNeighbours has names and addresses with such characters.
func TestALabelHasNothingThatHidesOrMovesItsNeighbours(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	v := verifier(new(clock), issuer(t, p, ""))
	for said, want := range map[string]string{
		"Ada":                   "Ada",
		" Ada\nLovelace ":       "Ada Lovelace",
		"Ada\u2028Lovelace":     "Ada Lovelace",
		"\u202eecilA":           "ecilA",
		"A\u200bd\u2066a\ufeff": "Ada",
		"Ad\ue000a\x00\x1b[1m":  "Ada[1m",
		"می\u200cخواهم":         "می\u200cخواهم",
		"👩\u200d💻":              "👩\u200d💻",
		"\u202e\u200b":          "",
		"\u200d\u3164":          "",
	} {
		who, err := v.Verify(t.Context(), p.Token(claims{"sub": "ada", "aud": api, "name": said}))
		if err != nil || who.Subject != "ada" || who.Name != want {
			t.Errorf("%+q becomes %+q: %v", said, who.Name, err)
		}
	}
	// An address without one of its characters is another's.
	for _, hidden := range []string{"\u200b", "\u202e", "\ue000", "\u00ad", "\u2066"} {
		who, err := v.Verify(t.Context(), p.Token(claims{
			"sub": "ada", "aud": api, "name": "Ada", "email": "a" + hidden + "da@example.com", "email_verified": true,
		}))
		if err != nil || who.Name != "Ada" || who.Email != "" || who.EmailVerified {
			t.Errorf("an address with %+q: %+v, %v", hidden, who, err)
		}
	}
	// Nor does what a token holds reach the texts that say why it is refused.
	for _, finding := range v.Explain(t.Context(), p.Token(claims{"sub": "\u202eada\u200b", "aud": "x\u202ey"})) {
		for _, r := range finding.Text {
			if r == '\u202e' || r == '\u200b' {
				t.Errorf("it is explained with %+q", finding.Text)
			}
		}
	}
}
