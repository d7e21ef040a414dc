package commands

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/organization"
	"agentkey/integrations/oidc"
)

// Callers knows who presents a key, a token of an identity provider, or the cookie of a session. It
// decides on streams alone.
type Callers struct {
	Agents        *loop.Loop[agent.State, agent.Command, agent.Event]
	Organizations *loop.Loop[organization.State, organization.Command, organization.Event]
	First         string // the first organization's id, for tokens made before there was one
	Uses          *Uses
	Issuers       *oidc.Verifier // of people's tokens; nil: none is configured
	People        *People
	Workloads     *Workloads
}

// Caller is who calls.
type Caller struct {
	Actor        domain.Actor
	Organization string
	Role         domain.Role // of a member or a service token; empty for agents
	Tools        []string    // that an approver decides about; none: all
	Proof
	SessionID string      // of the session that the call came with; empty for none
	person    listing     // of a member, under which their organizations are found
	Agent     agent.State // of an agent, as it was when it was admitted
}

// Proof is what a caller showed: a key or a token of ours by its number, or the identity of a
// workload.
type Proof struct {
	KeyNumber int
	Identity  *agent.Presented // nil: it was a key
}

// Giver is the caller as the giver of a command to their organization.
func (c Caller) Giver() organization.Giver {
	if c.Actor.Type == domain.ActorHuman {
		return organization.Giver{MemberID: c.Actor.ID, Role: c.Role}
	}
	return organization.Giver{TokenID: c.Actor.ID, Role: c.Role}
}

// Agent finds the agent of a key. A caller that is refused, or whose fetch won't decide again, is
// judged on a fresh read; with trustCached a state that admits the key is enough, because the vend
// decides on the log. Refusals: credentials_unknown (with the organization alone when the key names
// an agent of ours), credentials_expired, agent_suspended (with the caller, for the record).
func (c *Callers) Agent(ctx context.Context, key keys.Key, trustCached bool) (Caller, error) {
	id := key.ID.String()
	read := c.Agents.Recent
	if trustCached {
		read = c.Agents.Cached
	}
	head, err := read(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	err = c.admit(head.State, key)
	if err != nil && trustCached {
		if head, err = c.Agents.Fresh(ctx, id); err != nil {
			return Caller{}, err
		}
		err = c.admit(head.State, key)
	}
	stored, found := head.State.FindKey(key.Number)
	if !found || !key.Matches(stored.Hash) {
		return Caller{Organization: head.State.OrganizationID}, agent.Unknown()
	}
	return Caller{
		Actor:        domain.Actor{Type: domain.ActorAgent, ID: id, Label: head.State.Name},
		Organization: head.State.OrganizationID, Proof: Proof{KeyNumber: key.Number}, Agent: head.State,
	}, err
}

func (c *Callers) admit(s agent.State, key keys.Key) error {
	stored, found := s.FindKey(key.Number)
	if !found || !key.Matches(stored.Hash) {
		return agent.Unknown()
	}
	return agent.Admit(s, key.Number, c.Agents.Env.Clock())
}

// Service finds the organization and the role of a service token. A refused one comes with the
// organization alone when it names one of ours, and with the token, for the record, when it worked
// once. Refusals: credentials_unknown, credentials_expired.
func (c *Callers) Service(ctx context.Context, key keys.Key) (Caller, error) {
	id := key.ID.String()
	if key.ID == uuid.Nil {
		id = c.First
	}
	head, err := c.Organizations.Recent(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	known := Caller{}
	if head.State.Exists {
		known.Organization = id
	}
	for _, token := range head.State.Tokens {
		if token.Number != key.Number || !key.Matches(token.Hash) {
			continue
		}
		known.KeyNumber, known.Actor = key.Number, domain.Actor{Type: domain.ActorService, ID: token.ID}
		if token.RevokedAt.IsZero() && token.Expired(c.Organizations.Env.Clock()) {
			return known, organization.ExpiredToken()
		}
		if token.RevokedAt.IsZero() {
			known.Role = token.Role
			c.Uses.note(known)
			return known, nil
		}
	}
	return known, organization.UnknownToken()
}

// Person finds the member who presents a token of an identity provider, in the organization that
// they chose if they did. m says how the call came in. Refusals: credentials_unknown,
// credentials_expired, not_a_member, issuer_unavailable.
func (c *Callers) Person(ctx context.Context, m loop.Meta, token, chosen string) (Caller, error) {
	id, err := c.Issuers.Verify(ctx, token)
	if err != nil {
		return Caller{}, identityRefusal(err)
	}
	known, err := c.People.Admit(ctx, m, id, chosen)
	if err == nil {
		c.Uses.note(known)
	}
	return known, err
}

// identityRefusal says what a caller may know of why an identity isn't accepted.
func identityRefusal(err error) error {
	refused, is := errors.AsType[*oidc.Refused](err)
	switch {
	case is && refused.Expired:
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_expired",
			Detail: "This token of your identity provider has expired.", Hint: "Sign in again, or refresh the token.",
		}
	case is:
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
			Detail: "This token isn't accepted: " + domain.Verbatim(refused.Why) + ".",
			Hint:   "Sign in again. An operator sees what is wrong with a token with: agentkey doctor --token-file.",
		}
	case errors.Is(err, oidc.ErrTooMany):
		return tooMany(err)
	case errors.Is(err, oidc.ErrUnavailable):
		return errors.Join(&domain.Error{
			Kind: domain.KindUnavailable, Code: "issuer_unavailable",
			Detail:     "The identity provider can't be reached, and without it this token can't be verified.",
			Hint:       "Send the same request again after {wait}. Service tokens and agents' keys still work.",
			RetryAfter: 5 * time.Second,
		}, err)
	}
	return err
}

// Session finds whose session a cookie belongs to, in the organization that they chose if they did.
// Refusals: credentials_expired, not_a_member.
func (c *Callers) Session(ctx context.Context, key keys.Key, chosen string) (Caller, error) {
	id := key.ID.String()
	if key.ID == uuid.Nil {
		id = c.First
	}
	head, err := c.Organizations.Recent(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	is, found := head.State.Session(key.Number)
	if !found || !key.Matches(is.Hash) || !head.State.Works(is, c.Organizations.Env.Clock()) {
		return Caller{}, organization.SessionOver()
	}
	known := Caller{Organization: id, SessionID: is.ID}
	if is.MemberID == "" {
		known.Actor, known.Role = domain.Actor{Type: domain.ActorService, ID: is.TokenID}, head.State.Tokens[is.TokenID].Role
		c.Uses.note(known)
		return known, nil
	}
	known.person = listing(is.Person)
	if chosen != "" && chosen != id {
		there, err := c.People.elsewhere(ctx, known.person, chosen)
		if err != nil {
			return Caller{}, err
		}
		known.Organization = chosen
		known.Actor, known.Role = domain.Actor{Type: domain.ActorHuman, ID: there.ID}, there.Role
		known.Tools = there.Tools
		c.Uses.note(known)
		return known, nil
	}
	known.Actor, known.Role = domain.Actor{Type: domain.ActorHuman, ID: is.MemberID}, head.State.Members[is.MemberID].Role
	known.Tools = head.State.Members[is.MemberID].Tools
	c.Uses.note(known)
	return known, nil
}
