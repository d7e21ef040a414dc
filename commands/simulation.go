package commands

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"agentkey/commands/conditions"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
)

// What a simulation shows and how long it counts.
const (
	MaxDiffers      = 200
	defaultTime     = 30 * 24 * time.Hour
	simulationLasts = time.Hour
)

// Proposal is a rule to replay over the requests of a time, together with the other rules that are
// on. RuleID is the rule that it would replace; "" for none. The zero times are the last 30 days.
type Proposal struct {
	RuleID   string
	Rule     rulebook.Text
	From, To time.Time
}

// Difference is a request that the rule would have decided otherwise than it was.
type Difference struct {
	RequestID, AgentID, ToolID string
	At                         time.Time
	Was, Would                 agent.GrantStatus
	Fetches                    int64 // under what it was
}

// Simulation is what a rule would have decided.
type Simulation struct {
	rulebook.Simulated
	Examples []Difference // the latest first, not all
}

// asked is a request of the past.
type asked struct {
	Difference
	position uint64
	facts    conditions.Facts
}

// Simulate replays a rule over the requests of a time. Each is decided on the facts as they were
// then, in the history that there was. What takes too long is left out, and the answer says so.
// Refusals: validation_failed, busy, read_model_unavailable.
func (b *Rulebook) Simulate(ctx context.Context, organization string, p Proposal) (Simulation, error) {
	if _, err := conditions.Compile("rule.when", p.Rule.When); err != nil {
		return Simulation{}, err
	}
	now := loop.Later(b.Clock(), time.Time{})
	if p.To.IsZero() {
		p.To = now
	}
	if p.From.IsZero() {
		p.From = p.To.Add(-defaultTime)
	}
	if !p.From.Before(p.To) {
		return Simulation{}, domain.Invalid("from", "it must be before to")
	}
	if !b.replaying.Take(organization) {
		return Simulation{}, &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy", Detail: "Another simulation is still running.",
			Hint: "Send the same request again after {wait}.", RetryAfter: 5 * time.Second,
		}
	}
	defer b.replaying.Give(organization)
	book, err := b.Loop.Fresh(ctx, organization)
	if err != nil {
		return Simulation{}, err
	}
	rules, proposed := among(book.State, p.RuleID, p.Rule)
	by, err := b.Asked(ctx, organization, p.From, p.To)
	if err != nil {
		return Simulation{}, err
	}
	out := Simulation{Simulated: rulebook.Simulated{
		At: now, From: p.From, To: p.To, Position: by.Position, Complete: true,
	}}
	within, cancel := context.WithTimeout(ctx, b.Patience)
	defer cancel()
	var all []*asked
	for _, agentID := range by.Agents {
		of, err := b.requestsOf(within, organization, agentID, p, by.Position)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			out.Complete = false
			break
		}
		if err != nil {
			return Simulation{}, loop.Refusal(err)
		}
		all = append(all, of...)
	}
	slices.SortFunc(all, func(a, b *asked) int { return cmp.Compare(a.position, b.position) })
	if err := b.replay(ctx, organization, rules, proposed, all, &out); err != nil {
		return Simulation{}, loop.Refusal(err)
	}
	out.Digest, err = b.digest(organization, p.Rule, out.Simulated)
	return out, err
}

// among are the rules that are on, with a proposed one in the place of the one that it would
// replace; a new one is the youngest.
func among(s rulebook.State, id string, t rulebook.Text) (rules []rulebook.Rule, proposed string) {
	t.Enabled = true
	rule := rulebook.Rule{ID: id, Text: t, Version: 1}
	placed := false
	for _, r := range s.Rules {
		switch {
		case r.ID == id:
			rules, placed = append(rules, rule), true
		case r.Enabled:
			rules = append(rules, r)
		}
	}
	if !placed {
		rules = append(rules, rule)
	}
	return rules, id
}

// requestsOf returns what an agent asked for itself in a time, how it was decided, and what was
// fetched under it.
func (b *Rulebook) requestsOf(
	ctx context.Context, organization, agentID string, p Proposal, position uint64,
) ([]*asked, error) {
	var all []*asked
	current := map[string]*asked{} // by tool
	ended := func(toolID string, was agent.GrantStatus) {
		if r := current[toolID]; r != nil && r.Was == agent.Pending {
			r.Was = was
		}
	}
	_, err := b.Agents.Replay(ctx, agentID, position, func(v codec.Verified, before func() (agent.State, error)) error {
		if v.Signed.Organization != organization {
			return fmt.Errorf("the agent %s is of another organization", agentID)
		}
		switch e := v.Event.(type) {
		case agent.GrantRequested:
			delete(current, e.ToolID)
			at := v.Signed.Time
			if e.SuggestionID != "" || at.Before(p.From) || !at.Before(p.To) {
				return nil
			}
			s, err := before()
			if err != nil {
				return err
			}
			s = agent.Evolve(s, domain.Fact[agent.Event]{Event: e, At: at, By: v.Signed.By()})
			r := &asked{position: v.Position, facts: conditions.Of(agentID, e.ToolID, s, catalog.Tool{})}
			r.Difference = Difference{
				RequestID: e.RequestID, AgentID: agentID, ToolID: e.ToolID, At: at, Was: agent.Pending,
			}
			current[e.ToolID], all = r, append(all, r)
		case agent.GrantAssigned:
			delete(current, e.ToolID)
		case agent.GrantApproved:
			ended(e.ToolID, agent.Approved)
		case agent.GrantDenied:
			ended(e.ToolID, agent.Denied)
		case agent.GrantWithdrawn:
			ended(e.ToolID, agent.Withdrawn)
		case agent.GrantRevoked:
			ended(e.ToolID, agent.Withdrawn)
		case agent.CredentialVended:
			if r := current[e.ToolID]; r != nil {
				r.Fetches++
			}
		}
		return nil
	})
	return all, err
}

// replay decides requests, the oldest first, by rules on the catalog as it was then, and counts
// what the proposed rule decides.
func (b *Rulebook) replay(
	ctx context.Context, organization string, rules []rulebook.Rule, proposed string, all []*asked, out *Simulation,
) error {
	next := 0
	upTo := func(position uint64, s func() (catalog.State, error)) error {
		for ; next < len(all) && all[next].position < position; next++ {
			offered, err := s()
			if err != nil {
				return err
			}
			if err := all[next].decide(ctx, offered, rules, proposed); err != nil {
				return err
			}
			out.count(all[next].Difference)
		}
		return nil
	}
	last, err := b.Catalogs.Replay(ctx, organization, out.Position, func(
		v codec.Verified, before func() (catalog.State, error),
	) error {
		return upTo(v.Position, before)
	})
	if err == nil {
		err = upTo(out.Position+1, func() (catalog.State, error) { return last, nil })
	}
	slices.Reverse(out.Examples)
	return err
}

// decide finds what the proposed rule would have decided, on the very path of a request of now.
func (r *asked) decide(ctx context.Context, offered catalog.State, rules []rulebook.Rule, proposed string) error {
	r.Would = agent.Pending
	r.facts.Tool = offered.Tools[r.ToolID]
	says, err := judge(ctx, rules, r.facts)
	if err != nil || !says.decide || says.rule.ID != proposed {
		return err
	}
	follow, err := followed(says.rule, ToolFacts(offered, r.ToolID), r.RequestID, r.At)
	if err != nil {
		return err
	}
	events, err := agent.Decide(r.facts.Agent, follow)
	for _, e := range events {
		switch e.(type) { //nolint:gochecksumtype // a rule causes nothing else
		case agent.GrantApproved:
			r.Would = agent.Approved
		case agent.GrantDenied:
			r.Would = agent.Denied
		}
	}
	return err
}

func (s *Simulation) count(d Difference) {
	s.Requests++
	switch d.Would {
	case agent.Approved:
		s.WouldApprove++
	case agent.Denied:
		s.WouldDeny++
	default:
		return
	}
	if d.Would == d.Was {
		return
	}
	s.Differs++
	s.Fetches += d.Fetches
	s.Examples = append(s.Examples, d)
	if len(s.Examples) > MaxDiffers {
		s.Examples = s.Examples[1:]
	}
}

// digest signs a simulation together with what it was of, so that nothing need be kept of it.
func (b *Rulebook) digest(organization string, t rulebook.Text, s rulebook.Simulated) (string, error) {
	s.Digest = ""
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	payload := base64.RawURLEncoding.EncodeToString(text)
	return payload + "." + base64.RawURLEncoding.EncodeToString(b.mac(organization, t, payload)), nil
}

func (b *Rulebook) mac(organization string, t rulebook.Text, payload string) []byte {
	return hmacOf(b.MACKey, "rules.simulation.v1", organization, t.When, strconv.Itoa(t.Environment), string(t.Effect),
		strconv.FormatInt(t.MaxSeconds, 10), payload)
}

// shown returns the simulation that a digest is of, nil if it isn't one of ours, of this very text,
// or is too old.
func (b *Rulebook) shown(organization string, t rulebook.Text, digest string, now time.Time) *rulebook.Simulated {
	payload, signed, found := strings.Cut(digest, ".")
	sum, err := base64.RawURLEncoding.DecodeString(signed)
	if !found || err != nil || !hmac.Equal(sum, b.mac(organization, t, payload)) {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var s rulebook.Simulated
	if err != nil || json.Unmarshal(text, &s) != nil || now.Sub(s.At) > simulationLasts {
		return nil
	}
	s.Digest = digest
	return &s
}
