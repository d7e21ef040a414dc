package projections_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	embeddedstore "agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
	"agentkey/readmodels"
)

var (
	admin = domain.Actor{Type: domain.ActorHuman, ID: "0198c0de-0000-7000-8000-0000000000aa"}
	start = time.Date(2026, 4, 1, 9, 0, 0, 0, time.UTC)
)

const (
	org  = "0198c0de-0000-7000-8000-000000000001"
	idle = 20 * time.Millisecond
)

// world is a log with a read model that follows it, and a clock that moves a second with every
// event.
type world struct {
	t      testing.TB
	store  *eventstoretest.Server
	engine engine
	place  place
	db     *readmodels.DB
	model  *projections.ReadModel
	stop   func()        // the projection
	idle   time.Duration // of its feed
	said   journal

	log *codec.Log

	mu   sync.Mutex // held while the world advances
	now  time.Time
	ends map[string]codec.End
	ids  int
}

func signingKey(id string) installation.SigningKey {
	return installation.SigningKey{PublicKey: installation.PublicKey{ID: id}}
}

func newWorld(t testing.TB, e engine) *world {
	t.Helper()
	w := emptyWorld(t, e(t), embeddedstore.Options{})
	w.engine = e
	w.begin("store-1")
	w.open()
	w.reached(w.head())
	return w
}

// emptyWorld has a log without an event; no projection follows it yet.
func emptyWorld(t testing.TB, p place, opts embeddedstore.Options) *world {
	t.Helper()
	return &world{
		t: t, store: eventstoretest.StartWith(t, opts), place: p, idle: idle, now: start, ends: map[string]codec.End{},
	}
}

func (w *world) begin(storeID string) {
	w.t.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys, err := codec.NewKeyring(storeID, "key", private, nil).WithMAC(domain.NewSecret(make([]byte, 32)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.log = &codec.Log{Client: w.store.Client, Keys: keys}
	w.happened("installation", admin, installation.Begun{
		StoreID: storeID, OrganizationID: org, AdminTokenHash: "0ff1ce",
		SigningKey: signingKey("key"), MasterKeys: []installation.MasterKey{{ID: "m", Check: "c0ffee"}},
	})
}

// open opens the tables and sets the projection going until close, or the end of the test.
func (w *world) open() {
	w.t.Helper()
	w.db = w.place.open(w.t)
	db := w.db
	w.t.Cleanup(func() { _ = db.Close() })
	w.run()
}

func (w *world) run() {
	w.t.Helper()
	w.model = w.newModel(w.db)
	w.stop = runModel(w.t, w.model)
}

// close ends the projection and lets go of the tables.
func (w *world) close() {
	w.t.Helper()
	w.stop()
	if err := w.db.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) newModel(db *readmodels.DB) *projections.ReadModel {
	return projections.NewReadModel(projections.ReadModelConfig{
		Log: w.log, DB: db, Logger: slog.New(slog.NewJSONHandler(&w.said, nil)), Clock: time.Now,
		Idle: w.idle, MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
	})
}

func runModel(t testing.TB, m interface{ Run(context.Context) error }) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run the projection: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// journal keeps what was logged.
type journal struct {
	mu      sync.Mutex
	records []map[string]any
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	record := map[string]any{}
	if err := json.Unmarshal(line, &record); err != nil {
		return 0, err
	}
	j.records = append(j.records, record)
	return len(line), nil
}

// of returns the records with a message.
func (j *journal) of(message string) []map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []map[string]any
	for _, r := range j.records {
		if r["msg"] == message {
			out = append(out, r)
		}
	}
	return out
}

// append appends events to a stream, a second after each other, and returns the position of the
// last.
func (w *world) append(stream string, by domain.Actor, events ...any) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	signed := make([]codec.Signed, len(events))
	for i := range events {
		w.now = w.now.Add(time.Second)
		signed[i] = codec.Signed{
			Organization: org, Actor: by, CommandID: uuid.NewString(), RequestID: "call-1", Time: w.now,
			Private: "sealed-private",
		}
	}
	return w.appendSigned(stream, events, signed)
}

func (w *world) appendSigned(stream string, events []any, signed []codec.Signed) (uint64, error) {
	at, known := w.ends[stream]
	if !known {
		at = codec.Begin
	}
	entries := make([]codec.Entry, len(events))
	for i, e := range events {
		var err error
		if entries[i], err = codec.NewEntry(e, signed[i], i); err != nil {
			return 0, err
		}
	}
	done, err := w.log.Append(w.t.Context(), stream, at, entries...)
	if err == nil {
		w.ends[stream] = done.End()
	}
	return done.Position, err
}

// happened is append on the test's own goroutine.
func (w *world) happened(stream string, by domain.Actor, events ...any) uint64 {
	w.t.Helper()
	position, err := w.append(stream, by, events...)
	if err != nil {
		w.t.Fatal(err)
	}
	return position
}

// story is a bit of everything; it returns the agents and the tools of it.
func (w *world) story() (agents, tools []string) {
	w.t.Helper()
	for _, name := range []string{"github", "linear", "stripe"} {
		tools = append(tools, w.tool(name))
	}
	for _, name := range []string{"one", "two", "three"} {
		id := w.agent(name)
		agents = append(agents, id)
		stream, by := "agent-"+id, self(id)
		w.then(
			stream, by, agent.GrantRequested{ToolID: tools[0], RequestID: w.id(), Reason: "because"},
			agent.GrantRequested{ToolID: tools[1], RequestID: w.id(), Reason: "because"},
		)
		w.then(
			stream, admin,
			agent.GrantApproved{ToolID: tools[0], RequestID: fmt.Sprintf("0198c0de-0000-7000-9000-%012d", w.ids-1)},
			agent.GrantAssigned{ToolID: tools[2]},
		)
		for range 5 {
			w.then(
				stream, by, vendOf(tools[0], 1),
				vendOf(tools[2], 1),
			)
		}
		w.then(
			stream, admin,
			agent.KeyRotated{Key: agent.Key{Number: 2, ID: w.id()}, Ended: []agent.KeyEnd{{Number: 1, At: w.now}}},
		)
	}
	w.then(
		"agent-"+agents[1], admin, agent.Suspended{}, agent.GrantRevoked{ToolID: tools[0], Cause: agent.CauseSuspended},
	)
	w.then(
		"catalog-"+org, admin, catalog.ToolInstructionsRevised{ToolID: tools[0], Version: 1, Instructions: "be kind"},
		catalog.ToolRemoved{ToolID: tools[2]},
	)
	return agents, tools
}

func (w *world) reached(position uint64) {
	w.t.Helper()
	if err := w.model.WaitFor(wait.Context(w.t), position); err != nil {
		w.t.Fatalf("%v: %+v", err, w.model.Status(context.Background()))
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
	w.then(
		"catalog-"+org, admin,
		catalog.ToolAdded{
			ToolID: id, Name: name, FoldedName: name, AuthType: "api_key", Mode: catalog.Shared, SecretID: id,
		},
	)
	return id
}

// vendOf is a fetch of the one secret that a tool has.
func vendOf(toolID string, key int) agent.CredentialVended {
	return agent.CredentialVended{ToolID: toolID, SecretID: toolID, CredentialVersion: 1, KeyNumber: key}
}

// agent registers an agent and returns its id.
func (w *world) agent(name string) string {
	w.t.Helper()
	id := w.id()
	w.then(
		"agent-"+id, admin,
		agent.Registered{OrganizationID: org, Name: name, Key: agent.Key{Number: 1, ID: w.id(), Hash: "5ec4e7"}},
	)
	return id
}

func self(id string) domain.Actor { return domain.Actor{Type: domain.ActorAgent, ID: id} }

// eventually waits for a condition on the projection.
func (w *world) eventually(what string, met func(projections.Status) bool) (s projections.Status) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the projection: %+v", s)
		}
	}()
	wait.Until(w.t, what, func() bool {
		s = w.model.Status(w.t.Context())
		return met(s)
	})
	return s
}

// last is the newest event of a stream.
func (w *world) last(stream string) eventstore.Recorded {
	w.t.Helper()
	events, err := w.store.Client.ReadBackward(w.t.Context(), stream, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return events[0]
}

// head is the position of the newest event of the log.
func (w *world) head() uint64 {
	w.t.Helper()
	head, err := w.store.Client.Head(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return head
}
