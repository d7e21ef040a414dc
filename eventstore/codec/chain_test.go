package codec_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
)

// history appends n events to a stream, each by a command of its own, and returns its end.
func history(t *testing.T, l *codec.Log, stream, what string, after codec.End, n int) codec.End {
	t.Helper()
	for range n {
		command := fmt.Sprint(what, after.Revision+1)
		done, err := l.Append(wait.Context(t), stream, after, requested(t, command, 0))
		if err != nil {
			t.Fatal(err)
		}
		after = done.End()
	}
	return after
}

// stored reads a whole stream as it is.
func stored(t *testing.T, l *codec.Log, stream string) []eventstore.Recorded {
	t.Helper()
	events, err := l.Client.ReadForward(wait.Context(t), stream, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// mixed returns a log whose stream holds these events, put there past everything that we do.
func mixed(t *testing.T, stream string, pieces ...[]eventstore.Recorded) *codec.Log {
	t.Helper()
	l, at := openLog(t), eventstore.NoStream
	for _, piece := range pieces {
		for _, r := range piece {
			e := eventstore.Event{ID: r.ID, Type: r.Type, Data: r.Data, Metadata: r.Metadata}
			if _, err := l.Client.Append(wait.Context(t), stream, at, e); err != nil {
				t.Fatal(err)
			}
			at++
		}
	}
	return l
}

// TestAnEventFitsOneHistoryOnly mixes two logs of one installation, such as production and a
// restore drill: all their events are signed for the very places at which they are put.
func TestAnEventFitsOneHistoryOnly(t *testing.T) {
	const stream, shared = "agent-1", 4
	production := openLog(t)
	common := history(t, production, stream, "shared", codec.Begin, shared)
	drilled := mixed(t, stream, stored(t, production, stream))
	end := history(t, production, stream, "production", common, 6)
	history(t, drilled, stream, "drill", common, 6)
	ours, others := stored(t, production, stream), stored(t, drilled, stream)

	for name, c := range map[string]struct {
		log   *codec.Log
		named uint64
	}{
		"one at the end":                      {mixed(t, stream, ours[:6], others[6:7]), 6},
		"several at the end":                  {mixed(t, stream, ours[:6], others[6:]), 6},
		"one in the middle":                   {mixed(t, stream, ours[:6], others[6:7], ours[7:]), 6},
		"a middle that was cut and refilled":  {mixed(t, stream, ours[:shared], others[shared:7], ours[7:]), 7},
		"the middle before a page's boundary": {mixed(t, stream, ours[:5], others[5:6], ours[6:]), 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var forged *codec.ForgedError
			check := func(how string, events []codec.Verified, err error) {
				t.Helper()
				if !errors.As(err, &forged) || forged.Stream != stream || forged.Revision != c.named || events != nil {
					t.Errorf("%s: %d events and %v", how, len(events), err)
				}
			}
			events, err := c.log.ReadForward(wait.Context(t), stream, 0, 1000)
			check("from the beginning", events, err)
			before, err := c.log.ReadForward(wait.Context(t), stream, 0, c.named)
			if err != nil || uint64(len(before)) != c.named {
				t.Fatalf("up to it: %d events, %v", len(before), err)
			}
			events, err = c.log.ReadOn(wait.Context(t), stream, before[c.named-1].End(), 1)
			check("after what was read", events, err)
		})
	}

	// A process that has seen the end of one history notices that another one continues there.
	swapped := mixed(t, stream, others)
	seen := codec.End{Revision: end.Revision - 1}
	page, err := production.ReadForward(wait.Context(t), stream, uint64(seen.Revision), 1)
	if err != nil {
		t.Fatal(err)
	}
	seen.Link = page[0].Link
	var forged *codec.ForgedError
	if _, err := swapped.ReadOn(wait.Context(t), stream, seen, 10); !errors.As(err, &forged) ||
		forged.Revision != uint64(end.Revision) {
		t.Errorf("on after the end that was seen: %v", err)
	}
	if _, err := swapped.ReadBack(wait.Context(t), stream, seen, 10); !errors.As(err, &forged) ||
		forged.Revision != uint64(seen.Revision) {
		t.Errorf("back from the end that was seen: %v", err)
	}
	back, err := production.ReadBack(wait.Context(t), stream, end, 3)
	if err != nil || len(back) != 3 || back[2].Before().Revision != end.Revision-3 {
		t.Fatalf("back in one history: %d events, %v", len(back), err)
	}
	if back, err = production.ReadBack(wait.Context(t), stream, back[2].Before(), 1000); err != nil ||
		int64(len(back)) != end.Revision-2 {
		t.Errorf("further back: %d events, %v", len(back), err)
	}
}

func TestTheFirstEventNamesItsStream(t *testing.T) {
	l := openLog(t)
	e := eventstore.Event{ID: uuid.New(), Type: "agent.suspended.v1", Data: []byte(`{}`)}
	var err error
	if e.Metadata, _, err = l.Keys.Sign("agent-1", 0, e.ID, e.Type, e.Data, signed); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Client.Append(wait.Context(t), "agent-1", eventstore.NoStream, e); err != nil {
		t.Fatal(err)
	}
	var forged *codec.ForgedError
	if _, err := l.ReadForward(wait.Context(t), "agent-1", 0, 1); !errors.As(err, &forged) || forged.Revision != 0 {
		t.Errorf("a first event that follows another: %v", err)
	}
}

// TestAChainFollowsManyStreams hands a chain what a subscription sends: streams by turns, all of
// their events or some.
func TestAChainFollowsManyStreams(t *testing.T) {
	l := openLog(t)
	for _, stream := range []string{"agent-1", "agent-2", "secret-1"} {
		history(t, l, stream, stream, codec.Begin, 4)
	}
	one, two, secret := stored(t, l, "agent-1"), stored(t, l, "agent-2"), stored(t, l, "secret-1")
	other := openLog(t)
	history(t, other, "agent-1", "another history", codec.Begin, 4)
	foreign := stored(t, other, "agent-1")
	if err := l.Client.Tombstone(wait.Context(t), "secret-1"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		events []eventstore.Recorded
		named  int // the place of the one that is named, -1 for none
	}{
		"by turns":                {[]eventstore.Recorded{one[0], two[0], one[1], two[1], two[2], one[2]}, -1},
		"from the middle":         {[]eventstore.Recorded{one[2], two[3], one[3]}, -1},
		"with gaps":               {[]eventstore.Recorded{one[0], one[2], one[3]}, -1},
		"again":                   {[]eventstore.Recorded{one[2], one[3], one[1], one[2]}, -1},
		"of a secret that's gone": {[]eventstore.Recorded{secret[0], secret[2]}, -1},
		"another's after ours":    {[]eventstore.Recorded{one[0], one[1], foreign[2]}, 2},
		"another's at once":       {[]eventstore.Recorded{two[0], foreign[2]}, 1},
		"ours after another's":    {[]eventstore.Recorded{foreign[0], one[1]}, 1},
	} {
		for how, chain := range map[string]*codec.Chain{"MACs": l.NewChain(), "signatures": l.NewWholeChain()} {
			for i, e := range c.events {
				v, err := chain.Next(wait.Context(t), e)
				var forged *codec.ForgedError
				if i == c.named && (!errors.As(err, &forged) || forged.Revision != e.Revision) ||
					i != c.named && (err != nil || v.Event == nil) {
					t.Errorf("%s, by %s: event %d is %d@%s: %v", name, how, i, e.Revision, e.Stream, err)
				}
			}
		}
	}
	// Without our predecessor there is nothing to follow.
	gone := openLog(t)
	var forged *codec.ForgedError
	if _, err := gone.NewChain().Next(wait.Context(t), one[1]); !errors.As(err, &forged) {
		t.Errorf("without the event before it: %v", err)
	}
}

// TestAnIdempotencyKeyIsNotChained, because the store forgets how it began.
func TestAnIdempotencyKeyIsNotChained(t *testing.T) {
	l := openLog(t)
	for revision := range int64(3) {
		if _, err := l.Write(
			wait.Context(t), "once-1", codec.End{Revision: revision - 1}, codec.OnceReleased{}, signed,
		); err != nil {
			t.Fatal(err)
		}
	}
	if events, err := l.ReadOn(wait.Context(t), "once-1", codec.End{Revision: 0}, 10); err != nil ||
		len(events) != 2 || events[0].Signed.Prev != (codec.Link{}) {
		t.Errorf("%+v %v", events, err)
	}
}
