package main

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"agentkey/domain"
	"agentkey/integrations/oidc"
)

// The settings of one issuer begin with oidcPrefix; in the file, several issuers are a list under
// oidcKey, with the same keys without the prefix.
const (
	oidcPrefix = "AGENTKEY_OIDC_"
	oidcKey    = "oidc"
)

// oidcKeyOf is the key of a setting in the list of issuers.
func (s setting) oidcKeyOf() string { return strings.TrimPrefix(s.key(), oidcKey+"_") }

// issuer is the one that the settings are about.
func (c *Config) issuer() *oidc.Issuer {
	if len(c.Issuers) == 0 {
		usual, _ := oidc.Preset("") // it is always there
		c.Issuers = append(c.Issuers, usual)
	}
	return &c.Issuers[0]
}

// oidcSettings are in the order in which they are taken: a preset is what the others change.
var oidcSettings = []setting{
	{
		name: "AGENTKEY_OIDC_PRESET", without: "the claims of the OpenID Connect standard",
		meaning: "whose tokens they are: `clerk`, `auth0`, `keycloak`, `zitadel`, `entra` or `google`. It is what the " +
			"settings below add to and replace; see [sign-in.md](sign-in.md)",
		take: func(c *Config, text string) error {
			preset, err := oidc.Preset(text)
			if err == nil {
				*c.issuer() = preset
			}
			return err
		},
	},
	{
		name: "AGENTKEY_OIDC_ISSUER", without: "nobody signs in with a provider",
		dials: []int{443},
		meaning: "the provider's issuer URL, as the claim `iss` of its tokens has it: `https://…`, or `http://…` on " +
			"loopback. Several issuers are the list `oidc` in the YAML file",
		take: func(c *Config, text string) error { c.issuer().URL = text; return nil },
	},
	{
		name: "AGENTKEY_OIDC_AUDIENCE", without: "not checked; then authorized parties are required",
		meaning: "list of audiences; a token's `aud` must contain one of them. With ID tokens, the client id where there " +
			"is none",
		take: func(c *Config, text string) error { c.issuer().Audiences = list(text); return nil },
	},
	{
		name: "AGENTKEY_OIDC_AUTHORIZED_PARTIES", without: "not checked; then an audience is required",
		meaning: "list of clients; a token's `azp`, or else its `client_id`, must be one of them",
		take:    func(c *Config, text string) error { c.issuer().AuthorizedParties = list(text); return nil },
	},
	{
		name: "AGENTKEY_OIDC_CLIENT_ID", without: "nobody signs in at `/auth/login`",
		meaning: "our client id at the provider, for signing in, for introspection, and for ID tokens",
		take:    func(c *Config, text string) error { c.issuer().ClientID = text; return nil },
	},
	{
		name: "AGENTKEY_OIDC_CLIENT_SECRET", secret: true, without: "a public client",
		meaning: "the client's secret",
		take: func(c *Config, text string) error {
			c.issuer().ClientSecret = domain.NewSecret([]byte(text))
			return headerText(text)
		},
	},
	{
		name: "AGENTKEY_OIDC_SCOPES", without: "the preset's",
		meaning: "list of scopes that signing in at `/auth/login` asks for, besides `openid`, `profile` and `email`",
		take:    func(c *Config, text string) error { c.issuer().Scopes = list(text); return nil },
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_SUBJECT", without: "the preset's, or `sub`",
		meaning: "path of the claim that identifies the person, for good. Paths are dotted (`o.id`); a list of paths means " +
			"the first that is there; `none` turns the claim off",
		take: claimPath(func(c *oidc.Claims) *string { return &c.Subject }),
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_EMAIL", without: "the preset's, or `email`",
		meaning: "path of the person's e-mail. An e-mail from any other claim than the preset's counts " +
			"as unverified, unless the next setting says otherwise",
		take: func(c *Config, text string) error {
			claims := &c.issuer().Claims
			if text != claims.Email {
				claims.EmailVerified = ""
			}
			return claimPath(func(c *oidc.Claims) *string { return &c.Email })(c, text)
		},
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_EMAIL_VERIFIED", without: "the preset's, or `email_verified`",
		meaning: "path of the claim that says that the e-mail is the person's; `always` where the provider lets nobody " +
			"enter the address of another",
		take: claimPath(func(c *oidc.Claims) *string { return &c.EmailVerified }),
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_NAME", without: "the preset's, or `name`", meaning: "path of the person's name",
		take: claimPath(func(c *oidc.Claims) *string { return &c.Name }),
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_ORGANIZATION", without: "the preset's",
		meaning: "path of the organization's id. Where it is set, every token must name one organization, and only members " +
			"of that one get in: it is compared with the `external_id`",
		take: claimPath(func(c *oidc.Claims) *string { return &c.Organization }),
	},
	{
		name: "AGENTKEY_OIDC_CLAIM_ROLE", without: "the preset's",
		meaning: "path of the role or roles: a text, a list of texts, or an object with their names. The paths of a list " +
			"all count",
		take: claimPath(func(c *oidc.Claims) *string { return &c.Role }),
	},
	{
		name: "AGENTKEY_OIDC_ROLES", without: "no claim gives a role",
		meaning: "list of `<claim value>=<role>`: what values stand for. Roles are `owner`, `admin`, `approver`, " +
			"`auditor` and `viewer`; of several the widest counts",
		take: func(c *Config, text string) (err error) { c.issuer().Roles, err = oidcRoles(text); return err },
	},
	{
		name: "AGENTKEY_OIDC_PROVISION", without: "`false`: members are invited",
		meaning: "`true`: everyone whose token names an organization becomes a member of it. Needs the claim of the " +
			"organization",
		take: oidcSwitch(func(i *oidc.Issuer) *bool { return &i.Provision }),
	},
	{
		name: "AGENTKEY_OIDC_DEFAULT_ROLE", without: "none: without a role by a claim nobody becomes a member",
		meaning: "role of members who are made so and have none by a claim",
		take: func(c *Config, text string) (err error) {
			c.issuer().DefaultRole, err = roleOf(text)
			return err
		},
	},
	{
		name: "AGENTKEY_OIDC_ID_TOKEN", without: "the preset's, or `false`",
		meaning: "`true`: the dashboard sends ID tokens, because the provider's access tokens can't be read or aren't for us",
		take:    oidcSwitch(func(i *oidc.Issuer) *bool { return &i.IDTokens }),
	},
	{
		name: "AGENTKEY_OIDC_INTROSPECT", without: "`true` for `zitadel` with a client secret, else `false`",
		meaning: "`true`: ask the provider about opaque tokens (RFC 7662). Needs the client id and its secret. One " +
			"issuer at most",
		take: oidcSwitch(func(i *oidc.Issuer) *bool { return &i.Introspect }),
	},
}

// claimPath takes the path of a claim.
func claimPath(of func(*oidc.Claims) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		paths := strings.Join(list(text), ",")
		if paths == "none" {
			paths = ""
		}
		*of(&c.issuer().Claims) = paths
		return nil
	}
}

func oidcSwitch(of func(*oidc.Issuer) *bool) func(*Config, string) error {
	return func(c *Config, text string) error {
		*of(c.issuer()) = text == "true"
		return mistakeUnless(text == "true" || text == "false", "it must be true or false")
	}
}

func roleOf(text string) (domain.Role, error) {
	role := domain.Role(text)
	return role, mistakeUnless(role.Valid(), "there is no role %q; %s", text, domain.RolesText)
}

func oidcRoles(text string) (roles map[string]domain.Role, err error) {
	roles = map[string]domain.Role{}
	var mistakes []error
	for _, item := range list(text) {
		at := strings.LastIndex(item, "=") // a value may have one too
		if at <= 0 {
			mistakes = append(mistakes, fmt.Errorf("%q must be <claim value>=<role>", item))
			continue
		}
		value := strings.TrimSpace(item[:at])
		role, err := roleOf(strings.TrimSpace(item[at+1:]))
		if _, twice := roles[value]; twice {
			err = fmt.Errorf("%q is there twice", value)
		}
		roles[value], mistakes = role, append(mistakes, err)
	}
	return roles, errors.Join(mistakes...)
}

// listed is an issuer in the file's list, whose settings are read like variables.
type listed struct {
	loader
	where string
}

// oidcList takes the list of issuers in a configuration file.
func (l *loader) oidcList(path string, value *yaml.Node) {
	here := func(n *yaml.Node, key string) string { return fmt.Sprintf("%s:%d: %s", path, n.Line, key) }
	if value.Kind != yaml.SequenceNode {
		l.wrong(here(value, oidcKey), "it must be a list of issuers, each with its keys, such as issuer and audience")
		return
	}
	for _, item := range value.Content {
		one := &listed{loader: loader{values: map[string]given{}}, where: here(item, oidcKey)}
		if item.Kind != yaml.MappingNode {
			l.wrong(one.where, "an issuer has keys, such as issuer and audience")
			continue
		}
		l.listed = append(l.listed, one)
		for i := 0; i+1 < len(item.Content); i += 2 {
			key, value := item.Content[i], item.Content[i+1]
			one.member(key.Value, value, here(key, oidcKey+"."+key.Value))
		}
	}
}

// member takes one key of an issuer.
func (one *listed) member(key string, value *yaml.Node, where string) {
	base, fromFile := strings.CutSuffix(key, "_file")
	for _, s := range oidcSettings {
		if s.oidcKeyOf() != key && (!fromFile || !s.secret || s.oidcKeyOf() != base) {
			continue
		}
		text, err := textOf(value)
		if key == "roles" && value.Kind == yaml.MappingNode {
			text, err = pairsOf(value)
		}
		switch {
		case one.has(s.name):
			one.wrong(where, "it is set twice")
		case s.secret && !fromFile:
			one.wrong(where, "this file must not hold a secret: put it into a file of its own and name that file with "+
				"%s_file", key)
		case err != nil:
			one.wrong(where, "%v", err)
		case text != "":
			one.values[s.name] = one.value(s.name, !s.secret, text, where)
		}
		return
	}
	one.wrong(where, "there is no such setting")
}

// pairsOf returns a mapping as the environment would have it.
func pairsOf(value *yaml.Node) (string, error) {
	var pairs []string
	for i := 0; i+1 < len(value.Content); i += 2 {
		if value.Content[i+1].Kind != yaml.ScalarNode {
			return "", errors.New("each value must have one role")
		}
		pairs = append(pairs, value.Content[i].Value+"="+value.Content[i+1].Value)
	}
	return strings.Join(pairs, ","), nil
}

// issuers finishes the issuer of the variables and adds those of the file's list.
func (l *loader) issuers(c *Config) {
	where := []string{oidcPrefix + "ISSUER"}
	if len(c.Issuers) > 0 {
		l.finish(c.issuer(), where[0])
	} else {
		where = nil
	}
	for _, one := range l.listed {
		var part Config
		part.issuer()
		one.take(&part, oidcSettings)
		one.finish(part.issuer(), one.where)
		l.mistakes = append(l.mistakes, one.mistakes...)
		c.Issuers, where = append(c.Issuers, part.Issuers...), append(where, one.where)
	}
	for _, n := range oidc.AskedTwice(c.Issuers) {
		l.wrong(where[n], "introspect: another issuer is asked about opaque tokens already, and a token doesn't say "+
			"whose it is; set it to false")
	}
	for _, n := range oidc.Twice(c.Issuers) {
		l.wrong(where[n], "there are two issuers of the URL %s", c.Issuers[n].URL)
	}
}

// finish checks an issuer as a whole.
func (l *loader) finish(i *oidc.Issuer, where string) {
	if !l.has(oidcPrefix+"INTROSPECT") && i.ClientSecret.Empty() {
		i.Introspect = false // a preset offers it, and it needs the secret
	}
	for _, m := range i.Mistakes() {
		name := oidcPrefix + strings.ToUpper(m.Key)
		if !l.has(name) && where != oidcPrefix+"ISSUER" {
			l.wrong(where, "%s: %s", m.Key, m.Text)
			continue
		}
		l.wrong(name, "%s", m.Text)
	}
}
