package commands

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
)

// Bounds of what admins can make us hold and look up.
const (
	mostShapes  = 32 // of an organization: sets of names of claims for one issuer and audience
	mostIssuers = 20 // of an organization's agents
)

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
// bound: the one that is second sees the first, and goes back to what the agent had.
func (w *Workloads) Bind(ctx context.Context, m loop.Meta, id string, i agent.Identity) (AgentResult, error) {
	if err := i.Check(); err != nil {
		return AgentResult{}, err
	}
	before, err := w.Agents.Loop.Fresh(ctx, id)
	if err != nil {
		return AgentResult{}, err
	}
	done, taken, err := w.bind(ctx, m, id, i)
	if err != nil || !taken {
		return done, err
	}
	back := m
	back.IfRevision, back.Since = nil, 0
	if former := before.State.Bound(); former != nil && !former.Same(i) {
		back.CommandID = loop.DerivedID(m.CommandID, "former identity")
		if _, taken, err := w.bind(ctx, back, id, former.Identity); err == nil && !taken {
			return AgentResult{}, agent.IdentityTaken()
		}
	}
	back.CommandID = loop.DerivedID(m.CommandID, "take back")
	_, err = w.Agents.Do(ctx, back, id, func(s agent.State, _ time.Time) (agent.Command, error) {
		return agent.UnbindIdentity{Number: s.Bindings}, nil
	})
	return AgentResult{}, errors.Join(agent.IdentityTaken(), err)
}

// bind is one attempt of Bind. taken says that another agent was bound to the identity at the same
// time, and has it.
func (w *Workloads) bind(
	ctx context.Context, m loop.Meta, id string, i agent.Identity,
) (done AgentResult, taken bool, err error) {
	build := func(s agent.State, _ time.Time) (agent.Command, error) {
		if s.Status == agent.StatusRetired {
			return nil, domain.NotFound("agent")
		}
		return agent.BindIdentity{Identity: i, IfRevision: m.IfRevision}, nil
	}
	if m.Since == 0 {
		_, events, err := w.Agents.Loop.Rehearse(ctx, id, owned(m, build))
		if err != nil {
			return AgentResult{}, false, err
		}
		if len(events) > 0 {
			if field, why := w.Tokens.Check(ctx, i.Issuer, i.Keys); why != "" {
				return AgentResult{}, false, domain.Invalid(field, why)
			}
		}
	}
	if err := w.enter(ctx, m, id, i); err != nil {
		return AgentResult{}, false, err
	}
	if done, err = w.Agents.Do(ctx, m, id, build); err != nil {
		return done, false, err
	}
	now, err := w.Directory.find(ctx, w.Directory.workloadAt(i))
	if err != nil {
		return done, false, err
	}
	taken, err = w.taken(ctx, now, m.Organization, id, i)
	return done, taken, err
}

// enter lists an agent under an identity, unless another agent of the organization has that.
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
			taken, err := w.taken(ctx, there, m.Organization, id, i)
			if refused = err; err == nil && taken {
				refused = agent.IdentityTaken()
			}
			return e, refused != nil
		},
	)
	if err = errors.Join(refused, err); err != nil {
		return err
	}
	shape := codec.DirectoryEntered{OrganizationID: m.Organization, Claims: strings.Join(i.Names(), ",")}
	_, err = d.enter(
		ctx, m, d.shapesAt(i.Issuer, i.Audience), shape,
		func(there []codec.DirectoryEntered) (e codec.DirectoryEntered, stop bool) {
			own := 0
			for _, e := range there {
				if e.OrganizationID == m.Organization {
					own++
				}
			}
			if own >= mostShapes && !slices.Contains(there, shape) {
				refused = domain.Invalid("audience", "it was bound with 32 different sets of claims; choose another")
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
		is := head.State.Bound()
		used[e.Issuer] = is != nil && is.Issuer == e.Issuer
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

// taken reports whether another agent of the organization than this one has an identity.
func (w *Workloads) taken(
	ctx context.Context, there []codec.DirectoryEntered, organization, id string, i agent.Identity,
) (bool, error) {
	for _, e := range there {
		if e.AgentID == id || e.OrganizationID != organization {
			continue
		}
		head, err := w.Agents.Loop.Fresh(ctx, e.AgentID)
		if err != nil {
			return false, err
		}
		if is := head.State.Bound(); is != nil && is.Same(i) {
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
