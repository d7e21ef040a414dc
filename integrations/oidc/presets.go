package oidc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// usual is what the standard says about claims.
var usual = Claims{Subject: "sub", Email: "email", EmailVerified: "email_verified", Name: "name"}

// presets are what providers document about their tokens. docs/sign-in.md has the sources.
var presets = map[string]Issuer{
	// A session token has no aud: the party is the page that the person signed in at. Organization
	// and role are in o since version 2. A session that isn't complete, because the person must
	// choose an organization or set up a second factor, is pending.
	"clerk": {
		Claims: Claims{
			Subject: "sub", Email: "email", EmailVerified: "email_verified", Name: "name",
			Organization: "o.id,org_id", Role: "o.rol,org_role",
		},
		RolePrefix: "org:",
		Refused:    map[string]string{"sts": "pending"},
	},
	// The permissions are those of the API for which the token is.
	"auth0": {
		Claims: with(usual, Claims{Organization: "org_id", Role: "permissions"}), UserInfo: true,
	},
	"keycloak": {
		Claims: with(usual, Claims{Role: "realm_access.roles"}), UserInfo: true,
	},
	"zitadel": {
		Claims: with(usual, Claims{
			Organization: "urn:zitadel:iam:user:resourceowner:id", Role: "urn:zitadel:iam:org:project:roles",
		}),
		Scopes:   []string{"urn:zitadel:iam:user:resourceowner", "urn:zitadel:iam:org:project:roles"},
		UserInfo: true, Introspect: true,
	},
	// sub differs between the applications of a tenant, and oid doesn't. An e-mail is anything that
	// an administrator of the tenant wrote there, unless xms_edov says that they own its domain.
	// Access tokens for us aren't accepted by the provider's userinfo.
	"entra": {
		Claims: Claims{
			Subject: "oid", Email: "email", EmailVerified: "xms_edov", Name: "name", Role: "roles,groups",
		},
		Refused: map[string]string{"idtyp": "app"},
	},
	// Access tokens are opaque and for Google. Outside its own domain, Google manages an address
	// only where the account has a hosted domain.
	"google": {
		Claims:   with(usual, Claims{Organization: "hd"}),
		IDTokens: true, VouchedBy: "hd", VouchedFor: "gmail.com",
	},
}

func with(c, more Claims) Claims {
	c.Organization, c.Role = more.Organization, more.Role
	return c
}

// Presets are the names that Preset knows.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// Preset returns what is known about a provider's tokens. Without a name it is what the standard
// says.
func Preset(name string) (Issuer, error) {
	if name == "" {
		return Issuer{Claims: usual, UserInfo: true}, nil
	}
	preset, found := presets[name]
	if !found {
		return Issuer{}, fmt.Errorf("it must be one of %s", strings.Join(Presets(), ", "))
	}
	preset.Scopes, preset.Refused = slices.Clone(preset.Scopes), maps.Clone(preset.Refused)
	return preset, nil
}
