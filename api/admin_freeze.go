package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/readmodels"
)

// freezesAtOnce is how many agents one freeze revokes at a time.
const freezesAtOnce = 16

// frozen is what a freeze has ended, or would end, as far as a place in the log, and who knows the
// credentials concerned.
type frozen struct {
	position uint64
	ended    []readmodels.EndedGrant
	known    readmodels.Known
}

// Freeze answers POST /api/admin/freeze.
func (s *Server) Freeze(ctx context.Context, r FreezeRequestObject) (FreezeResponseObject, error) {
	call, b := callOf(ctx), value(r.Body)
	preview := value(b.Preview)
	if err := freezesOne(b, s.Clock()); err != nil {
		return nil, err
	}
	var done frozen
	var err error
	what := "What they approved has ended"
	switch {
	case b.AgentID != nil:
		what = "The agent is suspended, and what it had has ended"
		done, err = s.freezeAgent(call, *b.AgentID, preview)
	case b.ToolID != nil:
		what = "The tool is frozen: nothing of it is vended"
		done, err = s.freezeTool(call, *b.ToolID, preview)
	default:
		by := readmodels.Approvals{By: *b.ApprovedBy, Since: b.Since.UTC().Truncate(time.Microsecond)}
		done, err = s.freezeApprovals(call, by, preview)
	}
	if err != nil {
		return nil, err
	}
	call.done(done.position)
	known, err := s.knownCredentials(call, done)
	if err == nil && b.ToolID != nil {
		done.ended, err = s.endedWithTool(call, *b.ToolID, preview)
	}
	if err != nil && !preview {
		err = frozenUnlisted(err, what)
	}
	if err != nil {
		return nil, err
	}
	return Freeze200JSONResponse{
		Preview: preview, Position: int64(done.position), Ended: views(done.ended, frozenGrant), //nolint:gosec // positions fit
		Rotate: rotations(known),
	}, nil
}

// freezesOne checks that a body names one thing to freeze.
func freezesOne(b FreezeOrder, now time.Time) error {
	one, says := "", ""
	for _, f := range []struct {
		name  string
		given bool
	}{{"agent_id", b.AgentID != nil}, {"tool_id", b.ToolID != nil}, {"approved_by", b.ApprovedBy != nil}} {
		switch {
		case !f.given:
		case one != "":
			return domain.Invalid(f.name, "it can't be combined with "+one+"; freeze one thing at a time")
		default:
			one = f.name
		}
	}
	switch {
	case one == "":
		one, says = "agent_id", "name what to freeze: agent_id, tool_id, or approved_by with since"
	case one == "approved_by" && b.Since == nil:
		one, says = "since", "approved_by needs the time from which approvals end"
	case one != "approved_by" && b.Since != nil:
		one, says = "since", "it belongs to approved_by alone"
	case b.Since != nil && b.Since.After(now):
		one, says = "since", "it must not lie in the future"
	default:
		return nil
	}
	return domain.Invalid(one, says)
}

// frozenUnlisted says that the freeze holds although its list can't be had now.
func frozenUnlisted(err error, what string) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok {
		return err
	}
	told := *refusal
	told.Detail = what + ". What ended and what to rotate can't be listed now."
	told.Hint = "Send the same request again after {wait}: it changes nothing more and lists both."
	return errors.Join(&told, err)
}

// knownCredentials asks who knows the credentials that a freeze concerns.
func (s *Server) knownCredentials(call *call, f frozen) ([]readmodels.Exposure, error) {
	if err := s.reached(call, f.position); err != nil {
		return nil, err
	}
	known, err := s.Models.KnownCredentials(call.ctx, call.Caller.Organization, f.known)
	return known, asked(err, "freeze")
}

func (s *Server) freezeAgent(call *call, id string, preview bool) (frozen, error) {
	out := frozen{known: readmodels.Known{AgentID: id}}
	offered, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return out, err
	}
	var state agent.State
	if preview {
		head, err := s.Agents.Loop.Fresh(call.ctx, id)
		if err != nil {
			return out, err
		}
		if state = head.State; state.OrganizationID != call.Caller.Organization || !state.Exists() {
			return out, domain.NotFound("agent")
		}
		if out.position, err = s.Grants.Newest(call.ctx); err != nil {
			return out, err
		}
	} else {
		done, err := s.Agents.Suspend(call.ctx, call.meta(), id)
		if err != nil {
			return out, err
		}
		state, out.position = done.State, done.Position
	}
	ended := state.EndedBySuspension()
	if state.Status == agent.StatusActive && preview {
		ended = state.Open(s.Clock(), func(tool string) agent.Tool { return commands.ToolFacts(offered.State, tool) })
	}
	for _, e := range ended {
		if tool, found := offered.State.Tools[e.ToolID]; found {
			out.ended = append(out.ended, readmodels.EndedGrant{
				AgentID: id, AgentName: state.Name, ToolID: e.ToolID, ToolName: tool.Name, Was: string(e.Was),
			})
		}
	}
	return out, nil
}

func (s *Server) freezeTool(call *call, id string, preview bool) (frozen, error) {
	out := frozen{known: readmodels.Known{ToolID: id}}
	if !preview {
		done, err := s.Tools.Freeze(call.ctx, call.meta(), id)
		out.position = done.Position
		return out, err
	}
	head, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return out, err
	}
	if _, offered := head.State.Tools[id]; !offered {
		return out, domain.NotFound("tool")
	}
	out.position, err = s.Grants.Newest(call.ctx)
	return out, err
}

// endedWithTool lists what the freeze of a tool has ended, or would.
func (s *Server) endedWithTool(call *call, id string, preview bool) ([]readmodels.EndedGrant, error) {
	organization := call.Caller.Organization
	tool, err := s.Models.Tool(call.ctx, organization, id, s.Clock())
	if err != nil {
		return nil, asked(err, "tool")
	}
	if !preview || !tool.FrozenAt.IsZero() {
		ended, err := s.Models.EndedByFreeze(call.ctx, organization, id)
		return ended, asked(err, "freeze")
	}
	open, err := s.Models.OpenGrants(call.ctx, organization, id, s.Clock())
	return open, asked(err, "freeze")
}

// freezeApprovals revokes what somebody approved. The read model names the agents once it knows of
// everything that was decided; the decision is the streams'.
func (s *Server) freezeApprovals(call *call, by readmodels.Approvals, preview bool) (frozen, error) {
	organization := call.Caller.Organization
	out := frozen{known: readmodels.Known{Approvals: by}}
	position, err := s.Grants.Newest(call.ctx)
	if err != nil {
		return out, err
	}
	if err := s.reached(call, position); err != nil {
		return out, err
	}
	// A call that may have been made before by a process that died finds what that has ended, too.
	found, err := s.Models.ApprovedBy(call.ctx, organization, by, s.Clock(), call.since != 0)
	if out.position = position; err != nil {
		return out, asked(err, "freeze")
	}
	if preview {
		out.ended = found
		return out, nil
	}
	offered, err := s.Tools.Catalogs.Fresh(call.ctx, organization)
	if err != nil {
		return out, err
	}
	var agents []string
	for _, g := range found {
		if !slices.Contains(agents, g.AgentID) {
			agents = append(agents, g.AgentID)
		}
	}
	results, failed := make([]commands.AgentResult, len(agents)), make([]error, len(agents))
	var workers errgroup.Group
	workers.SetLimit(freezesAtOnce)
	for i, id := range agents {
		workers.Go(func() error {
			results[i], failed[i] = s.Grants.RevokeApproved(call.ctx, call.meta(), id, by.By, by.Since)
			return nil
		})
	}
	_ = workers.Wait() // each says for itself whether it failed
	var left []string
	for i, id := range agents {
		switch refusal, refused := errors.AsType[*domain.Error](failed[i]); {
		case failed[i] == nil:
			out.position = max(out.position, results[i].Position)
			out.ended = append(out.ended, endedApprovals(id, results[i], offered.State)...)
		case refused && refusal.Kind == domain.KindNotFound: // a retired agent, whose access ended with it
		default:
			left, err = append(left, id), failed[i]
		}
	}
	if len(left) > 0 {
		return out, s.notAllEnded(call, out, found, left, err)
	}
	return out, nil
}

// endedApprovals lists what a command of freezeApprovals has ended.
func endedApprovals(id string, done commands.AgentResult, offered catalog.State) (ended []readmodels.EndedGrant) {
	for _, e := range done.Events {
		revoked, ok := e.(agent.GrantRevoked)
		tool, found := offered.Tools[revoked.ToolID]
		if ok && found {
			ended = append(ended, readmodels.EndedGrant{
				AgentID: id, AgentName: done.State.Name, ToolID: revoked.ToolID, ToolName: tool.Name,
				Was: string(agent.Approved),
			})
		}
	}
	return ended
}

// notAllEnded is the refusal of a freeze that is done in part. A fault is logged here, because its
// text is not for the caller, who must hear what ended.
func (s *Server) notAllEnded(
	call *call, done frozen, found []readmodels.EndedGrant, left []string, cause error,
) error {
	refusal := domain.Error{Kind: domain.KindUnavailable, Code: "busy", RetryAfter: time.Second}
	if because, refused := errors.AsType[*domain.Error](cause); refused {
		refusal.Kind, refusal.Code, refusal.RetryAfter = because.Kind, because.Code, because.RetryAfter
	} else {
		s.Logger.ErrorContext(call.ctx, "a freeze could not be finished", slog.String("request_id", call.RequestID),
			slog.String("error", cause.Error()))
	}
	refusal.Detail = "Not all that they approved has ended: ended lists what has, and not_ended what they can still use."
	refusal.Hint = "Send the same request again after {wait}; it ends the rest."
	var open []readmodels.EndedGrant
	for _, g := range found {
		if slices.Contains(left, g.AgentID) {
			open = append(open, g)
		}
	}
	refusal.Extra = map[string]any{"ended": views(done.ended, frozenGrant), "not_ended": views(open, frozenGrant)}
	return &refusal
}

func frozenGrant(e readmodels.EndedGrant) FrozenGrant {
	return FrozenGrant{
		AgentID: e.AgentID, AgentName: e.AgentName, ToolID: e.ToolID, ToolName: e.ToolName, Was: FrozenGrantWas(e.Was),
	}
}

// rotations gathers who knows which credential, the most fetched first.
func rotations(known []readmodels.Exposure) []KnownCredential {
	type credential struct{ toolID, agentID string }
	out, fetches, places := []KnownCredential{}, map[credential]int64{}, map[credential]int{}
	of := func(k KnownCredential) credential { return credential{k.ToolID, value(k.AgentID)} }
	for _, e := range known {
		k := KnownCredential{ToolID: e.ToolID, ToolName: e.ToolName, CredentialVersion: e.CredentialVersion}
		if e.CredentialMode == string(catalog.PerAgent) {
			k.AgentID = &e.AgentID
		}
		place, found := places[of(k)]
		if !found {
			place = len(out)
			places[of(k)], out = place, append(out, k)
		}
		fetches[of(k)] += e.FetchCount
		out[place].FetchedBy = append(out[place].FetchedBy, CredentialReader{
			AgentID: e.AgentID, AgentName: e.AgentName, FetchCount: e.FetchCount, LastFetchedAt: e.LastFetchedAt.UTC(),
		})
	}
	slices.SortStableFunc(out, func(a, b KnownCredential) int { return cmp.Compare(fetches[of(b)], fetches[of(a)]) })
	return out
}
