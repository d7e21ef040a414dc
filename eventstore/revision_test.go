package eventstore_test

import (
	"errors"
	"testing"

	"agentkey/eventstore"
)

func TestAStaleAppendIsToldWhereTheStreamIs(t *testing.T) {
	c, name := open(t), stream(t)
	mustAppend(t, c, name, eventstore.NoStream, events(3)...)
	for _, tt := range []struct {
		stream   string
		expected int64
		current  int64
	}{{name, eventstore.NoStream, 2}, {name, 0, 2}, {name, 7, 2}, {stream(t), 4, eventstore.NoStream}} {
		_, err := c.Append(within(t), tt.stream, tt.expected, event(9))
		var wrong *eventstore.WrongRevisionError
		if !errors.As(err, &wrong) || !errors.Is(err, eventstore.ErrWrongRevision) || wrong.Current != tt.current {
			t.Errorf("at %d: %v", tt.expected, err)
		}
	}
}
