package api

import (
	"context"
	"fmt"

	"agentkey/commands/loop"
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

// naming finds the names of an organization's actors for one answer. err is why one can't be found
// now: a query then fails, because nobody could tell such a blank from a name that was erased. The
// answer of a command may lack it, because the command is done. After the first one no other is
// looked for, because each takes as long as the log is hoped for.
type naming struct {
	server       *Server
	organization string
	err          error
}

func (s *Server) naming(organization string) *naming {
	return &naming{server: s, organization: organization}
}

// token is the name of a service token, also of one that was revoked or replaced; "" when it was
// erased.
func (n *naming) token(ctx context.Context, id string) string {
	if n.err != nil {
		return ""
	}
	head, err := n.server.Door.Callers.Organizations.Cached(ctx, n.organization)
	if err != nil {
		n.fail(err)
		return ""
	}
	return n.open(ctx, id, head.State.Tokens[id].Sealed).Name
}

func (n *naming) open(ctx context.Context, id, sealed string) NameAndNote {
	if n.err != nil {
		return NameAndNote{}
	}
	named, err := n.server.RevealName(ctx, n.organization, id, sealed)
	if err != nil {
		n.fail(err)
		return NameAndNote{}
	}
	return named
}

// personal opens what an event holds about who made a call. What was erased is the zero Personal.
func (n *naming) personal(ctx context.Context, e readmodels.AuditEntry) Personal {
	if n.err != nil {
		return Personal{}
	}
	opened, err := n.server.Reveal(ctx, e.Organization, e.Private)
	if err != nil {
		n.fail(fmt.Errorf("the event %s: %w", e.ID, err))
	}
	return opened
}

func (n *naming) fail(err error) {
	if n.err == nil {
		n.err = loop.Refusal(fmt.Errorf("find who acted: %w", err))
	}
}

// target is what an audit entry is about, as it was called then.
func (n *naming) target(ctx context.Context, e readmodels.AuditEntry) string {
	label := e.Target.Label
	if e.Target.Type == "service_token" {
		if label = n.token(ctx, e.Target.ID); label == "" {
			return "Service token"
		}
	}
	if label == "" { // such as a tool that an agent made up
		return "Unknown " + words(e.Target.Type)
	}
	return label
}
