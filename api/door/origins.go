package door

import (
	"slices"

	"agentkey/domain"
)

// AllowsOrigin reports whether a browser's page of an origin may call the admins' half, or the
// agents'.
func (d *Door) AllowsOrigin(origin string, admins bool) bool {
	if admins {
		return slices.Contains(d.AdminOrigins, origin)
	}
	return slices.Contains(d.AgentOrigins, origin)
}

// OriginNotAllowed is the refusal of a page of an origin that isn't listed.
func OriginNotAllowed() *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "origin_not_allowed", Detail: "Pages of this origin may not call this.",
		Hint: "Call it from a server, or have the operator add the origin to AGENTKEY_AGENT_CORS_ORIGINS or " +
			"AGENTKEY_ADMIN_CORS_ORIGINS.",
	}
}

// ForeignPage is the refusal of a session's cookie that comes with a command of another page.
func ForeignPage() *domain.Error {
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "origin_not_allowed",
		Detail: "A session's cookie is accepted from pages of this origin only.",
		Hint: "Call it from a page of the same origin, which sends Sec-Fetch-Site: same-origin or its Origin, or send a " +
			"token as Authorization: Bearer.",
	}
}
