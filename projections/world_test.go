package projections_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/projections"
	"agentkey/readmodels"
)

var (
	admin = domain.Actor{Type: domain.ActorHuman, ID: "0198c0de-0000-7000-8000-0000000000aa"}
	start = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
)

const org = "0198c0de-0000-7000-8000-000000000001"

// world is a log with a read model that follows it, and a clock that moves a second with every event.
type world struct {
	t     testing.TB
	store *eventstoretest.Server
	log   *codec.Log
	path  string
	db    *readmodels.DB
	model *projections.ReadModel
	stop  func()

	org       string
	now       time.Time
	revisions map[string]int64
	ids       int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, store: eventstoretest.Start(t), path: filepath.Join(t.TempDir(), "read.db"),
		org: org, now: start, revisions: map[string]int64{},
	}
	w.log = &codec.Log{Client: w.store.Client, Keys: codec.NewKeyring("store-1", "key", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), nil)}
	w.happened("installation", admin, installation.Begun{
		StoreID: "store-1", OrganizationID: org, AdminTokenHash: "0ff1ce",
		SigningKey: installation.PublicKey{ID: "key"}, MasterKeys: []installation.MasterKey{{ID: "m", Check: "c0ffee"}},
	})
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	db, err := readmodels.OpenEmbedded(w.t.Context(), w.path, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	w.t.Cleanup(func() { _ = db.Close() })
	w.run()
}

// run sets the projection going until close, or the end of the test.
func (w *world) run() {
	w.t.Helper()
	w.model = w.newModel(w.db)
	w.stop = runModel(w.t, w.model)
}

func (w *world) newModel(db *readmodels.DB) *projections.ReadModel {
	return projections.NewReadModel(projections.ReadModelConfig{
		Client: w.store.Client, DB: db, Logger: slog.New(slog.DiscardHandler),
		Idle: 20 * time.Millisecond, MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
	})
}

func runModel(t testing.TB, m *projections.ReadModel) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run the projection: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// happened appends events to a stream and returns the position of the last.
func (w *world) happened(stream string, by domain.Actor, events ...any) uint64 {
	w.t.Helper()
	at, known := w.revisions[stream]
	if !known {
		at = eventstore.NoStream
	}
	entries := make([]codec.Entry, len(events))
	for i, e := range events {
		w.now = w.now.Add(time.Second)
		signed := codec.Signed{Organization: w.org, Actor: by, CommandID: uuid.NewString(), RequestID: "call-1", Time: w.now, Private: "sealed-private"}
		entry, err := codec.NewEntry(e, signed, i)
		if err != nil {
			w.t.Fatal(err)
		}
		entries[i] = entry
	}
	done, err := w.log.Append(w.t.Context(), stream, at, entries...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.revisions[stream] = int64(done.Revision) //nolint:gosec // small
	return done.Position
}

func (w *world) reached(position uint64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	if err := w.model.WaitFor(ctx, position); err != nil {
		w.t.Fatalf("%v: %+v", err, w.model.Status(w.t.Context()))
	}
}

// then appends events and waits until they are in the tables.
func (w *world) then(stream string, by domain.Actor, events ...any) uint64 {
	w.t.Helper()
	position := w.happened(stream, by, events...)
	w.reached(position)
	return position
}

func (w *world) id() string {
	w.ids++
	return fmt.Sprintf("0198c0de-0000-7000-9000-%012d", w.ids)
}

// tool adds a shared tool and returns its id.
func (w *world) tool(name string) string {
	w.t.Helper()
	id := w.id()
	w.then("catalog-"+w.org, admin, catalog.ToolAdded{ToolID: id, Name: name, FoldedName: name, AuthType: "api_key", Mode: catalog.Shared, SecretID: w.id()})
	return id
}

// agent registers an agent and returns its id.
func (w *world) agent(name string) string {
	w.t.Helper()
	id := w.id()
	w.then("agent-"+id, admin, agent.Registered{OrganizationID: w.org, Name: name, Key: agent.Key{Number: 1, ID: w.id(), Hash: "5ec4e7"}})
	return id
}

func self(id string) domain.Actor { return domain.Actor{Type: domain.ActorAgent, ID: id} }

// eventually waits for a condition on the projection.
func (w *world) eventually(what string, met func(projections.Status) bool) projections.Status {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		s := w.model.Status(w.t.Context())
		if met(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("never %s: %+v", what, s)
		}
	}
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// dump returns every row of every table of the read model, the checkpoint included.
func dump(t testing.TB, path string) map[string][]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	out := map[string][]string{}
	for _, table := range []string{"agents", "agent_keys", "tools", "tool_instructions", "requests", "grants", "audit_entries", "checkpoints"} {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		out[table] = []string{}
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			var line []string
			for i, c := range columns {
				line = append(line, fmt.Sprintf("%s=%v", c, *values[i].(*any)))
			}
			out[table] = append(out[table], strings.Join(line, " "))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return out
}
