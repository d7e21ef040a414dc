package readmodels_test

import (
	"encoding/json"
	"testing"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

const (
	acme   = "0198c0de-0000-7000-8000-000000000001"
	globex = "0198c0de-0000-7000-8000-000000000002"
)

var (
	noon  = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	human = domain.Actor{Type: domain.ActorHuman, ID: "ann"}
	none  = domain.Actor{}
	all   = readmodels.Page{Limit: 50}
)

// shelf fills a read model row by row, as the projection does; every row has a position of its own.
type shelf struct {
	t        *testing.T
	db       *readmodels.DB
	position int64
}

func (s *shelf) write(fn func(*readmodels.Tx) error) {
	s.t.Helper()
	if err := s.db.Write(s.t.Context(), fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) next() int64 {
	s.position++
	return s.position
}

func (s *shelf) agent(organization, id, name string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		err := tx.InsertAgent(s.t.Context(), readmodels.InsertAgentParams{
			ID: id, OrganizationID: organization, Position: s.next(), Name: name, NameFolded: readmodels.Fold(name),
			Description: "d", CreatedAt: readmodels.Micros(noon), CreatedByType: "human", CreatedByID: "ann",
		})
		if err != nil {
			return err
		}
		return tx.InsertKey(
			s.t.Context(),
			readmodels.InsertKeyParams{AgentID: id, Number: 1, ID: "key of " + id, CreatedAt: readmodels.Micros(noon)},
		)
	})
}

func (s *shelf) status(agentID, status string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		if status == "retired" {
			return tx.RetireAgent(
				s.t.Context(), readmodels.RetireAgentParams{ID: agentID, RetiredAt: readmodels.Micros(noon)},
			)
		}
		return tx.SetAgentStatus(s.t.Context(), readmodels.SetAgentStatusParams{ID: agentID, Status: status})
	})
}

func (s *shelf) tool(organization, id, name string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.InsertTool(s.t.Context(), readmodels.InsertToolParams{
			ID: id, OrganizationID: organization, Position: s.next(), Name: name, NameFolded: readmodels.Fold(name),
			Skeleton: readmodels.Skeleton(name),
			AuthType: "api_key", CredentialMode: "shared", CredentialVersion: 1, At: readmodels.Micros(noon),
		})
	})
}

func (s *shelf) remove(toolID string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.RemoveTool(s.t.Context(), readmodels.RemoveToolParams{ID: toolID, RemovedAt: readmodels.Micros(noon)})
	})
}

// credential gives a tool another version of its credential.
func (s *shelf) credential(toolID, secretID string, version int64) {
	s.t.Helper()
	at, position := readmodels.Micros(noon), s.next()
	s.write(func(tx *readmodels.Tx) error {
		err := tx.ReplaceCredentials(
			s.t.Context(), readmodels.ReplaceCredentialsParams{ToolID: toolID, Position: position, At: at},
		)
		if err != nil {
			return err
		}
		return tx.InsertCredential(s.t.Context(), readmodels.InsertCredentialParams{
			SecretID: secretID, OrganizationID: acme, ToolID: toolID, Version: version, Position: position, At: at,
		})
	})
}

// fetched counts fetches from noon until a minute later.
func (s *shelf) fetched(agentID, secretID string, count int64) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.KnowCredential(s.t.Context(), readmodels.KnowCredentialParams{
			AgentID: agentID, SecretID: secretID, OrganizationID: acme, Position: s.next(), Fetches: count,
			FirstFetchedAt: readmodels.Micros(noon), LastFetchedAt: readmodels.Micros(noon.Add(time.Minute)),
		})
	})
}

func (s *shelf) guide(organization, toolID string, version int64, text string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		return tx.InsertInstructions(s.t.Context(), readmodels.InsertInstructionsParams{
			ToolID: toolID, Version: version, OrganizationID: organization, Instructions: text,
			CreatedAt: readmodels.Micros(noon), CreatedByType: "human", CreatedByID: "ann",
		})
	})
}

// ask makes a request, which is pending, and the grant that goes with it.
func (s *shelf) ask(organization, agentID, toolID, requestID string) {
	s.t.Helper()
	s.write(func(tx *readmodels.Tx) error {
		position := s.next()
		err := tx.InsertRequest(s.t.Context(), readmodels.InsertRequestParams{
			ID: requestID, OrganizationID: organization, Position: position, AgentID: agentID, ToolID: toolID,
			Reason: "why", CreatedAt: readmodels.Micros(noon),
		})
		if err != nil {
			return err
		}
		return tx.AskGrant(s.t.Context(), readmodels.AskGrantParams{
			AgentID: agentID, ToolID: toolID, OrganizationID: organization, Position: position, RequestID: requestID,
			Reason: "why", Origin: "request",
		})
	})
}

// decide ends a request as approved, denied or withdrawn, an hour after noon, and the grant with
// it.
func (s *shelf) decide(agentID, toolID, requestID, status string, expires time.Time) {
	s.t.Helper()
	at, position := readmodels.Micros(noon.Add(time.Hour)), s.next()
	s.write(func(tx *readmodels.Tx) error {
		err := tx.DecideRequest(
			s.t.Context(),
			readmodels.DecideRequestParams{
				ID: requestID, Status: status, DenialReason: denial(status), DecidedAt: at,
				DecidedPosition: position, DecidedByType: "human", DecidedByID: "ann",
			},
		)
		if err != nil {
			return err
		}
		switch status {
		case "approved":
			return tx.ApproveGrant(
				s.t.Context(),
				readmodels.ApproveGrantParams{
					AgentID: agentID, ToolID: toolID, ExpiresAt: readmodels.Micros(expires), DecidedAt: at, DecidedPosition: position,
					DecidedByType: "human", DecidedByID: "ann",
				},
			)
		case "denied":
			return tx.DenyGrant(
				s.t.Context(),
				readmodels.DenyGrantParams{
					AgentID: agentID, ToolID: toolID, DenialReason: denial(status), DecidedAt: at, DecidedPosition: position,
					DecidedByType: "human", DecidedByID: "ann",
				},
			)
		}
		return tx.EndGrant(
			s.t.Context(),
			readmodels.EndGrantParams{
				AgentID: agentID, ToolID: toolID, Status: status, DecidedAt: at,
				DecidedPosition: position, DecidedByType: "human", DecidedByID: "ann",
			},
		)
	})
}

func denial(status string) string {
	if status == "denied" {
		return "no"
	}
	return ""
}

// grant is ask and decide; the request is named after both.
func (s *shelf) grant(organization, agentID, toolID, status string, expires time.Time) {
	s.t.Helper()
	s.ask(organization, agentID, toolID, agentID+" "+toolID)
	if status != "pending" {
		s.decide(agentID, toolID, agentID+" "+toolID, status, expires)
	}
}

func (s *shelf) audit(entries ...readmodels.AuditEntry) {
	s.t.Helper()
	for i := range entries {
		e := &entries[i]
		if e.Position == 0 {
			e.Position = uint64(s.next())
		}
		if e.Data == nil {
			e.Data = json.RawMessage(`{}`)
		}
		if e.Organization == "" {
			e.Organization = acme
		}
	}
	s.write(func(tx *readmodels.Tx) error { return tx.InsertAudit(s.t.Context(), entries) })
}

// must is for answers that have no business failing.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// names lists something of each row.
func names[T any](rows []T, name func(T) string) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, name(r))
	}
	return out
}
