package audit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit"
	"agentkey/audit/formats"
	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
	"agentkey/readmodels"
)

func hashes(of []tlog.Hash) (out []hash) {
	for _, h := range of {
		out = append(out, h)
	}
	return out
}

// TestProofsAreThoseOfRFC6962 compares everything that the ledger says with an implementation of
// the RFC, over entries that were read from the log.
func TestProofsAreThoseOfRFC6962(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.run()
		w.grow("one", first, 300)
		w.happened("request-r", first, codec.RequestOpened{AgentID: "one"}) // no part of it
		r.follows(t, w.grow("other", other, 3))
		w.pass(time.Minute)
		r.SignDue(ctx)
		before := w.checkpoint(r, first)
		r.follows(t, w.grow("one", first, 341))
		w.pass(time.Minute)
		r.SignDue(ctx)

		if c := w.checkpoint(r, other); c.Size != 3 {
			t.Errorf("the other organization has %d entries", c.Size)
		}
		c := w.checkpoint(r, first)
		entries, ids := w.entries(first)
		if int(c.Size) != len(entries) || len(entries) != 642 || before.Size != 301 {
			t.Fatalf("the checkpoints have %d and %d of %d entries", before.Size, c.Size, len(entries))
		}
		if err := errors.Join(same(before.Root[:], mth(entries[:301])), same(c.Root[:], mth(entries))); err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 1, 255, 256, 257, 300, 301, 511, 512, 641} {
			p, err := r.Proof(ctx, first, ids[i])
			if err != nil || int(p.Index) != i || !slices.Equal(hashes(p.Hashes), path(i, entries)) {
				t.Errorf("the proof of %d is %+v: %v", i, p, err)
			}
			if err := errors.Join(
				same(p.Leaf[:], leafHash(entries[i])), p.Check(formats.Origin(first), w.public()),
			); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		for _, sizes := range [][2]int{{1, 1}, {1, 642}, {2, 3}, {255, 256}, {256, 512}, {300, 301}, {301, 642}, {642, 642}} {
			p, err := r.Consistency(ctx, first, int64(sizes[0]), int64(sizes[1]))
			if err != nil || !slices.Equal(hashes(p.Hashes), proof(sizes[0], entries[:sizes[1]])) {
				t.Errorf("the proof of %v is %+v: %v", sizes, p, err)
			}
			if err := p.Check(mth(entries[:sizes[0]]), mth(entries[:sizes[1]])); err != nil {
				t.Errorf("%v: %v", sizes, err)
			}
		}
		if _, err := r.Proof(ctx, other, ids[1]); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("another organization gets a proof: %v", err)
		}
		receipt, err := r.Receipt(ctx, first, "one", ids[400])
		if err != nil || receipt.Check(formats.Origin(first), w.public()) != nil || receipt.Stream != "agent-one" {
			t.Errorf("the receipt is %+v: %v", receipt, err)
		}
		for who, id := range map[string]uuid.UUID{"two": ids[400], "one": ids[0]} {
			if _, err := r.Receipt(ctx, first, who, id); !errors.Is(err, audit.ErrNotFound) {
				t.Errorf("%s gets a receipt of what isn't its own: %v", who, err)
			}
		}
		mirror(t, w, r, entries)

		none, beyond := (*audit.NotCoveredError)(nil), (*audit.NotCoveredError)(nil)
		r.follows(t, w.happened("agent-one", first, agent.Suspended{}))
		_, ids = w.entries(first)
		_, err = r.Proof(ctx, first, ids[642])
		if _, err2 := r.Consistency(ctx, first, 1, 643); !errors.As(err, &none) || !errors.As(err2, &beyond) {
			t.Errorf("what no checkpoint covers is proven: %v, %v", err, err2)
		}
	})
}

// mirror walks the tiles as the specification describes them and calculates the root from the
// entries and from the highest tiles.
func mirror(t *testing.T, w *world, r *running, entries [][]byte) {
	t.Helper()
	tile := func(path string) []byte {
		t.Helper()
		return must[[]byte](t)(r.Tile(t.Context(), first, path))
	}
	var all []formats.Entry
	for _, path := range []string{"tile/entries/000", "tile/entries/001", "tile/entries/002.p/130"} {
		all = append(all, must[[]formats.Entry](t)(formats.ParseBundle(tile(path)))...)
	}
	for i, e := range all {
		if string(e[:]) != string(entries[i]) {
			t.Fatalf("the entry %d is another one", i)
		}
	}
	if len(all) != len(entries) {
		t.Fatalf("the bundles hold %d entries", len(all))
	}
	top := tile("tile/1/000.p/2")
	for i, err := range []error{
		same(top[:32], mth(entries[:256])), same(top[32:], mth(entries[256:512])),
		same(tile("tile/0/001")[32:64], leafHash(entries[257])), same(tile("tile/0/002.p/1"), leafHash(entries[512])),
		same(tile("tile/1/000.p/1"), mth(entries[:256])),
	} {
		if err != nil {
			t.Errorf("tile %d: %v", i, err)
		}
	}
	for _, path := range []string{
		"tile/0/002", "tile/0/002.p/131", "tile/0/003.p/1", "tile/1/000.p/3", "tile/2/000.p/1", "tile/entries/002",
		"tile/0/x999/x999/x999/x999/x999/999", "tile/0/0", "checkpoint", "", "tile/5/000",
	} {
		if _, err := r.Tile(t.Context(), first, path); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestARebuildGivesEveryRoot loses the tables, and fills them again from the log.
func TestARebuildGivesEveryRoot(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.run()
		for i := range 4 {
			r.follows(t, w.grow("one", first, 100*i+7))
			w.pass(time.Minute)
			r.SignDue(ctx)
		}
		was := w.checkpoint(r, first)
		if err := r.Tables.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = w.run()
		last := w.recorded()
		r.follows(t, last[len(last)-1].Position)
		found, err := r.Conflicts(ctx)
		if is := w.checkpoint(r, first); is != was || err != nil || len(found) > 0 {
			t.Fatalf("the tree is %v and was %v; conflicts: %v, %v", is, was, found, err)
		}
		for i := range len(last) { // nothing follows from filling it again
			if last[i].Position > r.Status(ctx).Position {
				t.Error("a rebuild has written")
			}
		}

		// Somebody with our keys signs another history.
		c := formats.Checkpoint{Origin: formats.Origin(first), Size: was.Size - 1, Root: was.Root}
		at := w.signed(c)
		r.follows(t, at)
		found, err = r.Conflicts(ctx)
		if err != nil || len(found) != 1 || found[0].Position != at || found[0].Size != c.Size ||
			!strings.Contains(r.said.text, "doesn't give a checkpoint") {
			t.Fatalf("it is not found: %v, %v, %s", found, err, r.said.text)
		}
		r.follows(t, w.grow("one", first, 1))
		w.pass(time.Minute)
		if r.SignDue(ctx); w.checkpoint(r, first) != was {
			t.Error("a checkpoint was signed over a history that was changed")
		}
	})
}

// signed appends a checkpoint past the ledger.
func (w *world) signed(c formats.Checkpoint) uint64 {
	w.t.Helper()
	stream := codec.Checkpoints.Stream(first)
	_, end, err := w.log.Newest(w.t.Context(), stream, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ends[stream] = end
	return w.happened(stream, first, codec.CheckpointSigned{Note: string(must[[]byte](w.t)(c.Sign(w.key)))})
}

// TestOnlyWhatHasGrownIsSigned writes nothing while nothing happens, and not before it is time.
func TestOnlyWhatHasGrownIsSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embedded")
	r := w.run()
	count := func() (n int) {
		for _, e := range w.recorded() {
			if e.Type == "checkpoint.signed.v1" {
				n++
			}
		}
		return n
	}
	steps := []struct {
		name  string
		grow  int
		later time.Duration
		want  int
	}{
		{"at once", 1, 0, 0},
		{"too early", 0, 40 * time.Second, 0},
		{"it is time", 0, 20 * time.Second, 1},
		{"nothing has happened since", 0, time.Hour, 1},
		{"too few", 999, time.Second, 1},
		{"enough", 1, 0, 2},
		{"never again", 0, 24 * time.Hour, 2},
	}
	for _, s := range steps {
		w.pass(s.later)
		if s.grow > 0 {
			r.follows(t, w.grow("one", first, s.grow))
		} else {
			last := w.recorded()
			r.follows(t, last[len(last)-1].Position)
		}
		if r.SignDue(t.Context()); count() != s.want {
			t.Errorf("%s: %d checkpoints, want %d", s.name, count(), s.want)
		}
	}
}

// TestChangedTablesSignNothing alters a leaf in the tables of the ledger.
func TestChangedTablesSignNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embedded")
	r := w.run()
	r.follows(t, w.grow("one", first, 5))
	w.pass(time.Minute)
	r.SignDue(t.Context())
	was := w.checkpoint(r, first)
	if err := r.Tables.Write(t.Context(), func(tx *readmodels.Writing) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE leaves SET entry = $1 WHERE idx = 2", make([]byte, 32))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r.follows(t, w.grow("one", first, 5))
	w.pass(time.Minute)
	r.SignDue(t.Context())
	if w.checkpoint(r, first) != was || !strings.Contains(r.said.text, "the tables of the ledger were changed") {
		t.Errorf("it was signed: %s", r.said.text)
	}
}

// TestOneOfSeveralReplicasKeepsTheLedger ends the one that does, and lets two sign at once.
func TestOneOfSeveralReplicasKeepsTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "postgres")
	a := w.run()
	a.follows(t, w.grow("one", first, 10))
	b := w.run()
	wait.Until(t, "the second stands by", func() bool { return b.State() == projections.Standby })
	w.pass(time.Minute)
	b.SignDue(t.Context())
	if _, err := b.Checkpoint(t.Context(), first); err == nil {
		t.Fatal("the one that stands by has signed")
	}
	a.SignDue(t.Context())
	was := w.checkpoint(b, first)
	a.stop()
	b.follows(t, w.grow("one", first, 300))
	wait.Until(t, "the second leads", func() bool { return b.State() == projections.Running })
	w.pass(time.Minute)
	b.SignDue(t.Context())
	entries, _ := w.entries(first)
	if c := w.checkpoint(b, first); c.Size != was.Size+300 || same(c.Root[:], mth(entries)) != nil {
		t.Errorf("it is %v after %v", c, was)
	}
}

// TestTheLedgerKnowsTheEndsOfStreams: it remembers them without the read model.
func TestTheLedgerKnowsTheEndsOfStreams(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		r := w.run()
		w.happened("once-1", first, codec.OnceReleased{})
		r.follows(t, w.grow("one", first, 3))
		r.follows(t, w.grow("one", first, 1))
		for stream, want := range map[string]bool{
			"agent-one": true, "installation": true, "once-1": false, "agent-x": false,
		} {
			end, err := r.Tables.ReadEnd(t.Context(), stream)
			known := end != readmodels.StreamEnd{}
			if is := w.ends[stream]; err != nil || known != want ||
				known && (end.Revision != is.Revision || end.Link != is.Link.String()) {
				t.Errorf("%s ends at %v: %v", stream, end, err)
			}
		}
	})
}

var _ projections.Place = (*audit.Tables)(nil)

// TestBatchesInAnyPartsGiveOneTree stops the ledger again and again while it fills.
func TestBatchesInAnyPartsGiveOneTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "embedded")
	var r *running
	for i := range 5 {
		position := w.grow("one", first, 113)
		if r = w.run(); i%2 == 0 {
			r.follows(t, position)
		}
		r.stop()
	}
	r = w.run()
	last := w.recorded()
	r.follows(t, last[len(last)-1].Position)
	w.pass(time.Minute)
	r.SignDue(context.Background())
	entries, _ := w.entries(first)
	if c := w.checkpoint(r, first); int(c.Size) != len(entries) || same(c.Root[:], mth(entries)) != nil {
		t.Errorf("it is %v", c)
	}
}
