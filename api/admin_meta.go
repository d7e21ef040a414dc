package api

import (
	"context"

	"agentkey/api/door"
	"agentkey/domain"
)

// RestoredCheck is the check of GET /readyz that is there while a restored log isn't trusted.
const RestoredCheck = "log_restored"

// GetMeta answers GET /api/admin/meta.
func (s *Server) GetMeta(context.Context, GetMetaRequestObject) (GetMetaResponseObject, error) {
	ready := s.Ready()
	out := GetMeta200JSONResponse{
		Version: ready.Version, Commit: ready.Commit, Demo: s.Demo, Features: s.Features, Limits: []MetaLimit{},
		Vending: vending(ready),
	}
	out.Features.Dashboard, out.Features.SignIn = s.Dashboard != nil, s.SignIns.Configured()
	for _, role := range domain.Roles {
		out.Roles = append(out.Roles, MetaRole{Name: Role(role), Permissions: permissions(role)})
	}
	for _, tier := range []MetaLimitTier{
		MetaLimitTierReads, MetaLimitTierRequests, MetaLimitTierCredentials, MetaLimitTierAdmin, MetaLimitTierAdminReads,
	} {
		if rule := s.Door.Rules.Of(string(tier)); !rule.Off() {
			out.Limits = append(out.Limits, MetaLimit{
				Tier: tier, Limit: rule.Limit, WindowSeconds: rule.Window.Seconds(),
			})
		}
	}
	return out, nil
}

// permissions are what a role may do.
func permissions(r domain.Role) []Permission {
	return views(door.Permissions(r), func(name string) Permission { return Permission(name) })
}

// vending says whether credentials are vended, by what the process knows of itself. A part that is
// degraded keeps none back, but a log that was restored does.
func vending(ready Readiness) MetaVending {
	for _, check := range ready.Checks {
		if check.Status == ReadinessCheckStatusDown || check.Name == RestoredCheck {
			return MetaVending{Reason: check.Name, Detail: value(check.Detail)}
		}
	}
	return MetaVending{Enabled: true}
}
