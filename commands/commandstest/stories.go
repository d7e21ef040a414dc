package commandstest

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
)

// Building makes a command on an agent.
type Building = loop.Build[agent.State, agent.Command]

// Always makes the same command on any state.
func Always(c agent.Command) Building {
	return func(agent.State, time.Time) (agent.Command, error) { return c, nil }
}

// Rename makes the command that renames an agent.
func Rename(name string) Building { return Always(agent.Update{Name: &name}) }

// MustDo carries a command on an agent out.
func (o *Office) MustDo(id string, build Building) commands.AgentResult {
	o.T.Helper()
	done, err := o.Agents.Do(o.T.Context(), o.Meta(), id, build)
	if err != nil {
		o.T.Fatalf("do: %v", err)
	}
	return done
}

// MustFresh returns an agent as the log has it now.
func (o *Office) MustFresh(id string) loop.Head[agent.State] {
	o.T.Helper()
	head, err := o.Grants.Agents.Fresh(o.T.Context(), id)
	if err != nil {
		o.T.Fatalf("read agent %s: %v", id, err)
	}
	return head
}

// LongAgo is the id of a command whose key may have been taken over by now.
func LongAgo(id uuid.UUID) uuid.UUID {
	at := time.Now().Add(-31 * time.Second).UnixMilli()
	for i := range 6 {
		id[i] = byte(at >> (40 - 8*i))
	}
	return id
}

// Seed appends n signed vends of one tool to an agent's stream, as its fetches would have, past the
// loop.
func (o *Office) Seed(id string, n int) {
	o.T.Helper()
	head := o.MustFresh(id)
	at := time.Now().UTC().Truncate(time.Microsecond)
	for end := head.End(); n > 0; {
		entries := make([]codec.Entry, min(n, 500))
		for i := range entries {
			signed := codec.Signed{
				Organization: o.Inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorAgent, ID: id},
				CommandID: NewID().String(), Time: at,
			}
			entry, err := codec.NewEntry(
				agent.CredentialVended{ToolID: "seeded", SecretID: "s", CredentialVersion: 1, KeyNumber: 1}, signed, 0,
			)
			if err != nil {
				o.T.Fatal(err)
			}
			entries[i] = entry
		}
		appended, err := o.Inst.Log.Append(o.T.Context(), codec.Agents.Stream(id), end, entries...)
		if err != nil {
			o.T.Fatal(err)
		}
		end, n = appended.End(), n-len(entries)
	}
}

// Everything is the whole log, oldest first.
func Everything(t testing.TB, server *eventstoretest.Server) []eventstore.Recorded {
	t.Helper()
	sub, err := server.Client.SubscribeAll(t.Context(), 0, eventstore.Filter{Types: `^[^$]`})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var events []eventstore.Recorded
	for {
		item, err := sub.Next()
		if err != nil {
			t.Fatal(err)
		}
		if item.Event != nil {
			events = append(events, *item.Event)
		}
		if item.CaughtUp {
			return events
		}
	}
}

// Verified verifies events in the order of the log. One that isn't ours fails the test.
func Verified(t testing.TB, log *codec.Log, events []eventstore.Recorded) []codec.Verified {
	t.Helper()
	chain, out := log.NewWholeChain(), make([]codec.Verified, len(events))
	for i, e := range events {
		var err error
		if out[i], err = chain.Next(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Count returns how many events of a name the log has.
func (o *Office) Count(name string) int {
	o.T.Helper()
	n := 0
	for _, e := range Everything(o.T, o.Server) {
		if e.Type == name {
			n++
		}
	}
	return n
}

// NoFault fails the test when something was reported.
func (o *Office) NoFault() {
	o.T.Helper()
	select {
	case err := <-o.Faults:
		o.T.Errorf("reported: %v", err)
	default:
	}
}

// Fault is what was reported first.
func (o *Office) Fault() error {
	select {
	case err := <-o.Faults:
		return err
	default:
		return nil
	}
}
