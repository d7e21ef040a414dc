package readmodels

import (
	"context"
	"fmt"
	"time"

	"agentkey/domain"
)

// Agent is one agent. Only a single one that is asked for by its id may be retired.
type Agent struct {
	ID, Name, Description string
	OwnerID               string // a person's id
	Status                string // active, suspended or retired
	Keys                  []Key  // newest last, the last ended ones among them
	CreatedAt             time.Time
	CreatedBy             domain.Actor
	LastSeenAt, RetiredAt time.Time // zero: never
	Approved, Pending     int       // grants
	Revision              int
	Position              uint64 // of its registration
}

// Key is an agent key as it may be shown.
type Key struct {
	ID         string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to fetch a credential; zero: never
}

// AgentFilter narrows the agents; zero fields do not. Query is any part of the name, whatever its
// case.
type AgentFilter struct{ Query, Status string }

// Agents lists the agents of an organization, newest first.
func (db *DB) Agents(
	ctx context.Context, organization string, f AgentFilter, now time.Time, p Page,
) (List[Agent], error) {
	agents, err := db.agents(ctx, listAgentsParams{
		OrganizationID: organization, Now: Micros(now), Before: p.before(), Status: f.Status, Q: Fold(f.Query),
		MaxRows: p.rows(),
	})
	return cut(agents, p, func(a Agent) uint64 { return a.Position }), err
}

// Agent returns one agent, also a retired one, or ErrNotFound.
func (db *DB) Agent(ctx context.Context, organization, id string, now time.Time) (Agent, error) {
	if id == "" {
		return Agent{}, ErrNotFound
	}
	agents, err := db.agents(
		ctx,
		listAgentsParams{OrganizationID: organization, Now: Micros(now), Before: Page{}.before(), ID: id, MaxRows: 1},
	)
	return only(agents, err)
}

func (db *DB) agents(ctx context.Context, params listAgentsParams) ([]Agent, error) {
	rows, err := query(
		ctx, db.Store,
		func(ctx context.Context, t *tables) ([]listAgentsRow, error) { return t.read.listAgents(ctx, params) },
	)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	agents := []Agent{}
	for _, r := range rows {
		if len(agents) == 0 || agents[len(agents)-1].ID != r.ID {
			agents = append(agents, Agent{
				ID: r.ID, Name: r.Name, Description: r.Description, OwnerID: r.OwnerID, Status: r.Status,
				CreatedAt:  toTime(r.CreatedAt),
				CreatedBy:  domain.Actor{Type: domain.ActorType(r.CreatedByType), ID: r.CreatedByID},
				LastSeenAt: toTime(r.LastSeenAt), RetiredAt: toTime(r.RetiredAt), Approved: int(r.Approved),
				Pending: int(r.Pending), Revision: int(r.Revision), Position: unsigned(r.Position),
			})
		}
		if a := &agents[len(agents)-1]; r.KeyID.Valid {
			a.Keys = append(
				a.Keys,
				Key{
					ID: r.KeyID.String, CreatedAt: toTime(r.KeyCreatedAt.Int64),
					ExpiresAt: toTime(r.KeyExpiresAt.Int64), LastUsedAt: toTime(r.KeyLastUsedAt.Int64),
				},
			)
		}
	}
	return agents, nil
}

// only returns the one row that was asked for.
func only[T any](rows []T, err error) (T, error) {
	var none T
	switch {
	case err != nil:
		return none, err
	case len(rows) == 0:
		return none, ErrNotFound
	}
	return rows[0], nil
}
