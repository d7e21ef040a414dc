package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

// holds reports whether a needle is in any file of the folder.
func holds(t *testing.T, dir, needle string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events.db*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the files are %v: %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(needle)) {
			return true
		}
	}
	return false
}

func sweep(t *testing.T, w *wire) {
	t.Helper()
	if err := w.store.Sweep(wait.Context(t)); err != nil {
		t.Fatal(err)
	}
}

func TestATombstonedSecretIsGoneFromTheDisk(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	// Over many pages of the file, with and without overflow pages, in data and in metadata.
	for n := range 30 {
		e := proposed("sealed", strings.Repeat("needle-in-data ", 1+n*40))
		e.CustomMetadata = []byte("needle-in-metadata")
		w.wrote(fmt.Sprintf("secret-%d", n), "none", e)
		w.wrote("agent-1", "any", proposed("happened", "hay"))
	}
	w.wrote("secretive", "none", proposed("sealed", "another category"))
	for _, needle := range []string{"needle-in-data", "needle-in-metadata", "another category"} {
		if !holds(t, w.dir, needle) {
			t.Fatalf("%s was never there", needle)
		}
	}
	sweep(t, w)
	if got, _, err := w.read(readOptions("secret-0")); err != nil || len(got) != 1 {
		t.Errorf("a living secret: %v %v", saw(got), err)
	}
	for n := range 30 {
		w.tombstone(fmt.Sprintf("secret-%d", n))
	}
	w.tombstone("secretive")
	sweep(t, w)
	for _, needle := range []string{"needle-in-data", "needle-in-metadata"} {
		if holds(t, w.dir, needle) {
			t.Errorf("%s is still there", needle)
		}
	}
	if !holds(t, w.dir, "another category") {
		t.Error("a stream of another category was swept")
	}
	// The tombstones stay, and so does the order of what is left.
	got, _, err := w.read(readOptions("", all))
	if err != nil || len(got) != 30+30+2 {
		t.Errorf("%d events are left: %v", len(got), err)
	}
	_, trailer, err := w.append("secret-0", "none", several(1)...)
	if err == nil || !slices.Equal(trailer.Get("exception"), []string{"stream-deleted"}) {
		t.Errorf("it came back: %v", err)
	}
	closed(t, w.store)
	intact(t, w.dir)
}

func TestATombstoneIsSweptWithoutBeingAsked(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("secret-1", "none", proposed("sealed", "needle"))
	w.tombstone("secret-1")
	wait.Until(t, "sweep", func() bool { return !holds(t, w.dir, "needle") })
}

// TestASweepWaitsForALongRead keeps the deleted bytes in the WAL by a backup's sort of read. The
// next sweep after it removes them, and so does the next process if this one is killed before.
func TestASweepWaitsForALongRead(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("secret-1", "none", proposed("sealed", "needle"))
	db := database(t, w.dir)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), `select count(*) from events`).Scan(&n); err != nil || n != 1 {
		t.Fatalf("%d events: %v", n, err)
	}
	w.tombstone("secret-1")
	if err := w.store.Sweep(wait.Context(t)); err == nil {
		t.Error("it was swept under a reader that needs it")
	}
	w.wrote("s", "none", several(1)...) // appends go on while it reads
	killed := t.TempDir()
	for _, name := range []string{"events.db", "events.db-wal"} {
		raw, err := os.ReadFile(filepath.Join(w.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(killed, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	next := serve(t, embedded.Options{Dir: killed})
	if !holds(t, killed, "needle") {
		t.Error("the copy never held it")
	}
	for _, w := range []*wire{w, next} {
		sweep(t, w)
		if holds(t, w.dir, "needle") {
			t.Errorf("it is still in %s", w.dir)
		}
	}
}

func TestExpiredAndReplacedEventsAreDeleted(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w := serve(t, embedded.Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	for _, name := range []string{"once-1", "agent-1"} {
		w.wrote(name, "none", several(2)...)
		w.bound(name, `{"$maxAge":60}`)
	}
	w.wrote("once-hidden", "none", several(2)...)
	w.softDelete("once-hidden")
	for _, name := range []string{"snapshot-1", "agent-2"} {
		w.bound(name, `{"$maxCount":2}`)
		w.wrote(name, "none", several(5)...)
	}
	now.Add(int64(30 * time.Second))
	w.wrote("once-1", 1, several(1)...)
	now.Add(int64(30*time.Second) + 100)
	w.bound("once-2", `{"$maxAge":60}`)
	w.wrote("once-2", "none", several(1)...)
	sweep(t, w)
	want := []string{
		"0@agent-1", "1@agent-1", "0@$$agent-1", "0@$$snapshot-1", "3@snapshot-1", "4@snapshot-1", "0@$$agent-2",
		"0@agent-2", "1@agent-2", "2@agent-2", "3@agent-2", "4@agent-2", "2@once-1", "0@$$once-2", "0@once-2",
	}
	left := func() []string {
		t.Helper()
		got, _, err := w.read(readOptions("", all))
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(saw(got), func(l string) bool { return l == "0@$$once-1" })
	}
	if diff := cmp.Diff(want, left()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	// What still lives in them continues at its revision.
	w.wrote("once-1", 2, several(1)...)
	w.wrote("snapshot-1", 4, several(1)...)
	// A key whose events are all gone starts over without its bounds; a hidden one does too.
	w.wrote("once-hidden", "none", several(1)...)
	now.Add(int64(time.Hour))
	w.wrote("s", "none", several(1)...)
	sweep(t, w)
	for _, l := range left() {
		if strings.Contains(l, "once-1") || strings.Contains(l, "once-2") {
			t.Errorf("%s is left", l)
		}
	}
	if p := w.wrote("once-1", "none", several(1)...); p != w.store.Head() {
		t.Errorf("it was written at %d of %d", p, w.store.Head())
	}
	now.Add(int64(time.Hour))
	if got, _, err := w.read(readOptions("once-1")); err != nil || !slices.Equal(saw(got), []string{"0@once-1"}) {
		t.Errorf("started over: %v %v", saw(got), err)
	}
	closed(t, w.store)
	intact(t, w.dir)
	var rows int
	if err := database(t, w.dir).QueryRowContext(
		t.Context(), `select count(*) from streams where name like '%once-2'`,
	).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows are left of a key: %v", rows, err)
	}
}

// TestPositionsAreNeverUsedTwice sweeps where the newest event of the log is the one to go.
func TestPositionsAreNeverUsedTwice(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	dir := t.TempDir()
	opts := embedded.Options{Dir: dir, Clock: func() time.Time { return time.Unix(0, now.Load()) }}
	used := map[uint64]bool{}
	for round := range 5 {
		w := serve(t, opts)
		if head := w.store.Head(); round > 0 && !used[head] {
			t.Fatalf("the head %d was never given out", head)
		}
		name := fmt.Sprintf("secret-%d", round)
		w.wrote(name, "none", several(1)...)
		w.tombstone(name)
		sweep(t, w)
		for n := range 3 {
			name := fmt.Sprintf("once-%d-%d", round, n)
			w.bound(name, `{"$maxAge":1}`)
			if p := w.wrote(name, "none", several(1)...); used[p] {
				t.Fatalf("position %d was used before", p)
			} else {
				used[p] = true
			}
			now.Add(int64(time.Minute))
			sweep(t, w)
		}
		closed(t, w.store)
	}
	intact(t, dir)
}

func TestASweepContinuesUntilNothingIsLeft(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w := serve(t, embedded.Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	for n := range 600 { // more than the writer deletes at a time
		name := fmt.Sprintf("once-%d", n)
		w.bound(name, `{"$maxAge":60}`)
		w.wrote(name, "none", several(1)...)
	}
	now.Add(int64(time.Hour))
	w.wrote("s", "none", several(1)...)
	sweep(t, w)
	if got, _, err := w.read(readOptions("", all)); err != nil || !slices.Equal(saw(got), []string{"0@s"}) {
		t.Errorf("%d are left: %v", len(got), err)
	}
}

// TestTheWALIsReused writes many times what the WAL may hold, and waits each time until it is in
// the file.
func TestTheWALIsReused(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const rounds, round = 6, 12 * 900_000
	event := proposed("happened", strings.Repeat("x", 900_000))
	for n := range rounds {
		for range round / 900_000 {
			event.Id = text(uuid.NewString())
			w.wrote("agent-1", "any", event)
		}
		wait.Until(t, "copy into the file", func() bool { return size("events.db") > int64(n)*round })
	}
	if got := size("events.db-wal"); got > rounds/2*round {
		t.Errorf("of %d bytes that were written the WAL still has %d", rounds*round, got)
	}
	closed(t, w.store)
	intact(t, w.dir)
}
