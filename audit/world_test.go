package audit_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/audit/formats"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

const (
	first = "0198c0de-0000-7000-8000-000000000001"
	other = "0198c0de-0000-7000-8000-000000000002"
)

// engines open the tables of one place, again and again.
var engines = map[string]func(testing.TB) func() *audit.Tables{
	"embedded": func(t testing.TB) func() *audit.Tables {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func() *audit.Tables {
			return must[*audit.Tables](t)(audit.OpenEmbedded(t.Context(), path, slog.New(slog.DiscardHandler)))
		}
	},
	"postgres": func(t testing.TB) func() *audit.Tables {
		database := readmodels.Database{URL: readmodelstest.Postgres(t), Schema: "ledger"}
		return func() *audit.Tables {
			return must[*audit.Tables](t)(audit.OpenPostgres(t.Context(), database, slog.New(slog.DiscardHandler)))
		}
	},
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// world is a log of two organizations.
type world struct {
	t    testing.TB
	log  *codec.Log
	key  ed25519.PrivateKey // of checkpoints
	open func() *audit.Tables
	ends map[string]codec.End

	began time.Time

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB, engine string) *world {
	t.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys := must[*codec.Keyring](t)(
		codec.NewKeyring("store", "key", private, nil).WithMAC(domain.NewSecret(make([]byte, 32))),
	)
	w := &world{
		t: t, log: &codec.Log{Client: eventstoretest.Start(t).Client, Keys: keys}, open: engines[engine](t),
		key: private, ends: map[string]codec.End{}, now: time.Now(), began: time.Now(),
	}
	w.happened("installation", first, installation.Begun{StoreID: "store", OrganizationID: first})
	return w
}

// happened appends events of an organization to a stream and returns the position of the last.
func (w *world) happened(stream, organization string, events ...any) uint64 {
	w.t.Helper()
	after, known := w.ends[stream]
	if !known {
		after = codec.Begin
	}
	var entries []codec.Entry
	for i, e := range events {
		entries = append(entries, must[codec.Entry](w.t)(codec.NewEntry(e, codec.Signed{
			Organization: organization, CommandID: uuid.NewString(), Time: w.clock(),
			Actor: domain.Actor{Type: domain.ActorSystem, ID: "test"},
		}, i)))
	}
	done := must[codec.Appended](w.t)(w.log.Append(w.t.Context(), stream, after, entries...))
	w.ends[stream] = done.End()
	return done.Position
}

// grow lets an agent fetch a credential n times.
func (w *world) grow(agentID, organization string, n int) (position uint64) {
	w.t.Helper()
	for n > 0 {
		events := make([]any, min(n, 200))
		for i := range events {
			events[i] = agent.CredentialVended{ToolID: "tool", SecretID: "secret"}
		}
		position = w.happened("agent-"+agentID, organization, events...)
		n -= len(events)
	}
	return position
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// running is a process that keeps the ledger.
type running struct {
	*audit.Ledger

	said lines
	stop func()
}

// run starts a ledger on the tables of the world; nothing is signed but by SignDue.
func (w *world) run() *running {
	w.t.Helper()
	r := &running{}
	tables := w.open()
	r.Ledger = audit.New(audit.Config{
		Log: w.log, Tables: tables, Logger: slog.New(slog.NewTextHandler(&r.said, nil)), Clock: w.clock,
		First: first, Keys: []ed25519.PublicKey{w.public()},
		Sign: func(context.Context) (ed25519.PrivateKey, error) { return w.key, nil },
		Pace: time.Millisecond, Idle: 20 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, nil) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		if err := tables.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(r.stop)
	return r
}

// follows waits until the ledger has everything up to a position and says that it follows.
func (r *running) follows(t testing.TB, position uint64) {
	t.Helper()
	if err := r.WaitFor(wait.Context(t), position); err != nil {
		t.Fatal(err, r.Status(t.Context()))
	}
	wait.Until(t, "the ledger follows", func() bool {
		return r.State() == projections.Running || r.State() == projections.Standby
	})
}

type lines struct {
	mu   sync.Mutex
	text string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	return len(p), nil
}

// recorded are all events of the log, oldest first.
func (w *world) recorded() []eventstore.Recorded {
	w.t.Helper()
	var all []eventstore.Recorded
	for after, more := uint64(0), true; more; {
		var page []eventstore.Recorded
		var err error
		if page, more, err = w.log.Client.ReadAfter(w.t.Context(), after, 500); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page {
			all, after = append(all, e), e.Position
		}
	}
	return all
}

// entries are what the tree of an organization is over, taken from the log alone.
func (w *world) entries(organization string) (entries [][]byte, ids []uuid.UUID) {
	w.t.Helper()
	for _, e := range w.recorded() {
		category, id := codec.Split(e.Stream)
		if !category.Audited() || (category == codec.Agents && id == "other") != (organization == other) {
			continue
		}
		entry := formats.Event{
			Stream: e.Stream, Revision: e.Revision, ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata,
		}.Entry()
		entries, ids = append(entries, entry[:]), append(ids, e.ID)
	}
	return entries, ids
}

// checkpoint returns the newest one, checked.
func (w *world) checkpoint(r *running, organization string) formats.Checkpoint {
	w.t.Helper()
	note := must[string](w.t)(r.Checkpoint(w.t.Context(), organization))
	return must[formats.Checkpoint](w.t)(formats.OpenCheckpoint(
		[]byte(note), formats.Origin(organization), w.public(),
	))
}

func everywhere(t *testing.T, test func(*testing.T, *world)) {
	for name := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, name))
		})
	}
}

func same(got []byte, want hash) error {
	if string(got) != string(want[:]) {
		return fmt.Errorf("it is %x, want %x", got, want)
	}
	return nil
}

func (w *world) public() ed25519.PublicKey { return w.key.Public().(ed25519.PublicKey) }
