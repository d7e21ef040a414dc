package codec_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

func openLog(t *testing.T) *codec.Log {
	t.Helper()
	return &codec.Log{Client: eventstoretest.Start(t).Client, Keys: keyring(t, "store-1", "key-1", key(1), nil)}
}

// requested is the nth of several entries of one command.
func requested(t *testing.T, command string, n int) codec.Entry {
	t.Helper()
	s := signed
	s.CommandID, s.Schema = command, 0
	e, err := codec.NewEntry(
		agent.GrantRequested{ToolID: fmt.Sprintf("tool-%d", n), RequestID: "r", Reason: "because"}, s, n,
	)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAppendedEventsAreReadVerified(t *testing.T) {
	l := openLog(t)
	var entries []codec.Entry
	for n := range 40 { // enough to be verified on all cores
		entries = append(entries, requested(t, "command-1", n))
	}
	if a, err := l.Append(wait.Context(t), "agent-1", codec.Begin, entries...); err != nil || a.Revision != 39 {
		t.Fatalf("%+v %v", a, err)
	}
	forward, err := l.ReadForward(wait.Context(t), "agent-1", 0, 100)
	if err != nil || len(forward) != 40 {
		t.Fatalf("%d events: %v", len(forward), err)
	}
	want := signed
	want.Actor.Label = ""
	want.Prev = l.Keys.Beginning("agent-1")
	for n, v := range forward {
		if n > 0 {
			want.Prev = forward[n-1].Link
		}
		if v.Revision != uint64(n) ||
			v.Event != (agent.GrantRequested{ToolID: fmt.Sprintf("tool-%d", n), RequestID: "r", Reason: "because"}) ||
			v.Signed != want || v.ID != codec.EventID("command-1", "agent-1", n) {
			t.Fatalf("event %d is %+v", n, v)
		}
	}
	backward, _, err := l.Newest(wait.Context(t), "agent-1", 2)
	if diff := cmp.Diff([]codec.Verified{forward[39], forward[38]}, backward); diff != "" || err != nil {
		t.Errorf("backwards (-want +got):\n%s%v", diff, err)
	}
}

func TestARepeatedCommandIsWrittenOnce(t *testing.T) {
	l := openLog(t)
	entries := []codec.Entry{requested(t, "command-1", 0), requested(t, "command-1", 1)}
	first, err := l.Append(wait.Context(t), "agent-1", codec.Begin, entries...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Append(wait.Context(t), "agent-1", codec.Begin, entries...)
	if err != nil || again != first {
		t.Errorf("first %+v, again %+v: %v", first, again, err)
	}
	if _, err := l.Append(
		wait.Context(t), "agent-1", codec.Begin, requested(t, "command-2", 0),
	); !errors.Is(err, eventstore.ErrWrongRevision) {
		t.Errorf("another command: %v", err)
	}
	if _, err := l.Write(
		wait.Context(t), "request-1", codec.Begin, codec.RequestOpened{AgentID: "a", ToolID: "t"}, signed,
	); err != nil {
		t.Error(err)
	}
	ids := map[uuid.UUID]bool{}
	for _, command := range []string{"1", "2"} {
		for _, stream := range []string{"agent-1", "agent-2"} {
			for index := range 2 {
				ids[codec.EventID(command, stream, index)] = true
			}
		}
	}
	if len(ids) != 8 {
		t.Errorf("%d ids for eight events", len(ids))
	}
	if _, err := codec.NewEntry("no event", signed, 0); err == nil {
		t.Error("a text was taken as an event")
	}
}

// TestAForgedEventInTheStoreIsNamed appends as an attacker who can reach the store but lacks our
// key.
func TestAForgedEventInTheStoreIsNamed(t *testing.T) {
	l := openLog(t)
	intruder := &codec.Log{Client: l.Client, Keys: codec.NewKeyring("store-1", "key-1", key(2), nil)}
	honest := func(stream string, n int) {
		t.Helper()
		for end, i := codec.Begin, 0; i < n; i++ {
			done, err := l.Append(wait.Context(t), stream, end, requested(t, fmt.Sprint(stream, i), 0))
			if err != nil {
				t.Fatal(err)
			}
			end = done.End()
		}
	}
	honest("agent-few", 2)
	honest("agent-many", 30)
	honest("agent-copy", 1)
	for stream, at := range map[string]int64{"agent-few": 1, "agent-many": 29} {
		if _, err := intruder.Append(
			wait.Context(t), stream, codec.End{Revision: at}, requested(t, "forged"+stream, 0),
		); err != nil {
			t.Fatal(err)
		}
	}
	source, err := l.Client.ReadForward(wait.Context(t), "agent-few", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	copied := source[0]
	if _, err := l.Client.Append(
		wait.Context(t), "agent-copy", 0,
		eventstore.Event{ID: copied.ID, Type: copied.Type, Data: copied.Data, Metadata: copied.Metadata},
	); err != nil {
		t.Fatal(err)
	}
	for stream, revision := range map[string]uint64{"agent-few": 2, "agent-many": 30, "agent-copy": 1} {
		var said []uint64
		l.Found = func(e *codec.ForgedError) { said = append(said, e.Revision) }
		got, err := l.ReadForward(wait.Context(t), stream, 0, 100)
		if err != nil || uint64(len(got)) != revision || !slices.Equal(said, []uint64{revision}) {
			t.Errorf("%s: %d events and %v, found %v", stream, len(got), err, said)
		}
		if got, end, err := l.Newest(wait.Context(t), stream, 1); err != nil || len(got) != 1 ||
			got[0].Revision != revision-1 || end.Foreign != 1 {
			t.Errorf("%s backwards: %+v and %v", stream, end, err)
		}
	}
}

func TestASignedEventOfANewerVersionStopsTheStream(t *testing.T) {
	l := openLog(t)
	id, data := uuid.New(), []byte(`{}`)
	newer := signed
	newer.Prev = l.Keys.Beginning("agent-1")
	meta, _, err := l.Keys.Sign("agent-1", 0, id, "grant.paused.v1", data, newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Client.Append(
		wait.Context(t), "agent-1", eventstore.NoStream,
		eventstore.Event{ID: id, Type: "grant.paused.v1", Data: data, Metadata: meta},
	); err != nil {
		t.Fatal(err)
	}
	if got, err := l.ReadForward(wait.Context(t), "agent-1", 0, 1); !errors.Is(err, codec.ErrUnknownEvent) ||
		got != nil {
		t.Errorf("%v %v", got, err)
	}
}
