package api

import (
	"cmp"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/readmodels"
)

// naming finds the names of an organization's actors for one answer. err is why one can't be found
// now: a query then fails, because nobody could tell such a blank from a name that was erased. The
// answer of a command may lack it, because the command is done. After the first one no other is
// looked for, because each takes as long as the log is hoped for.
type naming struct {
	server       *Server
	organization string
	err          error
	people       map[string]commands.Known // that were looked for
}

func (s *Server) naming(organization string) *naming {
	return &naming{server: s, organization: organization, people: map[string]commands.Known{}}
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

// rule is the name of a rule, also of one that was removed.
func (n *naming) rule(ctx context.Context, id string) string {
	if n.err != nil {
		return ""
	}
	head, err := n.server.Rules.Loop.Cached(ctx, n.organization)
	if err == nil && head.State.Name(id) == "" { // another process has made it
		head, err = n.server.Rules.Loop.Fresh(ctx, n.organization)
	}
	if err != nil {
		n.fail(err)
	}
	return head.State.Name(id)
}

func (n *naming) open(ctx context.Context, id, sealed string) commands.Known {
	if n.err != nil {
		return commands.Known{}
	}
	named, err := n.server.RevealName(ctx, n.organization, id, sealed)
	if err != nil {
		n.fail(err)
		return commands.Known{}
	}
	return named
}

// person is what is known of a member; the zero Known when they were erased.
func (n *naming) person(ctx context.Context, id string) commands.Known {
	if n.err != nil {
		return commands.Known{}
	}
	known, hit := n.people[id]
	if !hit {
		var err error
		if known, err = n.server.People.Known(ctx, n.organization, id); err != nil {
			n.fail(err)
		}
		n.people[id] = known
	}
	return known
}

// owner is who is responsible for an agent.
func (n *naming) owner(ctx context.Context, id string) *Actor {
	if _, met := n.people[id]; id != "" && !met {
		n.meet(ctx, []string{id}, n.server.People.Owner)
	}
	return n.somebody(ctx, domain.Actor{Type: domain.ActorHuman, ID: id})
}

// meet looks for several people at once, because each is a stream of their own.
func (n *naming) meet(
	ctx context.Context, ids []string, find func(_ context.Context, organization, id string) (commands.Known, error),
) {
	if n.err != nil {
		return
	}
	known, failed := make([]commands.Known, len(ids)), make([]error, len(ids))
	var readers errgroup.Group
	readers.SetLimit(16)
	for i, id := range ids {
		readers.Go(func() error {
			known[i], failed[i] = find(ctx, n.organization, id)
			return failed[i]
		})
	}
	if err := readers.Wait(); err != nil {
		n.fail(err)
	}
	for i, id := range ids {
		n.people[id] = known[i]
	}
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
	switch e.Target.Type {
	case "service_token":
		return cmp.Or(n.token(ctx, e.Target.ID), "Service token")
	case "member":
		return cmp.Or(n.person(ctx, e.Target.ID).Label(), "Member")
	case "invitation":
		return "Invitation"
	case "session":
		return "Session"
	case "operation":
		return e.Target.ID
	}
	if label == "" { // such as a tool that an agent made up
		return "Unknown " + words(e.Target.Type)
	}
	return label
}
