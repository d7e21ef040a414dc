package readmodels_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// BenchmarkAudit asks for a page of 50 of 600,000 fetches by 60 agents of 10 tools, of which each
// agent uses half, and of what humans did in between.
func BenchmarkAudit(b *testing.B) {
	const entries = 600_000
	onEngines(b, func(b *testing.B, db *readmodels.DB) {
		all := make([]readmodels.AuditEntry, entries)
		for i := range all {
			agent := i % 60
			all[i] = readmodels.AuditEntry{
				Organization: acme, ID: fmt.Sprintf("%036d", i), Position: uint64(i + 1), Stream: "agent",
				Action:  "credential.vended",
				Actor:   domain.Actor{Type: domain.ActorAgent, ID: fmt.Sprintf("%036d", agent)},
				AgentID: fmt.Sprintf("%036d", agent), ToolID: fmt.Sprintf("tool %031d", i/60%5*2+agent%2),
				OccurredAt: noon.Add(time.Duration(i) * 100 * time.Millisecond), Data: json.RawMessage("{}"),
			}
			if i%1000 == 0 {
				all[i].Action, all[i].Actor = "grant.approved", human
			}
		}
		for part := range slices.Chunk(all, 500) {
			if err := db.Write(b.Context(), func(tx *readmodels.Tx) error {
				return tx.InsertAudit(b.Context(), part)
			}); err != nil {
				b.Fatal(err)
			}
		}
		agent, tool, unused := all[0].AgentID, all[0].ToolID, all[1].ToolID
		from, to := noon.Add(time.Hour), noon.Add(2*time.Hour)
		for name, f := range map[string]readmodels.AuditFilter{
			"nothing": {}, "agent": {AgentID: agent}, "tool": {ToolID: tool}, "agent_tool": {AgentID: agent, ToolID: tool},
			"agent_unused_tool": {AgentID: agent, ToolID: unused},
			"agent_action":      {AgentID: agent, Actions: []string{"grant.approved"}},
			"tool_action":       {ToolID: tool, Actions: []string{"grant.denied"}},
			"actor_action":      {ActorID: agent, Actions: []string{"grant.approved"}},
			"actor_type_tool":   {ActorType: "human", ToolID: tool}, "time": {From: from, To: to},
			"agent_time": {AgentID: agent, From: from, To: to}, "actor_time": {ActorID: "ann", From: from, To: to},
			"action_time": {Actions: []string{"grant.denied"}, From: from, To: to},
		} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if _, err := db.Audit(b.Context(), acme, f, readmodels.Page{Limit: 50}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
