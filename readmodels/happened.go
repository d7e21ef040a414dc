package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
)

// Happening is an audited event as readers of a stream learn of it: what it is about, and nothing
// of what it says. IDs are "" where it isn't about such a thing.
type Happening struct {
	Action       string `json:"action"`
	AgentID      string `json:"agent_id,omitempty"`
	ToolID       string `json:"tool_id,omitempty"`
	RequestID    string `json:"request_id,omitempty"` // of the agent's request for access
	SuggestionID string `json:"suggestion_id,omitempty"`
	Position     uint64 `json:"position"`
}

// MostHappened is the most that Happened returns.
const MostHappened = 1000

// Happened lists what happened in an organization after one position and up to another, in the
// order of the log. It returns at most MostHappened + 1, so its caller learns when more did.
// Fetches and deliveries are many, and left out unless they are asked for.
func (db *DB) Happened(
	ctx context.Context, organization string, after, through uint64, fetches, deliveries bool,
) ([]Happening, error) {
	q := &text{}
	q.add(
		"SELECT e.position, e.action, e.agent_id, e.tool_id, e.target_type, e.target_id, e.data FROM audit_entries AS e",
		" WHERE e.organization_id = ", q.arg(organization), " AND e.position > ", q.arg(signed(after)),
		" AND e.position <= ", q.arg(signed(through)),
	)
	if !fetches {
		q.add(" AND e.action NOT LIKE 'credential.%'")
	}
	if !deliveries {
		q.add(" AND e.action NOT LIKE 'delivery.%'")
	}
	q.add(" ORDER BY e.position LIMIT ", q.arg(int64(MostHappened+1)))
	return collect(ctx, db, q, "what happened", func(rows *sql.Rows) (Happening, error) {
		var h Happening
		var position int64
		var target Target
		var data string
		err := rows.Scan(&position, &h.Action, &h.AgentID, &h.ToolID, &target.Type, &target.ID, &data)
		h.Position = unsigned(position)
		if target.Type == "suggestion" {
			h.SuggestionID = target.ID
		}
		var about struct {
			RequestID string `json:"request_id"`
		}
		if json.Unmarshal([]byte(data), &about) == nil { // else it names no request
			h.RequestID = about.RequestID
		}
		return h, err
	})
}
