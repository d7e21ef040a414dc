package commands_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
)

// TestAStreamThatIsGoneGivesNothing tombstones an agent's stream, before a process that knew it and
// one that didn't.
func TestAStreamThatIsGoneGivesNothing(t *testing.T) {
	o := open(t)
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	o.MustAssign(id, tool)
	o.MustFetch(id, tool, key.Number)
	if err := o.Server.Client.Tombstone(t.Context(), "agent-"+id); err != nil {
		t.Fatal(err)
	}
	for name, process := range map[string]*office{"warm": o, "cold": openOn(t, o.Server, o.Ring)} {
		v, err := process.Fetch.Do(t.Context(), process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
		var refusal *domain.Error
		if !errors.As(err, &refusal) || refusal.Code != "log_restored" || !v.Credential.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryAgentIsSuspendedWhateverElseIsThere confirms a restored log that holds events of others,
// and an agent whose stream is broken.
func TestEveryAgentIsSuspendedWhateverElseIsThere(t *testing.T) {
	o := open(t)
	for _, name := range []string{"One", "Two"} {
		o.MustAgent(name)
	}
	broken, _ := o.MustAgent("Broken")
	put := func(stream string, at int64, name, metadata string) {
		t.Helper()
		e := eventstore.Event{ID: uuid.New(), Type: name, Data: []byte(`{}`), Metadata: []byte(metadata)}
		if _, err := o.Server.Client.Append(t.Context(), stream, at, e); err != nil {
			t.Fatal(err)
		}
	}
	put("agent-"+commandstest.NewID().String(), eventstore.NoStream, "agent.registered.v1", `{}`)
	put("agent-"+commandstest.NewID().String(), eventstore.NoStream, "agent.registered.v9", `7`)
	put("orders-1", eventstore.NoStream, "agent.registered.v1", `{}`)
	link, err := o.MustFresh(broken).End().Link.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	signed := `{\"actor\":{\"type\":\"service\",\"id\":\"x\"},\"command_id\":\"x\",\"time\":\"2030-01-01T00:00:00Z\",` +
		`\"schema\":1,\"prev\":\"` + string(link) + `\"}`
	put("agent-"+broken, 0, "agent.updated.v1", `{"signed":"`+signed+`","key":"x","sig":"x"}`)

	cold := openOn(t, o.Server, o.Ring)
	fence := commands.NewFence(commands.FenceConfig{
		Installation: commands.NewInstallationLoop(cold.Grants.Agents.Env), Log: cold.Inst.Log,
		StoreID: cold.Inst.Begun.StoreID, Organization: cold.Inst.Begun.OrganizationID, NewID: commandstest.NewID,
		Logger: slog.New(slog.DiscardHandler),
	})
	if _, err := fence.Installation.Do(
		t.Context(), "", cold.Meta(), func(installation.State, time.Time) (installation.Command, error) {
			return installation.ReportRestore{Evidence: installation.Evidence{BackupID: "b"}}, nil
		},
	); err != nil {
		t.Fatal(err)
	}
	restore := commands.Restore{Fence: fence, Agents: cold.Grants.Agents}
	if n, err := restore.Confirm(t.Context(), cold.Meta(), true); err != nil || n != 2 {
		t.Errorf("suspended %d agents: %v", n, err)
	}
}
