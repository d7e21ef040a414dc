package api

import (
	"context"
	"errors"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/rulebook"
)

// ListRules answers GET /api/admin/rules. Rules are read from their stream, as requests are
// decided.
func (s *Server) ListRules(ctx context.Context, r ListRulesRequestObject) (ListRulesResponseObject, error) {
	call := callOf(ctx)
	p, err := page(r.Params.Limit, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	head, err := s.Rules.Loop.Recent(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	those, next := newestOf(head.State.Rules, p)
	return ListRules200JSONResponse{Items: views(those, ruleView), NextCursor: next}, nil
}

// GetRule answers GET /api/admin/rules/{id}.
func (s *Server) GetRule(ctx context.Context, r GetRuleRequestObject) (GetRuleResponseObject, error) {
	call := callOf(ctx)
	head, err := s.Rules.Loop.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	is, found := head.State.Find(r.ID)
	if !found {
		return nil, domain.NotFound("rule")
	}
	call.tag(is.Version)
	return GetRule200JSONResponse(ruleView(is)), nil
}

// AddRule answers POST /api/admin/rules.
func (s *Server) AddRule(ctx context.Context, r AddRuleRequestObject) (AddRuleResponseObject, error) {
	call, b := callOf(ctx), r.Body
	effect := rulebook.Effect(b.Effect)
	id, done, err := s.Rules.Add(call.ctx, call.meta(), commands.RuleChange{
		Name: &b.Name, When: &b.When, Effect: &effect, MaxSeconds: b.MaxSeconds, Reason: b.Reason, Enabled: &b.Enabled,
		Simulation: value(b.Simulation),
	})
	if err != nil {
		return nil, withSimulation(err)
	}
	call.header.Set("Location", "/api/admin/rules/"+id)
	return AddRule201JSONResponse(changedRule(call, id, done)), nil
}

// UpdateRule answers PATCH /api/admin/rules/{id}.
func (s *Server) UpdateRule(ctx context.Context, r UpdateRuleRequestObject) (UpdateRuleResponseObject, error) {
	call, b := callOf(ctx), value(r.Body)
	done, err := s.Rules.Change(call.ctx, call.edit(), r.ID, commands.RuleChange{
		Name: b.Name, When: b.When, Effect: effectOf(b.Effect), MaxSeconds: b.MaxSeconds, Reason: b.Reason,
		Enabled: b.Enabled, Simulation: value(b.Simulation),
	})
	if err != nil {
		return nil, withSimulation(err)
	}
	return UpdateRule200JSONResponse(changedRule(call, r.ID, done)), nil
}

// RemoveRule answers DELETE /api/admin/rules/{id}.
func (s *Server) RemoveRule(ctx context.Context, r RemoveRuleRequestObject) (RemoveRuleResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Rules.Remove(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RemoveRule204Response{}, nil
}

// SimulateRule answers POST /api/admin/rules/simulate.
func (s *Server) SimulateRule(ctx context.Context, r SimulateRuleRequestObject) (SimulateRuleResponseObject, error) {
	call, b := callOf(ctx), r.Body
	proposed, err := s.Rules.Propose(call.ctx, call.Caller.Organization, value(b.Rule.ID), commands.RuleChange{
		When: b.Rule.When, Effect: effectOf(b.Rule.Effect), MaxSeconds: b.Rule.MaxSeconds,
	})
	if err != nil {
		return nil, err
	}
	proposed.From, proposed.To = value(b.From), value(b.To)
	done, err := s.Rules.Simulate(call.ctx, call.Caller.Organization, proposed)
	if err != nil {
		return nil, err
	}
	return SimulateRule200JSONResponse(simulated(done)), nil
}

// withSimulation renders what a rule would have decided in the refusal that asks to look at it.
func withSimulation(err error) error {
	refusal, is := errors.AsType[*domain.Error](err)
	if !is {
		return err
	}
	done, is := refusal.Extra["simulation"].(commands.Simulation)
	if !is {
		return err
	}
	shown := *refusal
	shown.Extra = map[string]any{"simulation": simulated(done)}
	return &shown
}

func effectOf(e *RuleEffect) *rulebook.Effect { return (*rulebook.Effect)(e) }

// changedRule is a rule as a command of this call left it.
func changedRule(call *call, id string, done commands.RuleResult) Rule {
	is, _ := done.State.Find(id)
	call.done(done.Position)
	call.tag(is.Version)
	return ruleView(is)
}

func ruleView(r rulebook.Rule) Rule {
	out := Rule{
		ID: r.ID, Name: r.Name, When: r.When, Effect: RuleEffect(r.Effect), MaxSeconds: optional(r.MaxSeconds),
		Reason: optional(r.Reason), Enabled: r.Enabled, Version: r.Version, CreatedAt: r.CreatedAt.UTC(),
		UpdatedAt: r.UpdatedAt.UTC(), Revision: r.Version,
	}
	if f := r.Failure; f != nil {
		out.Failure = &RuleFailure{RequestID: f.RequestID, Problem: f.Problem, At: f.At.UTC()}
	}
	return out
}

func simulated(s commands.Simulation) SimulatedRule {
	return SimulatedRule{
		Requests: s.Requests, WouldApprove: s.WouldApprove, WouldDeny: s.WouldDeny,
		Differs: views(s.Examples, func(d commands.Difference) RuleDifference {
			return RuleDifference{
				RequestID: d.RequestID, AgentID: d.AgentID, ToolID: d.ToolID, At: d.At.UTC(), Was: AccessRequestStatus(d.Was),
				Would: RuleDifferenceWould(d.Would), Fetches: d.Fetches,
			}
		}),
		DiffersTotal: s.Differs, Fetches: s.Fetches, Complete: s.Complete, From: s.From.UTC(), To: s.To.UTC(),
		Position: int64(s.Position), Digest: s.Digest, //nolint:gosec // positions fit
	}
}

// ruleVersion is absent where no rule decided.
func ruleVersion(r *domain.RuleVersion) *RuleVersion {
	if r == nil {
		return nil
	}
	return &RuleVersion{ID: r.ID, Version: r.Version, Name: r.Name}
}

// byRule names the rule that decided something, as it was called then.
func byRule(by *Actor, r *domain.RuleVersion) *Actor {
	if by != nil && r != nil && by.Type == ActorTypeSystem && by.ID == r.ID {
		by.Label = &r.Name
	}
	return by
}
