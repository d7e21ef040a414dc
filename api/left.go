package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/organization"
	"agentkey/readmodels"
)

// What a command left of a resource, in the form of the read model's rows, whose projection may be
// a moment behind.

func agentLeft(id string, a agent.State, now time.Time) readmodels.Agent {
	out := readmodels.Agent{
		ID: id, Name: a.Name, Description: a.Description, Status: string(a.Status), CreatedAt: a.CreatedAt,
		CreatedBy: a.CreatedBy, LastSeenAt: a.LastSeenAt, FetchCount: a.FetchCount, LastFetchedAt: a.LastFetchedAt,
		Approved: a.Count(agent.Approved, now),
		Pending:  a.Count(agent.Pending, now), Revision: a.Revision, OwnerID: a.OwnerID, Labels: a.Labels,
	}
	if is := a.Bound(); is != nil {
		out.Identity = readmodels.Identity{
			Issuer: is.Issuer, Audience: is.Audience, Claims: is.Claims, KeysPasted: is.Keys != "", BoundAt: is.At,
		}
	}
	for _, k := range a.Keys {
		out.Keys = append(out.Keys, readmodels.Key{
			ID: k.ID, Number: k.Number, CreatedAt: k.CreatedAt, ExpiresAt: value(k.ExpiresAt), LastUsedAt: k.LastUsedAt,
		})
	}
	return out
}

// toolLeft takes the counts of grants and fetches from the read model: the catalog does not know
// them.
func (s *Server) toolLeft(ctx context.Context, organization, id string, t catalog.Tool) readmodels.Tool {
	out := readmodels.Tool{
		ID: id, Name: t.Name, Description: t.Description, URL: t.URL, DocsURL: t.DocsURL, AuthType: string(t.AuthType),
		CredentialMode: string(t.Mode), CredentialVersion: t.CredentialVersion,
		CredentialExpiresAt: value(t.CredentialExpiresAt), CredentialSince: t.CredentialAt, CredentialBy: t.CredentialBy,
		CredentialFields: t.CredentialFields, Instructions: t.Instructions,
		InstructionsVersion: t.InstructionsVersion, MaxGrantSeconds: t.MaxGrantSeconds, Approval: t.Approval,
		Labels:    t.Labels,
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, FrozenAt: value(t.FrozenAt), Revision: t.Revision,
	}
	if row, err := s.Models.Tool(ctx, organization, id, s.Clock()); err == nil {
		out.Approved, out.Pending = row.Approved, row.Pending
		out.FetchCount, out.LastFetchedAt = row.FetchCount, row.LastFetchedAt
	}
	return out
}

func grantLeft(d commands.GrantResult, now time.Time) readmodels.Grant {
	g := d.Grant()
	return readmodels.Grant{
		AgentID: d.AgentID, AgentName: d.State.Name, ToolID: d.ToolID, ToolName: d.Tool.Name, Status: string(g.At(now)),
		Origin: string(g.Origin), RequestID: g.RequestID, Reason: g.Reason, RequestedAt: g.RequestedAt,
		DenialReason: g.DenialReason, DecidedAt: g.DecidedAt, DecidedBy: value(g.DecidedBy),
		ExpiresAt: value(g.ExpiresAt), FetchCount: g.FetchCount,
		LastFetchedAt: g.LastFetchedAt, ApprovedAt: g.ApprovedAt, ApprovedBy: value(g.ApprovedBy),
		EndedAt: g.EndedAt, EndedBy: value(g.EndedBy), Rule: g.Rule,
	}
}

func requestLeft(d commands.GrantResult) readmodels.Request {
	g := d.Grant()
	return readmodels.Request{
		ID: g.RequestID, AgentID: d.AgentID, AgentName: d.State.Name, ToolID: d.ToolID, ToolName: d.Tool.Name,
		CredentialMode: string(d.Tool.Mode), Reason: g.Reason, Status: string(g.Status), CreatedAt: g.RequestedAt,
		DecidedAt: g.DecidedAt, DecidedBy: value(g.DecidedBy), DenialReason: g.DenialReason,
		RequestedSeconds: g.RequestedSeconds, Rule: g.Rule,
	}
}

func (s *Server) suggestionLeft(ctx context.Context, id string, state catalog.State) readmodels.Suggestion {
	x := state.Suggestions[id]
	out := readmodels.Suggestion{
		ID: id, Name: x.Name, URL: x.URL, Status: string(x.Status), ToolID: x.ToolID, BackerCount: len(x.Backers),
		CreatedAt: x.MadeAt(), DecidedAt: x.DecidedAt, DecidedBy: value(x.DecidedBy), DismissalReason: x.Dismissal,
	}
	for _, b := range x.Backers {
		backer := s.backerLeft(ctx, b.AgentID, b.Reason, b.FirstAt, b.LastAt)
		backer.Name, backer.URL = b.Name, b.URL
		out.Backers = append(out.Backers, backer)
		if b.LastAt.After(out.LastActivityAt) {
			out.LastActivityAt = b.LastAt
		}
	}
	out.Confusable = confusable(state, x.Name, x.ToolID)
	for _, other := range state.Related(id) {
		o := state.Suggestions[other]
		out.Related = append(
			out.Related, readmodels.RelatedSuggestion{ID: other, Name: o.Name, BackerCount: len(o.Backers)},
		)
	}
	return out
}

// confusable lists the tools of a catalog whose names look like a name, but one, the oldest first.
func confusable(state catalog.State, name, but string) []readmodels.NamedTool {
	var all []readmodels.NamedTool
	skeleton := readmodels.Skeleton(name)
	for id, tool := range state.Tools {
		if readmodels.Skeleton(tool.Name) == skeleton {
			all = append(all, readmodels.NamedTool{ID: id, Name: tool.Name})
		}
	}
	slices.SortFunc(all, func(a, b readmodels.NamedTool) int { return strings.Compare(a.ID, b.ID) }) // by age
	return readmodels.Others(all, but)
}

func (s *Server) noteLeft(ctx context.Context, done commands.NoteResult, tool catalog.Tool) readmodels.Note {
	n := done.Note()
	out := readmodels.Note{
		ID: done.ID, ToolID: done.ToolID, ToolName: tool.Name, Learned: n.Learned, Status: string(n.Status),
		GuideVersion: n.GuideVersion, CurrentVersion: tool.InstructionsVersion, DecidedAt: n.DecidedAt,
		DecidedBy: value(n.DecidedBy), DismissalReason: n.DismissalReason,
	}
	for _, b := range n.Backers {
		out.Backers = append(out.Backers, s.backerLeft(ctx, b.AgentID, b.Why, b.FirstAt, b.LastAt))
	}
	out.CreatedAt, out.LastActivityAt = span(out.Backers)
	return out
}

// backerLeft knows what the agent is called as far as this process has read.
func (s *Server) backerLeft(ctx context.Context, agentID, said string, first, last time.Time) readmodels.Backer {
	b := readmodels.Backer{AgentID: agentID, Latest: said, FirstAt: first, LastAt: last}
	if head, err := s.Agents.Loop.Cached(ctx, agentID); err == nil {
		b.AgentName = head.State.Name
	}
	return b
}

// span is when the first backer came, who made what they back, and when any of them last said
// something.
func span(backers []readmodels.Backer) (created, active time.Time) {
	for i, b := range backers {
		if i == 0 {
			created = b.FirstAt
		}
		if b.LastAt.After(active) {
			active = b.LastAt
		}
	}
	return created, active
}

func channelLeft(id string, c organization.Channel) readmodels.Channel {
	return readmodels.Channel{
		ID: id, Kind: string(c.Kind), Name: c.Name,
		Topics: views(c.Topics, func(t domain.Topic) string { return string(t) }), Host: c.Host,
		Recipients: c.Recipients, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, Revision: c.Revision,
	}
}

// deliveryLeft is a delivery whose channel is held until a time, if it is.
func deliveryLeft(id string, d delivery.State, channel string, held time.Time) readmodels.Delivery {
	due := d.DueAt
	if !due.IsZero() && held.After(due) {
		due = held
	}
	return readmodels.Delivery{
		ID: id, ChannelID: d.ChannelID, ChannelName: channel, Topic: string(d.Topic), AgentID: d.About.AgentID,
		ToolID: d.About.ToolID, RequestID: d.About.RequestID, SuggestionID: d.About.SuggestionID,
		EndsAt: value(d.About.EndsAt), Status: string(d.Status), Attempts: d.Attempts, Problem: d.Problem,
		QueuedAt: d.QueuedAt, DueAt: due, EndedAt: d.EndedAt, Digest: d.Digest,
	}
}
