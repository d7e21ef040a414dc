package api

import (
	"context"

	"agentkey/readmodels"
)

// ErasePerson answers DELETE /api/admin/people/{id}.
func (s *Server) ErasePerson(ctx context.Context, r ErasePersonRequestObject) (ErasePersonResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Erasures.Person(call.ctx, call.meta(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return ErasePerson204Response{}, nil
}

// tokenName is the name of a service token, also of one that was revoked or replaced; "" when it
// was erased, or can't be opened now.
func (s *Server) tokenName(ctx context.Context, organization, id string) string {
	head, err := s.Door.Callers.Organizations.Cached(ctx, organization)
	if err != nil {
		return ""
	}
	named, err := s.RevealName(ctx, organization, id, head.State.Tokens[id].Sealed)
	if err != nil {
		return ""
	}
	return named.Name
}

// targetLabel is what an audit entry is about, as it was called then.
func (s *Server) targetLabel(ctx context.Context, e readmodels.AuditEntry) string {
	label := e.Target.Label
	if e.Target.Type == "service_token" {
		if label = s.tokenName(ctx, e.Organization, e.Target.ID); label == "" {
			return "Service token"
		}
	}
	if label == "" { // such as a tool that an agent made up
		return "Unknown " + words(e.Target.Type)
	}
	return label
}
