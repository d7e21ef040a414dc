package eventstore_test

import (
	"errors"
	"testing"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestAnAppendDuringAnOutageGivesUpThoughItsCallerWouldWaitForEver(t *testing.T) {
	server := eventstoretest.Start(t)
	c, err := eventstore.Open(eventstore.Config{Socket: server.Socket, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	server.Stop()
	if _, err := c.Append(
		t.Context(), stream(t), eventstore.NoStream, event(1),
	); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	if err := c.Tombstone(t.Context(), stream(t)); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("tombstone: %v", err)
	}
	server.Restart() // only after both have given up
}

func TestAStaleAppendIsToldWhereTheStreamIs(t *testing.T) {
	c, name := open(t), stream(t)
	mustAppend(t, c, name, eventstore.NoStream, events(3)...)
	for _, tt := range []struct {
		stream   string
		expected int64
		current  int64
	}{{name, eventstore.NoStream, 2}, {name, 0, 2}, {name, 7, 2}, {stream(t), 4, eventstore.NoStream}} {
		_, err := c.Append(wait.Context(t), tt.stream, tt.expected, event(9))
		var wrong *eventstore.WrongRevisionError
		if !errors.As(err, &wrong) || !errors.Is(err, eventstore.ErrWrongRevision) || wrong.Current != tt.current {
			t.Errorf("at %d: %v", tt.expected, err)
		}
	}
}
