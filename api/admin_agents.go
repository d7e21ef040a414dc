package api

import (
	"context"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/readmodels"
)

// instructionsFor returns the block for an agent's instructions file. It says where the key is and
// never holds the key, because such files end up in repositories.
func instructionsFor(name string) string {
	return "## Credentials for tools (AgentKey)\n\n" +
		"You are " + name + ". You start with access to nothing and hold no API keys. AgentKey gives you a " +
		"credential once a human has approved it.\n" +
		"Your AgentKey key is in the environment variable AGENTKEY_API_KEY, and the service's address is in " +
		"AGENTKEY_URL. Send the header\n" +
		"`Authorization: Bearer $AGENTKEY_API_KEY` with every call. Never write the key down.\n\n" +
		"1. List the tools and your access to each: `GET $AGENTKEY_URL/api/tools?view=short`. Add `&q=` to search by " +
		"name.\n" +
		"   `GET $AGENTKEY_URL/api/tools/{id}` describes one tool.\n" +
		"2. Ask for a tool: `POST $AGENTKEY_URL/api/tools/{id}/request` with the JSON body {\"reason\": \"why you " +
		"need it\"}. A human decides. With `?wait=30` the answer waits up to 30 seconds for that.\n" +
		"3. When `your_access` is `approved`, fetch the credential and its instructions: `GET " +
		"$AGENTKEY_URL/api/tools/{id}/credentials`.\n" +
		"   Fetch it again each time you need it. Don't store it, log it or pass it on.\n" +
		"4. If the catalog lacks a tool, suggest it: `POST $AGENTKEY_URL/api/tools/suggest` with {\"name\": \"…\", " +
		"\"url\": \"…\", \"reason\": \"…\"}.\n" +
		"   Other agents may back your suggestion. A human decides once for all of you.\n" +
		"5. If you learn something about a tool that others should know, share it: `POST " +
		"$AGENTKEY_URL/api/tools/{id}/instructions/suggest`\n" +
		"   with {\"learned\": \"…\", \"why\": \"…\"}. A human reviews it, and the next agent gets it with the " +
		"credential.\n" +
		"6. Every error has a `hint` that names the call to make next.\n"
}

// ListAgents answers GET /api/admin/agents.
func (s *Server) ListAgents(ctx context.Context, r ListAgentsRequestObject) (ListAgentsResponseObject, error) {
	call := callOf(ctx)
	q := r.Params
	l := listing{q.Limit, q.Cursor, q.Count, string(value(q.Sort))}
	p, err := l.page(ctx)
	if err == nil {
		err = pastKnows(q.AsOf, l.sort, map[string]*Time{
			"last_seen_before": q.LastSeenBefore, "unused_since": q.UnusedSince,
		})
	}
	if err != nil {
		return nil, err
	}
	model, err := s.at(call, q.AsOf)
	if err != nil {
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	owners, err := n.ownersBy(call.ctx, model.DB, value(q.Q))
	if err != nil {
		return nil, err
	}
	filter := readmodels.AgentFilter{
		Query: value(q.Q), Owners: owners, Tags: value(q.Tag), Status: several(q.Status),
		LastSeenBefore: bound(q.LastSeenBefore),
		UnusedSince:    bound(q.UnusedSince),
	}
	found, err := model.Agents(call.ctx, call.Caller.Organization, filter, model.now, p)
	if err != nil {
		return nil, asked(err, "agent")
	}
	n.meetOwners(call.ctx, views(found.Items, func(a readmodels.Agent) string { return a.OwnerID }))
	total, atLeast := totals(found.Total)
	return ListAgents200JSONResponse{
		Items: views(found.Items, func(a readmodels.Agent) Agent {
			return model.agent(n.agent(call.ctx, a, model.now))
		}),
		NextCursor: nextPage(ctx, found), Position: model.position, Total: total, TotalAtLeast: atLeast,
	}, n.err
}

// GetAgent answers GET /api/admin/agents/{id}.
func (s *Server) GetAgent(ctx context.Context, r GetAgentRequestObject) (GetAgentResponseObject, error) {
	call := callOf(ctx)
	model, err := s.at(call, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	found, err := model.Agent(call.ctx, call.Caller.Organization, r.ID, model.now)
	if err != nil {
		return nil, asked(err, "agent")
	}
	call.tag(found.Revision)
	n := s.naming(call.Caller.Organization)
	return GetAgent200JSONResponse(model.agent(n.agent(call.ctx, found, model.now))), n.err
}

// RegisterAgent answers POST /api/admin/agents.
func (s *Server) RegisterAgent(ctx context.Context, r RegisterAgentRequestObject) (RegisterAgentResponseObject, error) {
	call := callOf(ctx)
	made, err := s.Agents.Register(call.ctx, call.meta(), commands.NewAgent{
		Name: r.Body.Name, Description: value(r.Body.Description), Owner: value(r.Body.Owner),
		Labels: labelsOf(r.Body.Labels),
	})
	if err != nil {
		return nil, err
	}
	call.header.Set("Location", "/api/admin/agents/"+made.ID)
	return RegisterAgent201JSONResponse(s.withKey(call, made)), nil
}

// RotateKey answers POST /api/admin/agents/{id}/rotate-key.
func (s *Server) RotateKey(ctx context.Context, r RotateKeyRequestObject) (RotateKeyResponseObject, error) {
	call := callOf(ctx)
	var rotation commands.Rotation
	if r.Body != nil {
		rotation.Overlap = time.Duration(value(r.Body.OverlapSeconds)) * time.Second
		rotation.Force = value(r.Body.Force)
	}
	made, err := s.Agents.RotateKey(call.ctx, call.edit(), r.ID, rotation)
	if err != nil {
		return nil, err
	}
	return RotateKey200JSONResponse(s.withKey(call, made)), nil
}

func (s *Server) withKey(call *call, made commands.IssuedKey) AgentWithKey {
	call.header.Set("Cache-Control", "no-store, private")
	return AgentWithKey{
		Agent: s.changedAgent(call, made.ID, made.AgentResult), APIKey: optional(made.APIKey),
		Instructions: instructionsFor(made.State.Name),
	}
}

// changedAgent is an agent as a command of this call left it.
func (s *Server) changedAgent(call *call, id string, done commands.AgentResult) Agent {
	call.done(done.Position)
	call.tag(done.State.Revision)
	now := s.Clock()
	return s.naming(done.State.OrganizationID).agent(call.ctx, agentLeft(id, done.State, now), now)
}

// UpdateAgent answers PATCH /api/admin/agents/{id}.
func (s *Server) UpdateAgent(ctx context.Context, r UpdateAgentRequestObject) (UpdateAgentResponseObject, error) {
	call := callOf(ctx)
	change := agent.Update{IfRevision: call.ifMatch.revisions()}
	if r.Body != nil {
		change.Name, change.Description = r.Body.Name, r.Body.Description
		if r.Body.Owner != nil {
			owner, err := s.Agents.Person(call.ctx, call.meta(), *r.Body.Owner)
			if err != nil {
				return nil, err
			}
			change.OwnerID = &owner
		}
		if r.Body.Labels != nil {
			change.Labels = new(labelsOf(r.Body.Labels))
		}
	}
	done, err := s.doAgent(call, r.ID, change)
	if err != nil {
		return nil, err
	}
	return UpdateAgent200JSONResponse(s.changedAgent(call, r.ID, done)), nil
}

// doAgent carries out a command on an agent that has not been retired.
func (s *Server) doAgent(call *call, id string, command agent.Command) (commands.AgentResult, error) {
	return s.Agents.Do(call.ctx, call.edit(), id, func(state agent.State, _ time.Time) (agent.Command, error) {
		if state.Status == agent.StatusRetired {
			return nil, domain.NotFound("agent")
		}
		return command, nil
	})
}

// SuspendAgent answers POST /api/admin/agents/{id}/suspend.
func (s *Server) SuspendAgent(ctx context.Context, r SuspendAgentRequestObject) (SuspendAgentResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Agents.Suspend(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	return SuspendAgent200JSONResponse(s.changedAgent(call, r.ID, done)), nil
}

// ReactivateAgent answers POST /api/admin/agents/{id}/reactivate.
func (s *Server) ReactivateAgent(
	ctx context.Context, r ReactivateAgentRequestObject,
) (ReactivateAgentResponseObject, error) {
	call := callOf(ctx)
	done, err := s.doAgent(call, r.ID, agent.Reactivate{IfRevision: call.ifMatch.revisions()})
	if err != nil {
		return nil, err
	}
	return ReactivateAgent200JSONResponse(s.changedAgent(call, r.ID, done)), nil
}

// RetireAgent answers DELETE /api/admin/agents/{id}.
func (s *Server) RetireAgent(ctx context.Context, r RetireAgentRequestObject) (RetireAgentResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Agents.Retire(call.ctx, call.edit(), r.ID)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RetireAgent204Response{}, nil
}
