package projections_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// BenchmarkRebuild refills the read model from a log of 200,000 fetches by 64 agents of 10 tools.
func BenchmarkRebuild(b *testing.B) {
	for name, e := range engines {
		b.Run(name, func(b *testing.B) { benchmarkRebuild(b, e) })
	}
}

func benchmarkRebuild(b *testing.B, e engine) {
	const total, agents, tools = 200_000, 64, 10
	w := newWorld(b, e)
	toolIDs := make([]string, tools)
	for i := range toolIDs {
		toolIDs[i] = w.tool(uuid.NewString())
	}
	agentIDs := make([]string, agents)
	for i := range agentIDs {
		agentIDs[i] = w.agent("agent")
		events := make([]any, tools)
		for j := range events {
			events[j] = agent.GrantAssigned{ToolID: toolIDs[j]}
		}
		w.then("agent-"+agentIDs[i], admin, events...)
	}
	w.stop()
	w.fetches(b, total, agentIDs, toolIDs)
	model := w.newModel(w.db)
	b.ResetTimer()
	for b.Loop() {
		if err := model.Rebuild(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "events/s")
}

// fetches appends many fetches of some tools by some agents.
func (w *world) fetches(b *testing.B, total int, agents, tools []string) {
	b.Helper()
	const chunk = 400
	for n := 0; n < total; n += chunk {
		id := agents[n/chunk%len(agents)]
		entries := make([]codec.Entry, chunk)
		for i := range entries {
			entry, err := codec.NewEntry(
				agent.CredentialVended{
					ToolID: tools[i%len(tools)], SecretID: tools[i%len(tools)],
					CredentialVersion: 1, KeyNumber: 1,
				},
				codec.Signed{
					Organization: org, Actor: self(id), CommandID: uuid.NewString(), RequestID: uuid.NewString(),
					Time: w.now, Private: "v1.0198c0de-0000-7000-8000-0000000000aa." +
						strings.Repeat("0123456789", 7),
				}, i)
			if err != nil {
				b.Fatal(err)
			}
			entries[i] = entry
		}
		stream := "agent-" + id
		done, err := w.log.Append(b.Context(), stream, w.ends[stream], entries...)
		if err != nil {
			b.Fatal(err)
		}
		w.ends[stream] = done.End()
	}
}

// BenchmarkAsOf asks for the first page of each list as it is and as it was when a tenth, a half
// and nine tenths of the agents were there, in a log of 1,000,000 events in which 20,000 grants
// were given, and half of them revoked and given again. It reports how many times as long the past
// takes.
func BenchmarkAsOf(b *testing.B) {
	for name, e := range engines {
		b.Run(name, func(b *testing.B) { benchmarkAsOf(b, e) })
	}
}

func benchmarkAsOf(b *testing.B, e engine) {
	const total, agents, tools = 1_000_000, 2000, 10
	w := newWorld(b, e)
	toolIDs, agentIDs := make([]string, tools), make([]string, agents)
	for i := range toolIDs {
		toolIDs[i] = w.tool(uuid.NewString())
	}
	w.stop()
	var moments []readmodels.Moment
	for i := range agentIDs {
		if i == agents/10 || i == agents/2 || i == agents*9/10 {
			moments = append(moments, readmodels.Moment{Position: w.head(), Time: w.now})
		}
		agentIDs[i] = w.id()
		events := []any{agent.Registered{OrganizationID: org, Name: "agent", Key: agent.Key{Number: 1, ID: w.id()}}}
		for j, toolID := range toolIDs {
			request := w.id()
			events = append(events, agent.GrantRequested{ToolID: toolID, RequestID: request},
				agent.GrantApproved{ToolID: toolID, RequestID: request})
			if j%2 == 0 {
				events = append(events, agent.GrantRevoked{ToolID: toolID}, agent.GrantAssigned{ToolID: toolID})
			}
		}
		w.happened("agent-"+agentIDs[i], admin, events...)
	}
	w.fetches(b, total-agents*31, agentIDs, toolIDs)
	if err := w.newModel(w.db).Rebuild(b.Context()); err != nil {
		b.Fatal(err)
	}
	w.run()
	w.reached(w.head())
	moments = append(moments, readmodels.Moment{Time: w.now})
	p := readmodels.Page{Limit: 50}
	lists := map[string]func(*readmodels.DB, readmodels.Moment) error{
		"agents": func(db *readmodels.DB, m readmodels.Moment) error {
			_, err := db.Agents(b.Context(), org, readmodels.AgentFilter{}, m.Time, p)
			return err
		},
		"tools": func(db *readmodels.DB, m readmodels.Moment) error {
			_, err := db.Tools(b.Context(), org, readmodels.ToolFilter{}, m.Time, p)
			return err
		},
	}
	for name, f := range map[string]readmodels.GrantFilter{
		"": {}, "_approved": {Status: "approved"}, "_of_agent": {AgentID: agentIDs[7]}, "_of_tool": {ToolID: toolIDs[3]},
		"_approved_of_tool": {Status: "approved", ToolID: toolIDs[3]},
	} {
		lists["grants"+name] = func(db *readmodels.DB, m readmodels.Moment) error {
			_, err := db.Grants(b.Context(), org, f, m.Time, p)
			return err
		}
		lists["requests"+name] = func(db *readmodels.DB, _ readmodels.Moment) error {
			_, err := db.Requests(b.Context(), org, readmodels.RequestFilter{
				Status: f.Status, AgentID: f.AgentID, ToolID: f.ToolID,
			}, p)
			return err
		}
	}
	took := map[string][][]time.Duration{}
	for b.Loop() {
		for name, list := range lists {
			if took[name] == nil {
				took[name] = make([][]time.Duration, len(moments))
			}
			for i, m := range moments {
				began := time.Now()
				if err := list(w.db.At(m), m); err != nil {
					b.Fatal(err)
				}
				took[name][i] = append(took[name][i], time.Since(began))
			}
		}
	}
	for name, times := range took {
		for i := range times {
			slices.Sort(times[i])
		}
		median := func(i int) float64 { return float64(times[i][len(times[i])/2]) }
		now := median(len(moments) - 1)
		b.ReportMetric(max(median(0), median(1), median(2))/now, name+"-times")
		b.ReportMetric(now/float64(time.Microsecond), name+"-us")
	}
	b.ReportMetric(0, "ns/op")
}
