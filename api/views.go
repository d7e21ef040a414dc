package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/readmodels"
)

// optional is a field that is absent when it has no value.
func optional[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

func optionalTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func value[T any](p *T) T {
	var none T
	if p == nil {
		return none
	}
	return *p
}

// words is an identifier as people read it.
func words(identifier string) string { return strings.ReplaceAll(identifier, "_", " ") }

// actor names who acted. A service token's label is its name, unless that was erased, and a part of
// the system has its own; an agent's is given by the caller.
func (n *naming) actor(ctx context.Context, a domain.Actor) Actor {
	out := Actor{Type: ActorType(a.Type), ID: a.ID, Label: optional(a.Label)}
	if a.Label != "" {
		return out
	}
	switch a.Type {
	case domain.ActorSystem:
		out.Label = optional("AgentKey: " + words(a.ID))
		if a.IsRule() {
			out.Label = optional(n.rule(ctx, a.ID))
		}
	case domain.ActorService:
		out.Label = optional(n.token(ctx, a.ID))
	case domain.ActorHuman:
		out.Label = optional(n.person(ctx, a.ID).Label())
	case domain.ActorAgent:
	}
	return out
}

// itself names an agent that acted on its own access, as it was called then and is called now.
func itself(by *Actor, agentID, then, current string) *Actor {
	if by != nil && by.Type == ActorTypeAgent && by.ID == agentID {
		by.Label, by.CurrentLabel = optional(then), optional(current)
	}
	return by
}

// somebody is absent where nobody acted.
func (n *naming) somebody(ctx context.Context, a domain.Actor) *Actor {
	if a.ID == "" {
		return nil
	}
	out := n.actor(ctx, a)
	return &out
}

// keysOf lists the keys of an agent: first those that work, then the last that ended, each the
// oldest first.
func keysOf(a readmodels.Agent, now time.Time) []AgentKey {
	works, over := []AgentKey{}, []AgentKey{}
	id, err := uuid.Parse(a.ID)
	for _, k := range a.Keys {
		key := AgentKey{
			ID: k.ID, Number: k.Number, CreatedAt: k.CreatedAt.UTC(), LastUsedAt: optionalTime(k.LastUsedAt),
		}
		if err == nil {
			key.Prefix = keys.Prefix(keys.Agent, id, k.Number)
		}
		if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
			key.EndedAt = optionalTime(k.ExpiresAt)
			over = append(over, key)
			continue
		}
		key.ExpiresAt = optionalTime(k.ExpiresAt)
		works = append(works, key)
	}
	return append(works, over...)
}

// working are the keys that work.
func (a Agent) working() []AgentKey {
	return slices.DeleteFunc(slices.Clone(a.Keys), func(k AgentKey) bool { return k.EndedAt != nil })
}

// agent renders an agent. As for every resource, there is one renderer: the answer to a
// command, GET and the elements of the list are the same. What a command left is brought into the
// form of a row first; see left.go.
func (n *naming) agent(ctx context.Context, a readmodels.Agent, now time.Time) Agent {
	out := Agent{
		ID: a.ID, Name: a.Name, Description: a.Description, Status: AgentStatus(a.Status), CreatedAt: a.CreatedAt.UTC(),
		CreatedBy: n.actor(ctx, a.CreatedBy), LastSeenAt: optionalTime(a.LastSeenAt),
		RetiredAt: optionalTime(a.RetiredAt), Revision: a.Revision, Keys: keysOf(a, now), FetchCount: &a.FetchCount,
		LastFetchedAt: optionalTime(a.LastFetchedAt),
		Grants:        GrantCounts{Approved: a.Approved, Pending: a.Pending},
		Owner:         n.owner(ctx, a.OwnerID),
		Labels:        labelsView(a.Labels),
	}
	if i := a.Identity; i.Issuer != "" {
		out.Identity = &AgentIdentity{
			Issuer: i.Issuer, Audience: i.Audience, Claims: i.Claims, KeysPasted: i.KeysPasted, BoundAt: i.BoundAt.UTC(),
		}
	}
	return out
}

func (n *naming) tool(ctx context.Context, t readmodels.Tool) Tool {
	out := Tool{
		ID: t.ID, Name: t.Name, Description: t.Description, URL: optional(t.URL), DocsURL: optional(t.DocsURL),
		AuthType: AuthType(t.AuthType), CredentialMode: CredentialMode(t.CredentialMode),
		HasCredential: t.CredentialVersion > 0 && t.RemovedAt.IsZero(), CredentialVersion: t.CredentialVersion,
		CredentialExpiresAt: optionalTime(t.CredentialExpiresAt), Instructions: t.Instructions,
		InstructionsVersion: t.InstructionsVersion, MaxGrantSeconds: optional(t.MaxGrantSeconds),
		Approval: rulesView(t.Approval), Labels: labelsView(t.Labels), CreatedAt: t.CreatedAt.UTC(),
		UpdatedAt: t.UpdatedAt.UTC(),
		RemovedAt: optionalTime(t.RemovedAt), FrozenAt: optionalTime(t.FrozenAt),
		Revision: t.Revision,
		Grants:   GrantCounts{Approved: t.Approved, Pending: t.Pending}, TemplateID: n.server.templateOf(t.Name, t.URL),
		FetchCount: &t.FetchCount, LastFetchedAt: optionalTime(t.LastFetchedAt),
		CredentialRotatedAt: optionalTime(t.CredentialSince), CredentialRotatedBy: n.somebody(ctx, t.CredentialBy),
	}
	out.ConfusableWith = confusableView(t.Confusable)
	if len(t.CredentialFields) > 0 {
		out.CredentialFields = (*[]string)(&t.CredentialFields)
	}
	return out
}

// labelsOf are those of a body; none where it has none.
func labelsOf(b *Labels) domain.Labels { return domain.NewLabels(value(b)) }

// labelsView is absent where there are none.
func labelsView(l domain.Labels) *Labels {
	if l == "" {
		return nil
	}
	return new(Labels(l.Map()))
}

// confusableView is absent where nothing looks alike.
func confusableView(tools []readmodels.NamedTool) *[]SimilarTool {
	if len(tools) == 0 {
		return nil
	}
	out := views(tools, func(t readmodels.NamedTool) SimilarTool { return SimilarTool{ID: t.ID, Name: t.Name} })
	return &out
}

func (n *naming) grant(ctx context.Context, g readmodels.Grant) Grant {
	out := Grant{
		AgentID: g.AgentID, AgentName: g.AgentName, ToolID: g.ToolID, ToolName: g.ToolName,
		CurrentAgentName: optional(g.CurrentAgentName), CurrentToolName: optional(g.CurrentToolName),
		Status: GrantStatus(g.Status), Origin: GrantOrigin(g.Origin), RequestID: optional(g.RequestID),
		Reason: optional(g.Reason), RequestedAt: optionalTime(g.RequestedAt), DecidedAt: optionalTime(g.DecidedAt),
		ExpiresAt:  optionalTime(g.ExpiresAt),
		FetchCount: &g.FetchCount, LastFetchedAt: optionalTime(g.LastFetchedAt),
		ApprovedAt: optionalTime(g.ApprovedAt), EndedAt: optionalTime(g.EndedAt), Rule: ruleVersion(g.Rule),
	}
	out.DecidedBy = byRule(itself(n.somebody(ctx, g.DecidedBy), g.AgentID, g.AgentName, g.CurrentAgentName), g.Rule)
	out.ApprovedBy = byRule(n.somebody(ctx, g.ApprovedBy), g.Rule)
	out.EndedBy = itself(n.somebody(ctx, g.EndedBy), g.AgentID, g.AgentName, g.CurrentAgentName)
	return out
}

func (n *naming) request(ctx context.Context, r readmodels.Request) AccessRequest {
	out := AccessRequest{
		ID: r.ID, AgentID: r.AgentID, AgentName: r.AgentName, ToolID: r.ToolID, ToolName: r.ToolName,
		CurrentAgentName: optional(r.CurrentAgentName), CurrentToolName: optional(r.CurrentToolName),
		CredentialMode: CredentialMode(r.CredentialMode), Reason: r.Reason, Status: AccessRequestStatus(r.Status),
		CreatedAt: r.CreatedAt.UTC(), DecidedAt: optionalTime(r.DecidedAt), DenialReason: optional(r.DenialReason),
		RequestedSeconds: optional(r.RequestedSeconds), Rule: ruleVersion(r.Rule),
	}
	out.DecidedBy = byRule(itself(n.somebody(ctx, r.DecidedBy), r.AgentID, r.AgentName, r.CurrentAgentName), r.Rule)
	return out
}

// page reads where a list continues. A cursor is the position of the last item, in URL-safe base64.
func page(limit *Limit, cursor *Cursor) (readmodels.Page, error) {
	p := readmodels.Page{Limit: 50}
	if limit != nil {
		p.Limit = *limit
	}
	if cursor == nil {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*cursor)
	if err != nil || len(raw) != 8 {
		return p, domain.Invalid("cursor", "it must be the next_cursor of the page before")
	}
	p.Before = binary.BigEndian.Uint64(raw)
	return p, nil
}

func cursor(next uint64) *string {
	if next == 0 {
		return nil
	}
	text := base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, next))
	return &text
}

// asked turns an error of the read model into what a caller may know.
func asked(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, readmodels.ErrNotFound):
		return domain.NotFound(what)
	}
	refusal := &domain.Error{
		Kind: domain.KindUnavailable, Code: "read_model_unavailable",
		Detail:     "The read model can't be reached, so this query can't be answered now.",
		Hint:       "Send the same request again after Retry-After; commands and fetches still work.",
		RetryAfter: time.Second,
	}
	if _, occupied := errors.AsType[*readmodels.OccupiedError](err); occupied { // which one, admins see in /readyz
		refusal.Detail = "The read model's database belongs to another installation of AgentKey, so no query is answered."
		refusal.Hint = "Tell the operator: agentkey doctor names the other installation and what to do. " +
			"Commands and fetches still work."
		refusal.RetryAfter = 10 * time.Second
	}
	return errors.Join(refusal, fmt.Errorf("ask the read model: %w", err))
}

func views[A, B any](rows []A, view func(A) B) []B {
	out := make([]B, len(rows))
	for i, r := range rows {
		out[i] = view(r)
	}
	return out
}
