package projections_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	embeddedstore "agentkey/eventstore/embedded"
	"agentkey/projections"
)

// raw appends an event as it is, past the codec. One without metadata is signed, as a newer version
// of ours would.
func (w *world) raw(stream string, e eventstore.Event) uint64 {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	at, known := w.ends[stream]
	if !known {
		at = codec.Begin
	}
	e.ID = uuid.New()
	link := codec.Link{} // which nobody knows
	if e.Metadata == nil {
		prev := at.Link
		if !known {
			prev = w.log.Keys.Beginning(stream)
		}
		e.Metadata, link = w.sign(stream, at.Revision+1, e, prev)
	}
	done, err := w.store.Client.Append(w.t.Context(), stream, at.Revision, e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ends[stream] = codec.End{Revision: int64(done.Revision), Link: link}
	return done.Position
}

// sign signs an event for its place, after an event that it is to follow.
func (w *world) sign(stream string, revision int64, e eventstore.Event, prev codec.Link) ([]byte, codec.Link) {
	w.t.Helper()
	signed := codec.Signed{Organization: org, Actor: admin, Time: w.now, Schema: codec.Schema, Prev: prev}
	meta, link, err := w.log.Keys.Sign(stream, uint64(revision), e.ID, e.Type, e.Data, signed)
	if err != nil {
		w.t.Fatal(err)
	}
	return meta, link
}

func (w *world) sql(statements ...string) {
	w.t.Helper()
	w.place.ask(w.t, func(db *sql.DB) {
		for _, statement := range statements {
			if _, err := db.ExecContext(w.t.Context(), statement); err != nil {
				w.t.Fatalf("%s: %v", statement, err)
			}
		}
	})
}

const metadata = `{"signed":"{\"organization\":\"o\",\"actor\":{\"type\":\"human\",\"id\":\"a\"},\"time\":\"2026-04-01T09:00:00Z\",\"schema\":1}","key":"key","sig":""}`

// poison is an event that no version of the program knows.
var poison = eventstore.Event{Type: "thing.happened.v9", Data: []byte(`{}`)}

func TestAnEventThatCantBeAppliedStopsItLoudly(t *testing.T) {
	for _, c := range []struct {
		name   string
		poison eventstore.Event
		reason string
	}{
		{"a name that nobody knows", poison, "thing.happened.v9"},
		{
			"a newer version of a name",
			eventstore.Event{Type: "agent.suspended.v2", Data: []byte(`{}`)},
			"agent.suspended.v2",
		},
		{
			"a member that nobody knows",
			eventstore.Event{Type: "agent.updated.v1", Data: []byte(`{"colour":"red"}`)},
			"colour",
		},
		{
			"data that is not JSON",
			eventstore.Event{Type: "agent.updated.v1", Data: []byte(`{`)},
			"agent.updated.v1",
		},
		{
			"a row that is there already",
			eventstore.Event{
				Type: "agent.registered.v1",
				Data: []byte(`{"organization_id":"o","name":"n","key":{"number":1,"id":"k","hash":""}}`),
			},
			"agents",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world) {
				id, tool := w.agent("bot"), w.tool("github")
				stream := "agent-" + id
				w.then(stream, admin, agent.GrantAssigned{ToolID: tool})
				w.close()
				vend := vendOf(tool, 1)
				before := w.happened(stream, self(id), vend, vend, vend)
				w.raw(stream, c.poison)
				w.happened(stream, self(id), vend)
				head := w.head()
				w.open()

				s := w.eventually("fails", func(s projections.Status) bool { return s.State == projections.Failed })
				at := fmt.Sprintf("%s@%d", stream, w.ends[stream].Revision-1)
				if !strings.Contains(s.Detail, at) || !strings.Contains(s.Detail, c.reason) {
					t.Errorf("the detail %q does not name %s and %s", s.Detail, at, c.reason)
				}
				retried := w.said.of
				w.eventually(
					"tries again and again",
					func(projections.Status) bool { return len(retried("projection stopped")) > 7 },
				)
				var delays []time.Duration
				for _, r := range retried("projection stopped") {
					if r["level"] != "ERROR" || !strings.Contains(fmt.Sprint(r["error"]), at) {
						t.Errorf("said %v", r)
					}
					delays = append(delays, time.Duration(r["retry_in"].(float64)))
				}
				if delays[0] != time.Millisecond || !slices.IsSorted(delays) || delays[6] != 20*time.Millisecond {
					t.Errorf("the pauses between are %v", delays)
				}

				w.reached(before)
				s = w.model.Status(t.Context())
				if s.Position != before || s.Head != head || s.Distance != head-before || s.Lag <= 0 ||
					s.State != projections.Failed ||
					s.EverCaughtUp {
					t.Errorf("before the event %d of %d: %+v", before, head, s)
				}
				if n := w.dump()["grants "+id+"/"+tool]["fetch_count"]; n != "3" {
					t.Errorf("%s fetches are in the tables", n)
				}
				if w.head() != head {
					t.Errorf("something was written to the log")
				}
			})
		})
	}
}

func TestItContinuesWhenTheEventCanBeApplied(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		agents, tools := w.story()
		w.sql(
			"INSERT INTO agent_keys (agent_id, number, id, created_at, expires_at) VALUES ('late', 1, 'in the way', " +
				"1, 1)",
		)
		w.happened(
			"agent-late", admin,
			agent.Registered{OrganizationID: org, Name: "late", Key: agent.Key{Number: 1, ID: "k"}},
		)
		w.happened("agent-"+agents[0], self(agents[0]), vendOf(tools[0], 2))
		s := w.eventually("fails", func(s projections.Status) bool { return s.State == projections.Failed })
		if !strings.Contains(s.Detail, "agent-late@0") {
			t.Errorf("the detail is %q", s.Detail)
		}
		w.sql("DELETE FROM agent_keys WHERE agent_id = 'late'")
		w.reached(w.head())
		w.eventually(
			"runs",
			func(s projections.Status) bool {
				return s.State == projections.Running && s.Detail == "" && s.Distance == 0
			},
		)
		if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
			t.Errorf("after it was held up (-afresh +live):\n%s", diff)
		}
	})
}

// TestWhatIsNotOursIsPassedOver appends an event to a stream that isn't ours, or is signed for this
// very place in a copy of the log that had a history of its own. The rows don't have it, others go
// on, and so does the stream where ours names the last one of ours.
func TestWhatIsNotOursIsPassedOver(t *testing.T) {
	for name, c := range map[string]struct {
		live, signed bool
		fault        codec.Fault
	}{
		"another's, after what it has seen":         {live: true, fault: codec.Foreign},
		"another's, after a restart":                {fault: codec.Foreign},
		"another history's, after what it has seen": {live: true, signed: true, fault: codec.Reordered},
		"another history's, after a restart":        {signed: true, fault: codec.Reordered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, w *world) {
				found := make(chan codec.ForgedError, 10)
				w.log.Found = func(e *codec.ForgedError) { found <- *e }
				id, tool := w.agent("bot"), w.tool("github")
				stream := "agent-" + id
				w.then(stream, admin, agent.GrantAssigned{ToolID: tool})
				if !c.live {
					w.close()
				}
				end := w.ends[stream]
				forged := eventstore.Event{
					ID: uuid.New(), Type: "agent.suspended.v1", Data: []byte(`{}`), Metadata: []byte(metadata),
				}
				if c.signed {
					forged.Metadata, _ = w.sign(stream, end.Revision+1, forged, codec.Link{9})
				}
				if _, err := w.store.Client.Append(t.Context(), stream, end.Revision, forged); err != nil {
					t.Fatal(err)
				}
				end.Foreign = 1
				w.ends[stream] = end
				if !c.live {
					w.open()
				}
				w.then(stream, self(id), vendOf(tool, 1))
				if e := <-found; e.Stream != stream || int64(e.Revision) != end.Revision+1 || e.Fault != c.fault {
					t.Errorf("found %+v", e)
				}
				if row := w.dump()["grants "+id+"/"+tool]; row["fetch_count"] != "1" {
					t.Errorf("the rows have %v", row)
				}
				if status := w.dump()["agents "+id]["status"]; status != "active" {
					t.Errorf("the agent is %s", status)
				}
				if diff := cmp.Diff(w.afresh().rows(), w.dump().rows()); diff != "" {
					t.Errorf("rebuilt it is otherwise (-afresh +live):\n%s", diff)
				}
			})
		})
	}
}

func TestAHandlerThatPanicsGetsTheSameEventsAgain(t *testing.T) {
	w := newWorld(t, embedded)
	w.story()
	ctx, done := context.WithCancel(t.Context())
	defer done()
	head, stored, calls := w.head(), uint64(0), 0
	var got []uint64
	feed := projections.NewFeed(projections.FeedConfig{
		Name: "panics", Log: w.log,
		Logger: slog.New(slog.NewJSONHandler(&w.said, &slog.HandlerOptions{Level: slog.LevelDebug})), MaxBatch: 7,
		MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond,
		Begin: func(context.Context) (uint64, error) { return stored, nil },
	})
	err := projections.Run(ctx, feed, func(_ context.Context, b projections.Batch) error {
		if b.From != stored {
			t.Errorf("a batch after %d when %d is stored", b.From, stored)
		}
		switch calls++; calls % 5 {
		case 1:
			panic("credential-that-nobody-may-log")
		case 2:
			return errors.New("the disk is full")
		case 3:
			var none *world
			_ = none.ids
		}
		for _, e := range b.Events {
			got = append(got, e.Position)
		}
		if stored = b.To; stored >= head {
			done()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []uint64
	for _, b := range w.batches(0) {
		for _, e := range b.Events {
			want = append(want, e.Position)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the events that were handled (-want +got):\n%s", diff)
	}
	reasons := map[string]int{}
	for _, r := range w.said.of("projection stopped") {
		reasons[fmt.Sprint(r["error"])]++
	}
	if reasons["the handler panicked"] == 0 || reasons["the disk is full"] == 0 {
		t.Errorf("it stopped because of %v", reasons)
	}
	if said := fmt.Sprint(w.said.records); strings.Contains(said, "nobody-may-log") ||
		strings.Contains(said, "goroutine ") {
		t.Error("the value of a panic, or a stack, was logged")
	}
}

func TestTablesOfAnotherLogAreFilledAgain(t *testing.T) {
	day := func(n int) embeddedstore.Options {
		return embeddedstore.Options{Clock: func() time.Time { return start.AddDate(0, 0, n) }}
	}
	for _, c := range []struct {
		name    string
		storeID string
		opts    embeddedstore.Options
		copied  bool
		reason  string
	}{
		{"another store", "store-2", day(0), false, "it is of the store store-1, the log is store-2"},
		{"a copy of the log", "store-1", day(1), true, "it is of a log begun at"},
		{"the log as it was before", "store-1", day(0), false, "which is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, e := range engines {
				t.Run(name, func(t *testing.T) {
					w := emptyWorld(t, e(t), day(0))
					w.begin("store-1")
					w.open()
					agents, _ := w.story()
					w.close()

					is := emptyWorld(t, w.place, c.opts)
					is.engine = e
					if c.copied {
						is.copy(w)
					} else {
						is.begin(c.storeID)
						is.happened(
							"agent-"+agents[2], admin,
							agent.Registered{OrganizationID: org, Name: "alone", Key: agent.Key{Number: 1, ID: "k"}},
						)
					}
					is.open()
					is.reached(is.head())
					is.eventually(
						"runs",
						func(s projections.Status) bool {
							return s.State == projections.Running && s.Position == s.Head
						},
					)
					if diff := cmp.Diff(is.afresh().rows(), is.dump().rows()); diff != "" {
						t.Errorf("the tables (-afresh +got):\n%s", diff)
					}
					if said := is.said.of("the projection is filled again from the beginning"); len(said) != 1 ||
						!strings.Contains(fmt.Sprint(said[0]["reason"]), c.reason) {
						t.Errorf("said %v", said)
					}
				})
			}
		})
	}
}

// copy appends what another log holds, byte for byte and in the same order.
func (w *world) copy(from *world) {
	w.t.Helper()
	w.log = &codec.Log{Client: w.store.Client, Keys: from.log.Keys}
	for _, b := range from.batches(0) {
		for _, e := range b.Events {
			_, err := w.store.Client.Append(
				w.t.Context(), e.Stream, int64(e.Revision)-1,
				eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata},
			)
			if err != nil {
				w.t.Fatal(err)
			}
		}
	}
}
