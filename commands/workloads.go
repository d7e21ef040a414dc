package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
	"agentkey/integrations/oidc"
)

// Workloads binds agents to identities, and finds whose identity a token is. The directory says
// which agents to ask; what counts is what an agent's stream says. Nothing is fetched for an issuer
// that no agent is bound to.
type Workloads struct {
	Agents    *Agents
	Directory *Directory
	Tokens    *oidc.Workloads
	Clock     func() time.Time

	mu     sync.Mutex
	proven map[[sha256.Size]byte]proven
}

// Bounds of what admins can make us hold and look up.
const (
	mostShapes  = 32 // sets of names of claims with which an issuer's tokens for an audience are bound
	mostIssuers = 20 // of an organization's agents
	mostProven  = 10_000
	rememberFor = 30 * time.Second // a verified token, so that a binding that overlaps is noticed
)

// proven is an agent that a token was verified to be.
type proven struct {
	agentID, organization string
	identity              *agent.Presented
	until                 time.Time
}

// shapesAt is the listing of the names of claims with which tokens of an issuer are bound.
func (d *Directory) shapesAt(issuer, audience string) listing {
	return d.at("workloads", issuer, audience)
}

// workloadAt is the listing of the agents that were bound to an identity.
func (d *Directory) workloadAt(i agent.Identity) listing {
	pieces := []string{"workload", i.Issuer, i.Audience}
	for _, name := range i.Names() {
		pieces = append(pieces, name, i.Claims[name])
	}
	return d.at(pieces...)
}

// issuersAt is the listing of the issuers of an organization's agents.
func (d *Directory) issuersAt(organization string) listing {
	return d.at("workload issuers", organization)
}

// Bind gives an agent an identity instead of the one it had. Before that the issuer's keys are
// fetched once, so that what can't work is said now. Refusals: validation_failed, identity_taken.
//
// Two calls that bind the same identity at once both enter it first and look again once they are
// bound: the one that is second sees the first, and takes its own back.
func (w *Workloads) Bind(ctx context.Context, m loop.Meta, id string, i agent.Identity) (AgentResult, error) {
	if err := i.Check(); err != nil {
		return AgentResult{}, err
	}
	build := func(s agent.State, _ time.Time) (agent.Command, error) {
		if s.Status == agent.StatusRetired {
			return nil, domain.NotFound("agent")
		}
		return agent.BindIdentity{Identity: i, IfRevision: m.IfRevision}, nil
	}
	if m.Since == 0 {
		_, events, err := w.Agents.Loop.Rehearse(ctx, id, owned(m, build))
		if err != nil {
			return AgentResult{}, err
		}
		if len(events) > 0 {
			if field, why := w.Tokens.Check(ctx, i.Issuer, i.Keys); why != "" {
				return AgentResult{}, domain.Invalid(field, why)
			}
		}
	}
	if err := w.enter(ctx, m, id, i); err != nil {
		return AgentResult{}, err
	}
	done, err := w.Agents.Do(ctx, m, id, build)
	if err != nil {
		return done, err
	}
	now, err := w.Directory.find(ctx, w.Directory.workloadAt(i))
	if err != nil {
		return done, err
	}
	taken, err := w.taken(ctx, now, id, i)
	if err != nil || !taken {
		return done, err
	}
	m.CommandID = loop.DerivedID(m.CommandID, "take back")
	_, err = w.Agents.Do(ctx, m, id, func(agent.State, time.Time) (agent.Command, error) {
		return agent.UnbindIdentity{Number: bindingOf(done)}, nil
	})
	return AgentResult{}, errors.Join(agent.IdentityTaken(), err)
}

// bindingOf is the number of the identity that a command bound, or found bound.
func bindingOf(done AgentResult) int {
	for _, e := range done.Events {
		if b, is := e.(agent.IdentityBound); is {
			return b.Number
		}
	}
	return done.State.Bindings
}

// enter lists an agent under an identity, unless another agent has that.
func (w *Workloads) enter(ctx context.Context, m loop.Meta, id string, i agent.Identity) error {
	d := w.Directory
	var refused error
	_, err := d.enter(
		ctx, m, d.issuersAt(m.Organization),
		codec.DirectoryEntered{OrganizationID: m.Organization, AgentID: id, Issuer: i.Issuer},
		func(there []codec.DirectoryEntered) (e codec.DirectoryEntered, stop bool) {
			refused = w.room(ctx, there, i.Issuer)
			return e, refused != nil
		},
	)
	if err = errors.Join(refused, err); err != nil {
		return err
	}
	_, err = d.enter(
		ctx, m, d.workloadAt(i), codec.DirectoryEntered{OrganizationID: m.Organization, AgentID: id},
		func(there []codec.DirectoryEntered) (e codec.DirectoryEntered, stop bool) {
			taken, err := w.taken(ctx, there, id, i)
			if refused = err; err == nil && taken {
				refused = agent.IdentityTaken()
			}
			return e, refused != nil
		},
	)
	if err = errors.Join(refused, err); err != nil {
		return err
	}
	shape := codec.DirectoryEntered{Claims: strings.Join(i.Names(), ",")}
	_, err = d.enter(
		ctx, m, d.shapesAt(i.Issuer, i.Audience), shape,
		func(there []codec.DirectoryEntered) (e codec.DirectoryEntered, stop bool) {
			if len(there) >= mostShapes && !slices.Contains(there, shape) {
				refused = domain.Invalid("audience", "too many different sets of claims are bound for it; choose another")
			}
			return e, refused != nil
		},
	)
	return errors.Join(refused, err)
}

// room refuses one more issuer than an organization's agents may have.
func (w *Workloads) room(ctx context.Context, there []codec.DirectoryEntered, issuer string) error {
	used := map[string]bool{}
	for _, e := range there {
		if e.Issuer == issuer || used[e.Issuer] {
			continue
		}
		head, err := w.Agents.Loop.Recent(ctx, e.AgentID)
		if err != nil {
			return err
		}
		used[e.Issuer] = head.State.Identity != nil && head.State.Identity.Issuer == e.Issuer
	}
	n := 0
	for _, is := range used {
		if is {
			n++
		}
	}
	if n >= mostIssuers {
		return domain.Invalid("issuer", "the agents of an organization may have at most 20 issuers")
	}
	return nil
}

// taken reports whether another agent than this one has an identity.
func (w *Workloads) taken(
	ctx context.Context, there []codec.DirectoryEntered, id string, i agent.Identity,
) (bool, error) {
	for _, e := range there {
		if e.AgentID == id {
			continue
		}
		head, err := w.Agents.Loop.Fresh(ctx, e.AgentID)
		if err != nil {
			return false, err
		}
		if is := head.State.Identity; is != nil && is.Same(i) {
			return true, nil
		}
	}
	return false, nil
}

// Unbind takes an agent's identity away. No fetch with it that starts afterwards succeeds.
func (w *Workloads) Unbind(ctx context.Context, m loop.Meta, id string) (AgentResult, error) {
	return w.Agents.Do(ctx, m, id, func(s agent.State, _ time.Time) (agent.Command, error) {
		if s.Status == agent.StatusRetired {
			return nil, domain.NotFound("agent")
		}
		return agent.UnbindIdentity{IfRevision: m.IfRevision}, nil
	})
}

// find returns the one agent whose identity a token is, in the chosen organization if there is one.
// With again, what was found for the same token before doesn't count.
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
	var failed error
	for _, audience := range slices.Compact(slices.Sorted(slices.Values(said.Audiences))) {
		bound, err := w.bound(ctx, said, audience, chosen)
		if err != nil {
			return proven{}, err
		}
		for id, is := range bound {
			ends, err := w.Tokens.Verify(ctx, token, is.Identity.Issuer, audience, is.Identity.Keys)
			if err != nil {
				failed = workloadRefusal(err)
				continue
			}
			sub, _ := said.Claim("sub")
			jti, _ := said.Claim("jti")
			until := w.Clock().Add(rememberFor)
			if ends.Before(until) {
				until = ends
			}
			all = append(all, proven{
				agentID: id, organization: is.OrganizationID, identity: is.Identity.Present(sub, jti), until: until,
			})
		}
	}
	switch {
	case len(all) == 0 && failed != nil:
		return proven{}, failed
	case len(all) == 0:
		return proven{}, agent.Unbound()
	case len(all) > 1:
		return proven{}, ambiguous()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proven == nil || len(w.proven) >= mostProven {
		w.proven = map[[sha256.Size]byte]proven{}
	}
	w.proven[key] = all[0]
	return all[0], nil
}

// bound returns the agents, by their ids, that are bound to what a token says. Nothing was
// verified.
func (w *Workloads) bound(
	ctx context.Context, said oidc.Claimed, audience, chosen string,
) (map[string]agent.State, error) {
	shapes, err := w.Directory.find(ctx, w.Directory.shapesAt(said.Issuer, audience))
	if err != nil {
		return nil, err
	}
	out := map[string]agent.State{}
	for _, shape := range shapes {
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

func ambiguous() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnauthenticated, Code: "credentials_unknown",
		Detail: "More than one agent is bound to what this token says, so it isn't clear which one calls.",
		Hint: "An admin names more claims for one of them, or an audience of its own, with {bindIdentity}. If the other " +
			"agent is of another organization, name yours with the call.",
		Next: []domain.Next{{Op: "bindIdentity"}},
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
// Refusals: credentials_unknown, credentials_expired, issuer_unavailable, agent_suspended (with the
// caller, for the record).
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
		if err != nil && !again {
			continue // it may have been bound to another since, or is active again
		}
		if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Kind == domain.KindUnauthenticated {
			return Caller{}, err
		}
		return Caller{
			Actor:        domain.Actor{Type: domain.ActorAgent, ID: found.agentID, Label: head.State.Name},
			Organization: found.organization, Proof: Proof{Identity: found.identity}, Agent: head.State,
		}, err
	}
}
