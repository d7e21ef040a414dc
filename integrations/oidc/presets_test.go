package oidc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"agentkey/domain"
	"agentkey/integrations/oidc"
	"agentkey/integrations/oidc/oidctest"
)

type claims = map[string]any

// TestEachPresetReadsTheTokensOfItsProvider has tokens of the shape that each provider documents;
// docs/sign-in.md names the pages.
func TestEachPresetReadsTheTokensOfItsProvider(t *testing.T) {
	t.Parallel()
	const page = "https://dashboard.example.com"
	roles := map[string]domain.Role{
		"org:admin": domain.RoleAdmin, "org:member": domain.RoleApprover, "agentkey:admin": domain.RoleAdmin,
		"agentkey-auditor": domain.RoleAuditor, "AgentKey.Owner": domain.RoleOwner,
		"0f4b1b0e-6f0a-4a5d-9f4e-2f1c5b8a7d11": domain.RoleApprover,
	}
	for name, c := range map[string]struct {
		preset string
		change func(*oidc.Issuer)
		token  claims
		want   oidc.Identity // "" of the issuer: refused
	}{
		"Clerk, session token of version 2": {
			"clerk", func(i *oidc.Issuer) { i.Audiences, i.AuthorizedParties = nil, []string{page} },
			claims{
				"azp": page, "fva": []int{7, -1}, "jti": "a1b2", "sid": "sess_123", "sts": "active", "sub": "user_123", "v": 2,
				"o":     claims{"id": "org_123", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"},
				"email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace",
			},
			oidc.Identity{
				Subject: "user_123", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
				Organization: "org_123", NamesOrganization: true, Role: domain.RoleAdmin,
			},
		},
		"Clerk, session token of version 1": {
			"clerk", func(i *oidc.Issuer) { i.Audiences, i.AuthorizedParties = nil, []string{page} },
			claims{
				"azp": page, "sid": "sess_123", "sub": "user_123", "org_id": "org_123", "org_slug": "acme",
				"org_role": "org:member", "org_permissions": []string{"org:teams:read"}, "act": nil,
			},
			oidc.Identity{
				Subject: "user_123", Organization: "org_123", NamesOrganization: true, Role: domain.RoleApprover,
			},
		},
		"Clerk, nobody has chosen an organization": {
			"clerk", func(i *oidc.Issuer) { i.Audiences, i.AuthorizedParties = nil, []string{page} },
			claims{"azp": page, "sub": "user_123", "v": 2},
			oidc.Identity{},
		},
		"Clerk, the session isn't complete": {
			"clerk", func(i *oidc.Issuer) { i.Audiences, i.AuthorizedParties = nil, []string{page} },
			claims{"azp": page, "sub": "user_123", "v": 2, "sts": "pending", "o": claims{"id": "org_123"}},
			oidc.Identity{},
		},
		"Auth0, access token of an API": {
			"auth0", nil,
			claims{
				"sub": "auth0|5f7c", "aud": []string{api, "https://acme.eu.auth0.com/userinfo"}, "azp": "my_client_id",
				"scope": "openid profile email", "org_id": "org_9ybsU1dN2dKfDkBi", "permissions": []string{"agentkey:admin"},
			},
			oidc.Identity{
				Subject: "auth0|5f7c", Organization: "org_9ybsU1dN2dKfDkBi", NamesOrganization: true, Role: domain.RoleAdmin,
			},
		},
		"Auth0, roles in a claim with a namespace": {
			"auth0", func(i *oidc.Issuer) {
				i.Claims.Organization, i.Claims.Role = "", "https://agentkey.example/roles"
			},
			claims{"sub": "auth0|5f7c", "aud": api, "https://agentkey.example/roles": []string{"agentkey-auditor"}},
			oidc.Identity{Subject: "auth0|5f7c", Role: domain.RoleAuditor},
		},
		"Keycloak": {
			"keycloak", nil,
			claims{
				"jti": "onrtac:1", "aud": []string{api, "account"}, "sub": "7f1f4d5e", "typ": "Bearer", "azp": "dashboard",
				"sid": "ecb", "acr": "1", "realm_access": claims{"roles": []string{"offline_access", "agentkey-auditor"}},
				"resource_access": claims{"account": claims{"roles": []string{"manage-account"}}},
				"scope":           "openid profile email", "email_verified": true, "name": "Ada Lovelace",
				"preferred_username": "ada", "email": "ada@example.com",
			},
			oidc.Identity{
				Subject: "7f1f4d5e", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
				Role: domain.RoleAuditor,
			},
		},
		"Keycloak, organization as a list": {
			"keycloak", func(i *oidc.Issuer) { i.Claims.Organization = "organization" },
			claims{"aud": api, "sub": "7f1f4d5e", "organization": []string{"acme"}},
			oidc.Identity{Subject: "7f1f4d5e", Organization: "acme", NamesOrganization: true},
		},
		"Keycloak, organization as an object, roles of a client": {
			"keycloak", func(i *oidc.Issuer) {
				i.Claims.Organization, i.Claims.Role = "organization", "resource_access.agent.key.roles"
			},
			claims{
				"aud": api, "sub": "7f1f4d5e", "organization": claims{"acme": claims{"id": "42c3e46f"}},
				"resource_access": claims{"agent.key": claims{"roles": []string{"agentkey-auditor"}}},
			},
			oidc.Identity{Subject: "7f1f4d5e", Organization: "acme", NamesOrganization: true, Role: domain.RoleAuditor},
		},
		"Keycloak, several organizations": {
			"keycloak", func(i *oidc.Issuer) { i.Claims.Organization = "organization" },
			claims{"aud": api, "sub": "7f1f4d5e", "organization": []string{"acme", "other"}},
			oidc.Identity{},
		},
		"Zitadel": {
			"zitadel", nil,
			claims{
				"sub": "165460784409737834", "aud": []string{api, "165467338479501342"}, "client_id": "165467338479501342@agentkey",
				"email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace",
				"urn:zitadel:iam:user:resourceowner:id":             "164846174339138830",
				"urn:zitadel:iam:user:resourceowner:name":           "Acme",
				"urn:zitadel:iam:user:resourceowner:primary_domain": "acme.zitadel.cloud",
				"urn:zitadel:iam:org:project:roles": claims{
					"agentkey-auditor": claims{"164846174339138830": "acme.zitadel.cloud"},
					"agentkey:admin":   claims{"999": "other.zitadel.cloud"}, // in another organization
				},
			},
			oidc.Identity{
				Subject: "165460784409737834", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
				Organization: "164846174339138830", NamesOrganization: true, Role: domain.RoleAuditor,
			},
		},
		"Entra ID, app roles": {
			"entra", nil,
			claims{
				"aud": api, "azp": "1d2b3c4d", "azpacr": "0", "name": "Ada Lovelace", "oid": "690222be", "sub": "HKZpfaHy",
				"preferred_username": "ada@example.com", "roles": []string{"AgentKey.Owner"}, "scp": "access_as_user",
				"tid": "fa15d692", "uti": "u", "ver": "2.0", "email": "ada@example.com", "xms_edov": "1",
			},
			oidc.Identity{
				Subject: "690222be", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace", Role: domain.RoleOwner,
			},
		},
		"Entra ID, groups, and an e-mail that the tenant wrote there": {
			"entra", func(i *oidc.Issuer) { i.Claims.Organization = "tid" },
			claims{
				"aud": api, "oid": "690222be", "sub": "HKZpfaHy", "tid": "fa15d692", "email": "victim@example.com",
				"groups": []string{"0f4b1b0e-6f0a-4a5d-9f4e-2f1c5b8a7d11"},
			},
			oidc.Identity{
				Subject: "690222be", Email: "victim@example.com", Organization: "fa15d692", NamesOrganization: true,
				Role: domain.RoleApprover,
			},
		},
		"Entra ID, an application by itself": {
			"entra", nil, claims{"aud": api, "oid": "690222be", "sub": "690222be", "idtyp": "app"}, oidc.Identity{},
		},
		"Google, ID token": {
			"google", func(i *oidc.Issuer) { i.Audiences, i.ClientID = nil, "1234.apps.googleusercontent.com" },
			claims{
				"azp": "1234.apps.googleusercontent.com", "aud": "1234.apps.googleusercontent.com",
				"sub": "10769150350006150715113082367", "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q", "hd": "example.com",
				"email": "ada@example.com", "email_verified": true, "name": "Ada Lovelace", "nonce": "0394852-3190485-2490358",
			},
			oidc.Identity{
				Subject: "10769150350006150715113082367", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
				Organization: "example.com", NamesOrganization: true,
			},
		},
		"Google, a private account": {
			"google", func(i *oidc.Issuer) { i.Audiences, i.ClientID = nil, "1234" },
			claims{"aud": "1234", "sub": "1", "email": "ada@gmail.com", "email_verified": true},
			oidc.Identity{},
		},
		"Google, private accounts are let in": {
			"google", func(i *oidc.Issuer) { i.Audiences, i.ClientID, i.Claims.Organization = nil, "1234", "" },
			claims{"aud": "1234", "sub": "1", "email": "Ada@GMAIL.com", "email_verified": true},
			oidc.Identity{Subject: "1", Email: "Ada@GMAIL.com", EmailVerified: true},
		},
		"Google, an address that it doesn't manage": {
			"google", func(i *oidc.Issuer) { i.Audiences, i.ClientID, i.Claims.Organization = nil, "1234", "" },
			claims{"aud": "1234", "sub": "1", "email": "ada@example.com", "email_verified": true},
			oidc.Identity{Subject: "1", Email: "ada@example.com"},
		},
		"Google, the token of another client": {
			"google", func(i *oidc.Issuer) { i.Audiences, i.ClientID = nil, "1234" },
			claims{"aud": []string{"1234", "5678"}, "azp": "5678", "sub": "1", "hd": "example.com"},
			oidc.Identity{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := oidctest.New(t)
			i := issuer(t, p, c.preset)
			if i.Claims.Role != "" {
				i.Roles = roles
			}
			if c.change != nil {
				c.change(&i)
			}
			if mistakes := i.Mistakes(); len(mistakes) > 0 {
				t.Fatal(mistakes)
			}
			who, err := verifier(new(clock), i).Verify(t.Context(), p.Token(c.token))
			if c.want == (oidc.Identity{}) {
				if !refused(err) {
					t.Errorf("it is taken: %+v, %v", who, err)
				}
				return
			}
			c.want.Issuer = p.URL
			times := cmpopts.IgnoreFields(oidc.Identity{}, "ExpiresAt", "IssuedAt")
			if diff := cmp.Diff(c.want, who, times); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
}

// TestThereIsNoPresetOfAnotherName keeps the table above whole.
func TestThereIsNoPresetOfAnotherName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "clerk", "auth0", "keycloak", "zitadel", "entra", "google"} {
		if i, err := oidc.Preset(name); err != nil || i.Claims.Subject == "" {
			t.Errorf("%q: %+v, %v", name, i, err)
		}
	}
	if len(oidc.Presets()) != 6 {
		t.Errorf("the presets are %v: add the new one to the table", oidc.Presets())
	}
	for _, name := range []string{"okta", "Clerk", " "} {
		if _, err := oidc.Preset(name); err == nil {
			t.Errorf("there is a preset %q", name)
		}
	}
}
