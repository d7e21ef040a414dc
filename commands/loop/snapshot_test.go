package loop_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
)

// mustAge appends at least n events to an agent's stream and waits for the snapshot that they
// cause.
func (o *office) mustAge(id string, n int) loop.Head[agent.State] {
	o.T.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { o.MustDo(id, commandstest.Rename(fmt.Sprint("name ", commandstest.NewID(), i))) })
	}
	wg.Wait()
	head := o.MustFresh(id)
	wait.Until(o.T, "there is a snapshot", func() bool {
		at := o.Grants.Agents.FromSnapshot(o.T.Context(), id).Revision
		return at >= 0 && head.Revision-at < 2*loop.SnapshotEvery
	})
	return head
}

// folded is the state of an agent's stream, folded from its first event without the loop.
func (o *office) folded(id string) agent.State {
	o.T.Helper()
	var s agent.State
	for from := uint64(0); ; {
		page, err := o.Inst.Log.ReadForward(o.T.Context(), "agent-"+id, from, 500)
		if err != nil {
			o.T.Fatal(err)
		}
		for _, e := range page {
			s = agent.Evolve(
				s, domain.Fact[agent.Event]{Event: e.Event.(agent.Event), At: e.Signed.Time, By: e.Signed.Actor},
			)
		}
		from += uint64(len(page))
		if len(page) < 500 {
			return s
		}
	}
}

func TestASnapshotStandsInForTheEventsBeforeIt(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	head := o.mustAge(id, 2*loop.SnapshotEvery)
	snapshot := o.Grants.Agents.FromSnapshot(t.Context(), id)
	if snapshot.Revision < loop.SnapshotEvery {
		t.Fatalf("the newest snapshot is at %d", snapshot.Revision)
	}
	stored, err := o.Server.Client.ReadForward(t.Context(), "snapshot-agent-"+id, 0, 10)
	if err != nil || len(stored) != 1 || stored[0].Type != codec.Snapshot {
		t.Errorf("%d snapshots are kept: %v", len(stored), err)
	}
	other := openOn(t, o.Server, o.Ring)
	if diff := cmp.Diff(head.State, other.MustFresh(id).State); diff != "" {
		t.Errorf("from the snapshot (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(o.folded(id), other.MustFresh(id).State); diff != "" {
		t.Errorf("from the snapshot (-folded +after):\n%s", diff)
	}
	// One with our MAC that says something else shows that the events before it are not read again.
	doctored := head
	doctored.State.Name = "from the snapshot"
	if err := o.Grants.Agents.WriteSnapshot(id, doctored); err != nil {
		t.Fatal(err)
	}
	if got := openOn(t, o.Server, o.Ring).MustFresh(id); got.State.Name != "from the snapshot" ||
		got.Revision != head.Revision || got.Position != head.Position {
		t.Errorf("it was folded from elsewhere: %+v", got)
	}
	o.NoFault()
	other.NoFault()
}

func TestReadingALongHistoryLeavesASnapshot(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	o.Seed(id, 1100) // more than one page
	head := o.MustFresh(id)
	wait.Until(
		t, "there is a snapshot",
		func() bool { return o.Grants.Agents.FromSnapshot(t.Context(), id).Revision == head.Revision },
	)
	if diff := cmp.Diff(o.folded(id), openOn(t, o.Server, o.Ring).MustFresh(id).State); diff != "" {
		t.Errorf("from it (-folded +snapshot):\n%s", diff)
	}
}

func TestASnapshotThatDoesNotAgreeIsNotUsed(t *testing.T) {
	o := open(t)
	first, _ := o.MustAgent("first")
	second, _ := o.MustAgent("second")
	head, want := o.mustAge(first, loop.SnapshotEvery), o.folded(first)
	o.mustAge(second, loop.SnapshotEvery)
	genuine := o.snapshotOf(first)
	edit := func(change func(map[string]any)) []byte {
		var members map[string]any
		if err := json.Unmarshal(genuine, &members); err != nil {
			t.Fatal(err)
		}
		change(members)
		raw, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	forged := map[string][]byte{
		"another state": edit(func(m map[string]any) { m["state"].(map[string]any)["name"] = "forged" }),
		"another revision": edit(func(m map[string]any) {
			m["revision"] = m["revision"].(float64) - 1
		}),
		"another event":       edit(func(m map[string]any) { m["link"] = codec.Link{1} }),
		"another fold":        edit(func(m map[string]any) { m["fold"] = m["fold"].(float64) + 1 }),
		"another time":        edit(func(m map[string]any) { m["at"] = "2020-01-01T00:00:00Z" }),
		"another MAC":         edit(func(m map[string]any) { m["mac"] = strings.Repeat("0", 64) }),
		"another key":         edit(func(m map[string]any) { m["key"] = "x" }),
		"another key, no MAC": edit(func(m map[string]any) { m["key"], m["mac"] = "x", "" }),
		"no MAC":              edit(func(m map[string]any) { delete(m, "mac") }),
		"another agent's":     o.snapshotOf(second),
		"nothing of the kind": []byte(`{"hello":1}`),
		"no JSON":             []byte(`snapshot`),
	}
	for name, data := range forged {
		t.Run(name, func(t *testing.T) {
			o.putSnapshot(first, data)
			other := openOn(t, o.Server, o.Ring)
			got := other.MustFresh(first)
			if diff := cmp.Diff(want, got.State); diff != "" || got.Revision != head.Revision {
				t.Errorf("the state is not the log's (-folded +got):\n%s", diff)
			}
			var named *codec.ForgedError
			if err := other.Fault(); !errors.As(err, &named) || named.Stream != "snapshot-agent-"+first {
				t.Errorf("reported was: %v", err)
			}
			o.healed(first, data)
		})
	}
	for name, change := range map[string]func(*loop.Head[agent.State]){
		"an event that is elsewhere":   func(h *loop.Head[agent.State]) { h.Revision-- },
		"an event that does not exist": func(h *loop.Head[agent.State]) { h.Revision += 1000 },
	} {
		t.Run("with our MAC it names "+name, func(t *testing.T) {
			wrong := head
			wrong.State.Name = "wrong"
			change(&wrong)
			if err := o.Grants.Agents.WriteSnapshot(first, wrong); err != nil {
				t.Fatal(err)
			}
			data := o.snapshotOf(first)
			other := openOn(t, o.Server, o.Ring)
			if diff := cmp.Diff(want, other.MustFresh(first).State); diff != "" {
				t.Errorf("the state is not the log's (-folded +got):\n%s", diff)
			}
			if err := other.Fault(); err == nil || !strings.Contains(err.Error(), "snapshot-agent-"+first) {
				t.Errorf("reported was: %v", err)
			}
			o.healed(first, data)
		})
	}
}

// large is a state of more than one append may hold, even when it is packed.
func large(head loop.Head[agent.State]) loop.Head[agent.State] {
	random := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(random) //nolint:errcheck // it never fails
	head.State.Name = base64.StdEncoding.EncodeToString(random)
	return head
}

func TestALargeStateIsKeptInParts(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("large")
	small := o.mustAge(id, loop.SnapshotEvery)
	head := large(small)
	for range 2 { // the second one replaces the first
		if err := o.Grants.Agents.WriteSnapshot(id, head); err != nil {
			t.Fatal(err)
		}
	}
	stored := o.parts(id)
	if len(stored) < 3 {
		t.Fatalf("%d events are kept", len(stored))
	}
	for _, e := range stored {
		if len(e.Data) > 1000<<10 {
			t.Errorf("a part has %d bytes", len(e.Data))
		}
	}
	other := openOn(t, o.Server, o.Ring)
	if diff := cmp.Diff(head.State, other.MustFresh(id).State); diff != "" {
		t.Errorf("from the parts (-before +after):\n%.1000s", diff)
	}
	other.NoFault()

	// Much of the same is packed into little.
	head.State.Name = strings.Repeat("<guide>", 1<<20)
	if err := o.Grants.Agents.WriteSnapshot(id, head); err != nil {
		t.Fatal(err)
	}
	if kept := o.parts(id); len(kept) != 2 {
		t.Errorf("%d events are kept of one that packs well", len(kept))
	}
	if got := openOn(t, o.Server, o.Ring).MustFresh(id); got.State.Name != head.State.Name {
		t.Error("it was folded from elsewhere")
	}
	// A small state is one event again.
	if err := o.Grants.Agents.WriteSnapshot(id, small); err != nil {
		t.Fatal(err)
	}
	if kept := o.parts(id); len(kept) != 1 {
		t.Errorf("%d events are kept of a small one", len(kept))
	}
	if diff := cmp.Diff(small.State, openOn(t, o.Server, o.Ring).MustFresh(id).State); diff != "" {
		t.Errorf("from the small one (-before +after):\n%s", diff)
	}
}

func TestOfTwoThatWritePartsAtOnceOneIsWhole(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("large")
	head := large(o.mustAge(id, loop.SnapshotEvery))
	writers := []*office{o, openOn(t, o.Server, o.Ring), openOn(t, o.Server, o.Ring)}
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { errs[i] = w.Grants.Agents.WriteSnapshot(id, head) })
	}
	wg.Wait()
	whole := 0
	for _, err := range errs {
		switch {
		case err == nil:
			whole++
		case !errors.Is(err, eventstore.ErrWrongRevision):
			t.Error(err)
		}
	}
	if whole == 0 {
		t.Error("all of them gave up")
	}
	other := openOn(t, o.Server, o.Ring)
	if got := other.MustFresh(id); got.State.Name != head.State.Name {
		t.Error("it was folded from elsewhere")
	}
	other.NoFault()
}

func TestPartsThatDoNotAgreeAreNotUsed(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("large")
	head, want := o.mustAge(id, loop.SnapshotEvery), o.folded(id)
	if err := o.Grants.Agents.WriteSnapshot(id, large(head)); err != nil {
		t.Fatal(err)
	}
	var genuine [][]byte
	for _, e := range o.parts(id) {
		genuine = append(genuine, e.Data)
	}
	last := len(genuine) - 1
	flipped := slices.Clone(genuine[1])
	if flipped[100]++; flipped[100] > 'z' {
		flipped[100] = 'A'
	}
	with := func(i int, data []byte) [][]byte {
		out := slices.Clone(genuine)
		out[i] = data
		return out
	}
	for _, tt := range []struct {
		name   string
		events [][]byte
		forged bool
	}{
		{"a changed part", with(1, flipped), true},
		{"parts in another order", append([][]byte{genuine[1], genuine[0]}, genuine[2:]...), true},
		{"a part that holds something else", with(0, []byte(`{"hello":1}`)), true},
		{"a part that isn't JSON", with(0, []byte(`part`)), true},
		{"parts without the snapshot", genuine[:last], false},
		{"a snapshot whose parts are gone", [][]byte{genuine[last]}, false},
		{
			"more parts than there may be",
			with(last, bytes.Replace(genuine[last], []byte(`"parts":`), []byte(`"parts":9`), 1)), true,
		},
		{
			"fewer parts than none",
			with(last, bytes.Replace(genuine[last], []byte(`"parts":`), []byte(`"parts":-`), 1)), true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := o.Grants.Agents.WriteSnapshot(id, head); err != nil { // it keeps one event
				t.Fatal(err)
			}
			if err := o.Server.Client.SetStreamMetadata(
				t.Context(), "snapshot-agent-"+id, eventstore.StreamMetadata{MaxCount: uint64(len(tt.events))},
			); err != nil {
				t.Fatal(err)
			}
			for _, data := range tt.events {
				o.putSnapshot(id, data)
			}
			other := openOn(t, o.Server, o.Ring)
			got := other.MustFresh(id)
			if diff := cmp.Diff(want, got.State); diff != "" || got.Revision != head.Revision {
				t.Errorf("the state is not the log's (-folded +got):\n%.1000s", diff)
			}
			o.healed(id, tt.events[len(tt.events)-1])
			if !tt.forged {
				other.NoFault()
				return
			}
			var named *codec.ForgedError
			if err := other.Fault(); !errors.As(err, &named) || named.Stream != "snapshot-agent-"+id {
				t.Errorf("reported was: %v", err)
			}
		})
	}
}

// parts are the events that a snapshot stream keeps.
func (o *office) parts(id string) []eventstore.Recorded {
	o.T.Helper()
	stored, err := o.Server.Client.ReadForward(o.T.Context(), "snapshot-agent-"+id, 0, 100)
	if err != nil {
		o.T.Fatal(err)
	}
	return stored
}

// healed waits until a process that had to read all events has replaced a useless snapshot.
func (o *office) healed(id string, data []byte) {
	o.T.Helper()
	wait.Until(o.T, "it is replaced", func() bool { return !bytes.Equal(o.snapshotOf(id), data) })
}

func (o *office) snapshotOf(id string) []byte {
	o.T.Helper()
	stored, err := o.Server.Client.ReadBackward(o.T.Context(), "snapshot-agent-"+id, 1)
	if err != nil || len(stored) != 1 {
		o.T.Fatalf("the snapshot of %s: %v", id, err)
	}
	return stored[0].Data
}

func (o *office) putSnapshot(id string, data []byte) {
	o.T.Helper()
	event := eventstore.Event{ID: uuid.New(), Type: codec.Snapshot, Data: data, Metadata: []byte("{}")}
	if _, err := o.Server.Client.Append(o.T.Context(), "snapshot-agent-"+id, eventstore.Any, event); err != nil {
		o.T.Fatal(err)
	}
}
