package oidc

import (
	"encoding/json"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"agentkey/commands/words"
	"agentkey/domain"
)

// Bounds of what is taken from claims, in characters.
const (
	maxSubject = 255 // as OpenID Connect Core has it
	maxText    = 320
)

// find returns the claim at a path. A claim whose own name is the whole path, or the beginning of
// it up to a dot, is found too: providers name claims like URLs.
func find(claims map[string]any, path string) (any, bool) {
	if v, found := claims[path]; found && v != nil {
		return v, true
	}
	for at, c := range path {
		if c != '.' {
			continue
		}
		if inner, isObject := claims[path[:at]].(map[string]any); isObject {
			if v, found := find(inner, path[at+1:]); found {
				return v, true
			}
		}
	}
	return nil, false
}

// claimsIn are claims from several places about the same person, the most trusted first.
type claimsIn []map[string]any

// first returns the claim at the first of the paths that leads to one.
func (in claimsIn) first(paths string) (any, string) {
	for _, claims := range in {
		for path := range strings.SplitSeq(paths, ",") {
			if v, found := find(claims, strings.TrimSpace(path)); found {
				return v, strings.TrimSpace(path)
			}
		}
	}
	return nil, ""
}

// text returns a claim that is one line of text; a list, an object or a number is none.
func (in claimsIn) text(paths string, most int) string {
	v, _ := in.first(paths)
	text, _ := v.(string)
	if text == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > most ||
		strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}

// label returns a claim that people are shown, in one line and without the characters that nobody
// sees or that move others. One in which nothing is left to see is none.
func (in claimsIn) label(paths string, most int) string {
	v, _ := in.first(paths)
	text, _ := v.(string)
	text = strings.TrimSpace(words.CleanLine(text))
	if utf8.RuneCountInString(text) > most || words.Name(text) != nil {
		return ""
	}
	return text
}

// one returns the claim that names one organization: a text, or a list or an object of one.
func (in claimsIn) one(paths string) (name, why string) {
	claim, _ := in.first(paths)
	several := false
	switch claim := claim.(type) {
	case []any:
		several = len(claim) > 1
	case map[string]any:
		several = len(claim) > 1
	}
	if several {
		return "", "it names several organizations in the claim " + paths
	}
	names := values(claim)
	if len(names) != 1 || utf8.RuneCountInString(names[0]) > maxText {
		return "", "it names no organization in the claim " + paths
	}
	return names[0], ""
}

// verified reports whether a claim says yes: providers write it as true, as "true" and as 1.
func (in claimsIn) verified(paths string) bool {
	if paths == Always {
		return true
	}
	switch v, _ := in.first(paths); v := v.(type) {
	case bool:
		return v
	case string:
		return strings.EqualFold(v, "true") || v == "1"
	case json.Number:
		return v == "1"
	}
	return false
}

// values returns the texts of a claim: one, a list, or the names of the members of an object.
func values(claim any) (out []string) {
	switch claim := claim.(type) {
	case string:
		if claim != "" {
			out = append(out, claim)
		}
	case []any:
		for _, item := range claim {
			if text, isText := item.(string); isText && text != "" {
				out = append(out, text)
			}
		}
	case map[string]any:
		out = slices.Sorted(maps.Keys(claim))
	}
	return out
}

// role returns the widest role that the claims at all of the paths stand for. Where a claim is an
// object whose members name organizations, such as Zitadel's, only roles of this organization
// count.
func (i Issuer) role(in claimsIn, organization string) domain.Role {
	roles, has := map[string]domain.Role{}, map[domain.Role]bool{}
	for value, role := range i.Roles {
		roles[strings.TrimPrefix(value, i.RolePrefix)] = role
	}
	for path := range strings.SplitSeq(i.Claims.Role, ",") {
		claim, _ := in.first(path)
		object, _ := claim.(map[string]any)
		for _, value := range values(claim) {
			if where, named := object[value].(map[string]any); named && len(where) > 0 && organization != "" {
				if _, here := where[organization]; !here {
					continue
				}
			}
			has[roles[strings.TrimPrefix(value, i.RolePrefix)]] = true
		}
	}
	for _, role := range domain.Roles { // the widest first
		if has[role] {
			return role
		}
	}
	return ""
}

// identity reads what claims say about a person; why is what is wrong with them.
func (i Issuer) identity(in claimsIn) (who Identity, why string) {
	who = Identity{
		Issuer: i.URL, Subject: in.text(i.Claims.Subject, maxSubject), NamesOrganization: i.Claims.Organization != "",
		Name: in.label(i.Claims.Name, maxText), Provision: i.Provision, DefaultRole: i.DefaultRole,
	}
	if who.Subject == "" {
		return Identity{}, "it doesn't say in the claim " + i.Claims.Subject + " whose it is, as a text"
	}
	for path, value := range i.Refused {
		if v, _ := in.first(path); v == value {
			return Identity{}, "its claim " + path + " is " + value
		}
	}
	if who.NamesOrganization {
		if who.Organization, why = in.one(i.Claims.Organization); why != "" {
			return Identity{}, why
		}
	}
	who.Email, who.EmailVerified = i.email(in)
	who.Role = i.role(in, who.Organization)
	return who, ""
}

// email returns the e-mail, and whether it is the person's. Both claims come from the same place.
// An address with characters that labels leave out is none: without them it would be somebody
// else's.
func (i Issuer) email(in claimsIn) (email string, verified bool) {
	for _, claims := range in {
		one := claimsIn{claims}
		text := strings.TrimSpace(one.text(i.Claims.Email, maxText))
		if a, err := mail.ParseAddress(text); err != nil || a.Address != text || words.Name(text) != nil {
			continue
		}
		verified = i.Claims.EmailVerified != "" && one.verified(i.Claims.EmailVerified)
		if verified && i.VouchedBy != "" && one.text(i.VouchedBy, maxText) == "" {
			verified = strings.HasSuffix(EmailKey(text), "@"+i.VouchedFor)
		}
		return text, verified
	}
	return "", false
}

// EmailKey is what e-mails are compared by: providers differ in the case of the same address. Only
// ASCII letters are folded: folding others makes different addresses equal.
func EmailKey(email string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(email))
}
