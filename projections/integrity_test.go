package projections_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/projections"
)

// TestTheWholeLogIsReadAgain has a pass find what was put into a log that the pass before had found
// whole, and the one after it find nothing else.
func TestTheWholeLogIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, embedded)
	agents, _ := w.story()
	w.happened("secret-1", admin, codec.SecretSealed{SecretID: "1"})
	w.raw("orders-1", eventstore.Event{Type: "OrderPlaced", Data: []byte(`1`), Metadata: []byte("x")})
	w.raw("agent-newer", poison) // that a newer version of ours signed
	found := make(chan codec.ForgedError, 10)
	w.log.Found = func(e *codec.ForgedError) { found <- *e }
	kept := []projections.StreamEnd{{Stream: "agent-" + agents[2], End: w.ends["agent-"+agents[2]]}}
	var gone []codec.LostError
	i := &projections.Integrity{
		Ends: []func(context.Context, string) ([]projections.StreamEnd, error){
			func(_ context.Context, after string) ([]projections.StreamEnd, error) {
				if after != "" {
					return nil, nil
				}
				return kept, nil
			},
		},
		OnLost: func(_ context.Context, lost *codec.LostError) error {
			gone = append(gone, *lost)
			return nil
		},
		Log: w.log, Logger: slog.New(slog.NewJSONHandler(&w.said, nil)), Clock: time.Now,
		Rest: func(time.Duration) time.Duration { return time.Microsecond },
	}
	ctx, stop := context.WithCancel(t.Context())
	again, ended := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(ended)
		i.Run(ctx, again)
	}()
	completed := func(after time.Time) projections.IntegrityStatus {
		t.Helper()
		wait.Until(t, "the log is checked", func() bool { return i.Status().Completed.After(after) })
		return i.Status()
	}

	first := completed(time.Time{})
	if first.Foreign != 0 || first.Running || first.Position < w.head() || first.Events < 10 {
		t.Errorf("a whole log: %+v", first)
	}

	// put is what is added past everything that we do: whose event it is, and what it follows
	put := func(stream, keys string, prev codec.Link) {
		t.Helper()
		e := eventstore.Event{ID: uuid.New(), Type: "agent.suspended.v1", Data: []byte(`{}`)}
		end := w.ends[stream]
		if keys == "" {
			e.Metadata, _ = w.sign(stream, end.Revision+1, e, prev)
		} else {
			e.Metadata = []byte(keys)
		}
		if _, err := w.store.Client.Append(t.Context(), stream, end.Revision, e); err != nil {
			t.Fatal(err)
		}
		w.ends[stream] = codec.End{Revision: end.Revision + 1}
	}
	forged, spliced := "agent-"+agents[0], "agent-"+agents[1]
	at := w.ends[forged].Revision + 1
	put(forged, metadata, codec.Link{})
	put(spliced, "", codec.Link{9})
	beyond := kept[0].End
	beyond.Revision++
	kept = []projections.StreamEnd{{Stream: kept[0].Stream, End: beyond}}
	again <- time.Now()
	second := completed(first.Completed)
	if second.Foreign != 2 || second.Events != first.Events+2 {
		t.Errorf("a log with two events of others: %+v", second)
	}
	for _, want := range []codec.ForgedError{
		{Stream: forged, Revision: uint64(at), Fault: codec.Foreign},
		{Stream: spliced, Revision: uint64(w.ends[spliced].Revision), Fault: codec.Reordered},
	} {
		got := <-found
		if got.Reason = ""; got != want {
			t.Errorf("found %+v, want %+v", got, want)
		}
	}
	if len(gone) != 1 || gone[0].Seen != beyond || gone[0].Fault != codec.Truncated {
		t.Errorf("ends that are gone: %+v", gone)
	}
	stop()
	<-ended
	if s := i.Status(); s.Running {
		t.Errorf("after the end: %+v", s)
	}
}
