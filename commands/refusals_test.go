package commands_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// refused lists what is recorded of an agent's refusals, as their counts.
func (o *office) refused(agentID string) []int {
	o.T.Helper()
	var counts []int
	for _, e := range commandstest.Everything(o.T, o.Server) {
		if e.Stream != "refusals-"+agentID || e.Type == codec.Snapshot {
			continue
		}
		event, err := codec.Decode(e.Type, e.Data)
		if err != nil {
			o.T.Fatal(err)
		}
		counts = append(counts, event.(codec.CredentialRefused).Count)
	}
	return counts
}

func total(counts []int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func (o *office) mustRecord(agentID, toolID, reason string) {
	o.T.Helper()
	asked := commands.Asked{ToolID: toolID}
	if err := o.Refusals.Record(o.T.Context(), o.AsAgent(agentID), agentID, asked, reason); err != nil {
		o.T.Fatalf("record: %v", err)
	}
}

// running runs the record of refusals until stop is called, and looks when tick is called.
func (o *office) running() (tick, stop func()) {
	ticks := make(chan time.Time)
	ctx, cancel := context.WithCancel(o.T.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Refusals.Run(ctx, ticks) })
	return func() { ticks <- time.Now() }, func() {
		cancel()
		wg.Wait()
	}
}

func TestRefusalsAreWrittenMinuteByMinute(t *testing.T) {
	c := &commandstest.Clock{}
	o := openAt(t, eventstoretest.Start(t), commandstest.Ring(t), c)
	id, tool := commandstest.NewID().String(), commandstest.NewID().String()
	tick, stop := o.running()
	want := func(when string, counts ...int) {
		t.Helper()
		got := o.refused(id)
		if len(got) != len(counts) {
			t.Fatalf("%s: recorded %v, want %v", when, got, counts)
		}
		for i := range counts {
			if got[i] != counts[i] {
				t.Fatalf("%s: recorded %v, want %v", when, got, counts)
			}
		}
	}
	for range 5 {
		o.mustRecord(id, tool, "access_not_approved")
	}
	want("the first is durable before its answer", 1)
	tick()
	tick()
	want("the others are counted on", 1)
	c.Advance(31 * time.Second)
	tick()
	tick() // the one before is done
	want("they are written within the minute", 1, 4)
	o.mustRecord(id, tool, "access_not_approved")
	o.mustRecord(id, tool, "access_not_approved")
	c.Advance(30 * time.Second)
	o.mustRecord(id, tool, "access_not_approved")
	want("the first of the next minute comes after what was left of the last", 1, 4, 2, 1)
	o.mustRecord(id, commandstest.NewID().String(), "access_not_approved")
	o.mustRecord(id, tool, "not_found")
	want("another tool and another reason are others", 1, 4, 2, 1, 1, 1)
	c.Advance(2 * time.Minute)
	tick()
	tick()
	want("a quiet minute writes nothing", 1, 4, 2, 1, 1, 1)
	o.mustRecord(id, tool, "access_not_approved")
	o.mustRecord(id, tool, "access_not_approved")
	stop()
	want("the rest is written when the process stops", 1, 4, 2, 1, 1, 1, 1, 1)
}

func TestManyRefusalsAtOnceAreAllCounted(t *testing.T) {
	c := &commandstest.Clock{}
	o := openAt(t, eventstoretest.Start(t), commandstest.Ring(t), c)
	id, tool := commandstest.NewID().String(), commandstest.NewID().String()
	_, stop := o.running()
	const each = 50
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range each {
				o.mustRecord(id, tool, "access_not_approved")
				c.Advance(time.Second)
			}
		})
	}
	wg.Wait()
	stop()
	if counts := o.refused(id); total(counts) != 8*each || len(counts) > 2*(8*each/60+2) {
		t.Errorf("of %d refusals %d are recorded in %d events", 8*each, total(counts), len(counts))
	}
}

// TestARefusalWhoseCallerLeftIsRecordedForTheOthers: the first of a minute writes for those who are
// counted.
func TestARefusalWhoseCallerLeftIsRecordedForTheOthers(t *testing.T) {
	o := open(t)
	id, tool := commandstest.NewID().String(), commandstest.NewID().String()
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := o.Refusals.Record(gone, o.AsAgent(id), id, commands.Asked{ToolID: tool}, "access_not_approved"); err != nil {
		t.Errorf("the first: %v", err)
	}
	o.mustRecord(id, tool, "access_not_approved")
	if counts := o.refused(id); len(counts) != 1 {
		t.Errorf("recorded %v", counts)
	}
}

func TestARefusalThatCantBeRecordedIsNotAnsweredAndNothingCountedIsLost(t *testing.T) {
	t.Parallel() // it waits
	c := &commandstest.Clock{}
	o := openAt(t, impatient(t), commandstest.Ring(t), c)
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, key := o.MustAgent("One")
	fetch := func() error {
		_, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
		return err
	}
	for range 4 {
		if err := fetch(); commandstest.Code(err) != "access_not_approved" {
			t.Fatal(err)
		}
	}
	o.Server.Stop()
	if err := fetch(); commandstest.Code(err) != "event_log_unavailable" {
		t.Errorf("a fetch without the log: %v", err)
	}
	c.Advance(time.Minute)
	if err := o.Refusals.Record(
		t.Context(), o.AsAgent(id), id, commands.Asked{ToolID: tool}, "access_not_approved",
	); commandstest.Code(err) != "event_log_unavailable" {
		t.Errorf("the first of a minute without the log: %v", err)
	}
	o.restart()
	_, stop := o.running()
	o.mustRecord(id, tool, "access_not_approved")
	stop()
	if counts := o.refused(id); total(counts) != 5 {
		t.Errorf("recorded %v", counts)
	}
}

// TestALongRecordOfRefusalsIsNotReadAgain: the next process begins at a snapshot, though there is
// nothing to fold.
func TestALongRecordOfRefusalsIsNotReadAgain(t *testing.T) {
	o := open(t)
	id := commandstest.NewID().String()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 2 * loop.SnapshotEvery / 16 {
				o.mustRecord(id, commandstest.NewID().String(), "not_found")
			}
		})
	}
	wg.Wait()
	wait.Until(t, "there is a snapshot", func() bool {
		stored, err := o.Server.Client.ReadForward(t.Context(), "snapshot-refusals-"+id, 0, 10)
		return err == nil && len(stored) == 1
	})
	other := openOn(t, o.Server, o.Ring)
	other.mustRecord(id, commandstest.NewID().String(), "not_found")
	if n := len(o.refused(id)); n != 2*loop.SnapshotEvery+1 {
		t.Errorf("%d are recorded", n)
	}
	other.NoFault()
}
