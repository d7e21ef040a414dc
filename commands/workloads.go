package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/integrations/oidc"
)

// Workloads binds agents to identities, and finds whose identity a token is. The directory says
// which agents to ask; what counts is what an agent's stream says. Nothing is fetched for an issuer
// that no agent is or was bound to.
type Workloads struct {
	Agents    *Agents
	Directory *Directory
	Tokens    *oidc.Workloads
	Clock     func() time.Time

	mu     sync.Mutex
	proven map[[sha256.Size]byte]proven
}

const (
	mostProven  = 10_000
	rememberFor = 30 * time.Second // a verified token, so that a binding that overlaps is noticed
)

// proven is an agent that a token was verified to be.
type proven struct {
	agentID, organization string
	identity              *agent.Presented
	until                 time.Time
	ended                 bool // it is the identity that the agent had
}

// find returns the one agent whose identity a token is, in the chosen organization if there is one,
// or else one whose identity it was. With again, what was found for the same token before doesn't
// count.
func (w *Workloads) find(ctx context.Context, token, chosen string, again bool) (proven, error) {
	key := sha256.Sum256([]byte(chosen + " " + token))
	w.mu.Lock()
	found, known := w.proven[key]
	w.mu.Unlock()
	if known && !again && w.Clock().Before(found.until) {
		return found, nil
	}
	said, err := oidc.Read(token)
	if err != nil {
		return proven{}, workloadRefusal(err)
	}
	var all []proven
	former := map[string]agent.State{}
	var failed error
	for _, audience := range slices.Compact(slices.Sorted(slices.Values(said.Audiences))) {
		bound, err := w.bound(ctx, said, audience, chosen)
		if err != nil {
			return proven{}, err
		}
		for id, s := range bound {
			if s.Bound() == nil {
				former[id] = s
				continue
			}
			p, err := w.prove(ctx, token, said, id, s)
			if err != nil {
				failed = workloadRefusal(err)
				continue
			}
			all = append(all, p)
		}
	}
	switch {
	case len(all) == 0 && failed != nil:
		return proven{}, failed
	case len(all) == 0:
		for id, s := range former {
			if p, err := w.prove(ctx, token, said, id, s); err == nil {
				return p, nil
			}
		}
		return proven{}, agent.Unbound()
	case len(all) > 1:
		return proven{}, ambiguous(slices.ContainsFunc(all, func(p proven) bool {
			return p.organization != all[0].organization
		}))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proven == nil || len(w.proven) >= mostProven {
		w.proven = map[[sha256.Size]byte]proven{}
	}
	w.proven[key] = all[0]
	return all[0], nil
}

// prove verifies that a token is the newest identity of an agent.
func (w *Workloads) prove(
	ctx context.Context, token string, said oidc.Claimed, id string, s agent.State,
) (proven, error) {
	is := s.Identity
	ends, err := w.Tokens.Verify(ctx, token, is.Issuer, is.Audience, is.Keys)
	if err != nil {
		return proven{}, err
	}
	sub, _ := said.Claim("sub")
	jti, _ := said.Claim("jti")
	until := w.Clock().Add(rememberFor)
	if ends.Before(until) {
		until = ends
	}
	return proven{
		agentID: id, organization: s.OrganizationID, identity: is.Present(sub, jti), until: until, ended: is.Ended,
	}, nil
}

// bound returns the agents, by their ids, that are or were bound to what a token says. Nothing was
// verified.
func (w *Workloads) bound(
	ctx context.Context, said oidc.Claimed, audience, chosen string,
) (map[string]agent.State, error) {
	shapes, err := w.Directory.find(ctx, w.Directory.shapesAt(said.Issuer, audience))
	if err != nil {
		return nil, err
	}
	out, looked := map[string]agent.State{}, map[string]bool{}
	for _, shape := range shapes {
		if looked[shape.Claims] || chosen != "" && shape.OrganizationID != chosen {
			continue
		}
		looked[shape.Claims] = true
		i := agent.Identity{Issuer: said.Issuer, Audience: audience, Claims: map[string]string{}}
		names := strings.Split(shape.Claims, ",")
		for _, name := range names {
			if value, has := said.Claim(name); has {
				i.Claims[name] = value
			}
		}
		if len(i.Claims) < len(names) {
			continue
		}
		entries, err := w.Directory.find(ctx, w.Directory.workloadAt(i))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if chosen != "" && e.OrganizationID != chosen {
				continue
			}
			head, err := w.Agents.Loop.Recent(ctx, e.AgentID)
			if err != nil {
				return nil, err
			}
			if is := head.State.Identity; is != nil && is.Same(i) {
				out[e.AgentID] = head.State
			}
		}
	}
	return out, nil
}

// ambiguous is the refusal of a token that several agents are bound to.
func ambiguous(organizations bool) *domain.Error {
	if organizations {
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
			Detail: "Agents of more than one organization are bound to what this token says, so it isn't clear which one calls.",
			Hint:   "Name your organization with each call: its id as {organization}.",
		}
	}
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
		Detail: "More than one agent is bound to what this token says, so it isn't clear which one calls.",
		Hint:   "An admin names more claims for one of them, or an audience of its own, with {bindIdentity}.",
		Next:   []domain.Next{{Op: "bindIdentity"}},
	}
}

// workloadRefusal says what a workload may know of why its token isn't accepted.
func workloadRefusal(err error) error {
	refused, is := errors.AsType[*oidc.Refused](err)
	switch {
	case is && refused.Expired:
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_expired", Detail: "This token of a workload has expired.",
			Hint: "Get a new token from the platform that runs you, and call with it.",
		}
	case is:
		return &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
			Detail: "This token isn't accepted: " + domain.Verbatim(refused.Why) + ".",
			Hint:   "Ask the platform that runs you for a token of at most an hour, for the bound audience.",
		}
	case errors.Is(err, oidc.ErrUnavailable):
		return errors.Join(&domain.Error{
			Kind: domain.KindUnavailable, Code: "issuer_unavailable",
			Detail: "The issuer of this token can't be reached, and this process doesn't know its keys yet.",
			Hint: "Send the same request again after {wait}. An admin can bind the identity with the issuer's keys, so that " +
				"none are fetched: {bindIdentity}.",
			Next: []domain.Next{{Op: "bindIdentity"}}, RetryAfter: 5 * time.Second,
		}, err)
	}
	return err
}

// Workload finds the agent of a workload's token, in the organization that was chosen if one was.
// With trustCached a state that admits the identity is enough, because the vend decides on the log.
// Refusals: credentials_unknown (with the caller, for the record, when the identity was the
// agent's), credentials_expired, issuer_unavailable, agent_suspended (with the caller likewise).
func (c *Callers) Workload(ctx context.Context, token, chosen string, trustCached bool) (Caller, error) {
	for again := false; ; again = true {
		found, err := c.Workloads.find(ctx, token, chosen, again)
		if err != nil {
			return Caller{}, err
		}
		read := c.Agents.Recent
		if trustCached && !again {
			read = c.Agents.Cached
		}
		head, err := read(ctx, found.agentID)
		if err != nil {
			return Caller{}, err
		}
		err = agent.AdmitIdentity(head.State, found.identity.Binding)
		if err != nil && !again && !found.ended {
			continue // it may have been bound to another since, or is active again
		}
		refusal, is := errors.AsType[*domain.Error](err)
		if is && refusal.Kind == domain.KindUnauthenticated && !found.ended {
			return Caller{}, err
		}
		return Caller{
			Actor:        domain.Actor{Type: domain.ActorAgent, ID: found.agentID, Label: head.State.Name},
			Organization: found.organization, Proof: Proof{Identity: found.identity}, Agent: head.State,
		}, err
	}
}
