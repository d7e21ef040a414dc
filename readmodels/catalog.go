package readmodels

import (
	"context"
	"fmt"
	"time"
)

// Offer is a tool as one agent sees it, with that agent's access to it.
type Offer struct {
	ID, Name, Description, URL, AuthType string
	Access                               string // none, pending, approved, denied, revoked or expired
	DenialReason                         string // when denied
	RequestID                            string // of the request that led to the access, if there was one
	ExpiresAt                            time.Time
}

// Catalog lists every tool with one agent's access, newest tool first.
func (db *DB) Catalog(ctx context.Context, organization, agentID string, now time.Time) ([]Offer, error) {
	return db.offers(ctx, listCatalogParams{OrganizationID: organization, AgentID: agentID}, now)
}

// CatalogTool returns one tool with one agent's access, or ErrNotFound.
func (db *DB) CatalogTool(ctx context.Context, organization, agentID, toolID string, now time.Time) (Offer, error) {
	if toolID == "" {
		return Offer{}, ErrNotFound
	}
	return only(db.offers(ctx, listCatalogParams{OrganizationID: organization, AgentID: agentID, ID: toolID}, now))
}

func (db *DB) offers(ctx context.Context, params listCatalogParams, now time.Time) ([]Offer, error) {
	rows, err := query(
		ctx, db,
		func(ctx context.Context, t *tables) ([]listCatalogRow, error) { return t.read.listCatalog(ctx, params) },
	)
	if err != nil {
		return nil, fmt.Errorf("list the catalog of an agent: %w", err)
	}
	offers := make([]Offer, len(rows))
	for i, r := range rows {
		o := Offer{ID: r.ID, Name: r.Name, Description: r.Description, URL: r.Url, AuthType: r.AuthType, Access: "none"}
		if r.Status != "" && r.Status != "withdrawn" {
			o.Access = shownStatus(r.Status, false, r.ExpiresAt, Micros(now))
			o.DenialReason, o.RequestID, o.ExpiresAt = r.DenialReason, r.RequestID, toTime(r.ExpiresAt)
		}
		offers[i] = o
	}
	return offers, nil
}

// Denied is a tool that an agent was refused.
type Denied struct{ Name, Reason string }

// Me is what an agent sees of itself. The tools are named, newest first.
type Me struct {
	Agent
	ToolsApproved, ToolsPending []string
	ToolsDenied                 []Denied
	ToolsAvailable              int // size of the catalog
}

// Me returns what an agent sees of itself, or ErrNotFound.
func (db *DB) Me(ctx context.Context, organization, agentID string, now time.Time) (Me, error) {
	agent, err := db.Agent(ctx, organization, agentID, now)
	if err != nil {
		return Me{}, err
	}
	offers, err := db.Catalog(ctx, organization, agentID, now)
	if err != nil {
		return Me{}, err
	}
	me := Me{
		Agent: agent, ToolsApproved: []string{}, ToolsPending: []string{}, ToolsDenied: []Denied{},
		ToolsAvailable: len(offers),
	}
	for _, o := range offers {
		switch o.Access {
		case "approved":
			me.ToolsApproved = append(me.ToolsApproved, o.Name)
		case "pending":
			me.ToolsPending = append(me.ToolsPending, o.Name)
		case "denied":
			me.ToolsDenied = append(me.ToolsDenied, Denied{Name: o.Name, Reason: o.DenialReason})
		}
	}
	return me, nil
}
