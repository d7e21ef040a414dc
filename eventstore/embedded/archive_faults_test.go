package embedded_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestAnyTimeMayBeNamed archives before times that don't fit into nanoseconds since 1970.
func TestAnyTimeMayBeNamed(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{Clock: newMonths().clock})
	w.wrote("agent-1", "none", several(5)...)
	for _, year := range []int{-500, 1, 1600, 1677, 1969, 1970, 2026} {
		if done := w.archive(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)); done.File != "" {
			t.Errorf("before %d: %+v", year, done)
		}
	}
	for _, year := range []int{2027, 2262, 2263, 2500, 9999, 10_000, 20_000} {
		w.wrote("agent-1", "any", several(1)...)
		if done := w.archive(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)); done.Events == 0 {
			t.Errorf("before %d nothing was archived", year)
		}
	}
}

// TestAnArchiveThatCantBeCheckedIsStillRead takes the file away while it is checked. That says
// nothing about what is in it.
func TestAnArchiveThatCantBeCheckedIsStillRead(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(30)...)
	w.wrote("agent-2", "none", several(1)...)
	done := w.archive(time.Now().Add(time.Hour))
	ended, cancel := context.WithCancel(wait.Context(t))
	cancel()
	if w.store.CheckOnce(ended) || w.store.ArchiveFault() != "" {
		t.Errorf("after a check that was broken off: %q", w.store.ArchiveFault())
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	away := filepath.Join(t.TempDir(), "away")
	move(done.File, away)
	if w.store.CheckOnce(wait.Context(t)) || !strings.Contains(w.store.ArchiveFault(), "can't be checked") {
		t.Errorf("while it is away: %q", w.store.ArchiveFault())
	}
	move(away, done.File)
	if got, _, err := w.read(readOptions("agent-1")); err != nil || len(got) != 30 {
		t.Errorf("%d events: %v", len(got), err)
	}
	if !w.store.CheckOnce(wait.Context(t)) || w.store.ArchiveFault() != "" {
		t.Errorf("when it is back: %q", w.store.ArchiveFault())
	}
	if err := os.Chmod(done.File, 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(done.File)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(done.File, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if !w.store.CheckOnce(wait.Context(t)) || !strings.Contains(w.store.ArchiveFault(), "can't be used") {
		t.Errorf("when it is another file: %q", w.store.ArchiveFault())
	}
	if _, _, err := w.read(readOptions("agent-1")); err == nil {
		t.Error("another file is read from")
	}
}

// said is a log that is written and read at once.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

// TestAnOlderStoreBesideItsArchives puts the store's file back as it was before its events were
// written. The archive is then the only copy of them: it is named at the start, and is not
// overwritten.
func TestAnOlderStoreBesideItsArchives(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(5)...)
	closed(t, w.store)
	older, err := os.ReadFile(filepath.Join(w.dir, "events.db"))
	if err != nil {
		t.Fatal(err)
	}
	next := serve(t, embedded.Options{Dir: w.dir})
	next.wrote("agent-1", 4, several(5)...)
	done := next.archive(time.Now().Add(time.Hour))
	closed(t, next.store)
	only, err := os.ReadFile(done.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "events.db"), older, 0o600); err != nil {
		t.Fatal(err)
	}
	var log said
	again := serve(t, embedded.Options{Dir: w.dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !log.has(done.File) || !log.has("only copy of its events") || log.has("emove") {
		t.Errorf("said was %s", &log.text)
	}
	again.wrote("agent-1", 4, several(5)...) // other events, at the same positions
	if made, err := again.store.Archive(wait.Context(t), time.Now().Add(time.Hour)); err == nil ||
		!strings.Contains(err.Error(), done.File) || !strings.Contains(err.Error(), "only copy") {
		t.Errorf("archived were %+v: %v", made, err)
	}
	if now, err := os.ReadFile(done.File); err != nil || !bytes.Equal(now, only) {
		t.Errorf("the only copy was overwritten: %v", err)
	}
	if got, _, err := again.read(readOptions("agent-1")); err != nil || len(got) != 10 {
		t.Errorf("%d events: %v", len(got), err)
	}
}
