package projections_test

import (
	"context"
	"errors"
	"fmt"
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
	i := &projections.Integrity{
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
	if first.Findings != 0 || first.First != nil || first.Running || first.Position < w.head() || first.Events < 10 {
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
	again <- time.Now()
	second := completed(first.Completed)
	var named *codec.ForgedError
	if second.Findings != 2 || !errors.As(second.First, &named) || named.Stream != forged ||
		int64(named.Revision) != at || second.Events != first.Events+2 {
		t.Errorf("a log with two events of others: %+v", second)
	}
	if said := w.said.of("the event log holds an event that doesn't belong to it"); len(said) != 2 ||
		said[0]["stream"] != forged || fmt.Sprint(said[0]["revision"]) != fmt.Sprint(at) || said[1]["stream"] != spliced {
		t.Errorf("said %v", said)
	}
	stop()
	<-ended
	if s := i.Status(); s.Running {
		t.Errorf("after the end: %+v", s)
	}
}
