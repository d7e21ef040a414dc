package readmodels

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Offer is a tool as one agent sees it, with that agent's access to it.
type Offer struct {
	ID, Name, Description, URL, AuthType string
	Access                               string // none, pending, approved, denied, revoked or expired
	DenialReason                         string // when denied
	RequestID                            string // of the request that led to the access, if there was one
	ExpiresAt                            time.Time
	Position                             uint64 // of the tool's addition
}

// OfferFilter says which offers are listed. The zero filter lists all of them.
type OfferFilter struct {
	Query  string // any part of the name, in upper or lower case
	Access string // as Offer has it
}

// Catalog lists every tool with one agent's access, newest tool first.
func (db *DB) Catalog(
	ctx context.Context, organization, agentID string, f OfferFilter, now time.Time,
) ([]Offer, error) {
	return db.offers(ctx, f.params(organization, agentID, now))
}

// CatalogPage is one page of Catalog.
func (db *DB) CatalogPage(
	ctx context.Context, organization, agentID string, f OfferFilter, now time.Time, p Page,
) (List[Offer], error) {
	params := f.params(organization, agentID, now)
	params.Before, params.MaxRows = p.before(), p.rows()
	offers, err := db.offers(ctx, params)
	return cut(offers, p, func(o Offer) uint64 { return o.Position }), err
}

// CatalogTool returns one tool with one agent's access, or ErrNotFound.
func (db *DB) CatalogTool(ctx context.Context, organization, agentID, toolID string, now time.Time) (Offer, error) {
	if toolID == "" {
		return Offer{}, ErrNotFound
	}
	params := OfferFilter{}.params(organization, agentID, now)
	params.ID = toolID
	return only(db.offers(ctx, params))
}

// params asks for all that match, without pages.
func (f OfferFilter) params(organization, agentID string, now time.Time) listCatalogParams {
	return listCatalogParams{
		OrganizationID: organization, AgentID: agentID, Now: Micros(now), Q: Fold(f.Query), Access: f.Access,
		Before: Page{}.before(), MaxRows: math.MaxInt32,
	}
}

func (db *DB) offers(ctx context.Context, params listCatalogParams) ([]Offer, error) {
	rows, err := query(
		ctx, db.Store,
		func(ctx context.Context, t *tables) ([]listCatalogRow, error) { return t.read.listCatalog(ctx, params) },
	)
	if err != nil {
		return nil, fmt.Errorf("list the catalog of an agent: %w", err)
	}
	offers := make([]Offer, len(rows))
	for i, r := range rows {
		o := Offer{
			ID: r.ID, Name: r.Name, Description: r.Description, URL: r.Url, AuthType: r.AuthType, Access: r.Access,
			Position: unsigned(r.Position),
		}
		if o.Access != "none" {
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
	if err == nil && !agent.RetiredAt.IsZero() {
		err = ErrNotFound
	}
	if err != nil {
		return Me{}, err
	}
	offers, err := db.Catalog(ctx, organization, agentID, OfferFilter{}, now)
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
