package projections_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
)

// BenchmarkRebuild refills the read model from a log of 200,000 fetches by 64 agents of 10 tools.
func BenchmarkRebuild(b *testing.B) {
	for name, e := range engines {
		b.Run(name, func(b *testing.B) { benchmarkRebuild(b, e) })
	}
}

func benchmarkRebuild(b *testing.B, e engine) {
	const total, agents, tools, chunk = 200_000, 64, 10, 400
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
	for n := 0; n < total; n += chunk {
		id := agentIDs[n/chunk%agents]
		entries := make([]codec.Entry, chunk)
		for i := range entries {
			entry, err := codec.NewEntry(
				agent.CredentialVended{
					ToolID: toolIDs[i%tools], SecretID: toolIDs[0], CredentialVersion: 1, KeyNumber: 1,
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
	model := w.newModel(w.db)
	b.ResetTimer()
	for b.Loop() {
		if err := model.Rebuild(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "events/s")
}
