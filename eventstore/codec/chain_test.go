package codec_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
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
			for _, page := range []uint64{1, 3, 100} {
				events, _, err := read(t, c.log, stream, codec.Begin, page)
				var forged *codec.ForgedError
				if !errors.As(err, &forged) || forged.Stream != stream || forged.Revision != c.named ||
					forged.Fault != codec.Reordered || uint64(len(events)) > c.named {
					t.Errorf("in pages of %d: %d events and %v", page, len(events), err)
				}
			}
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
	var lost *codec.LostError
	if _, _, err := read(t, swapped, stream, seen, 10); !errors.As(err, &lost) || lost.Seen != seen ||
		lost.Fault != codec.Altered {
		t.Errorf("on after the end that was seen: %v", err)
	}
	if _, _, err := swapped.ReadBack(wait.Context(t), stream, seen, 10); !errors.As(err, &lost) || lost.Seen != seen {
		t.Errorf("back from the end that was seen: %v", err)
	}
	cut := mixed(t, stream, ours[:5])
	if _, _, err := read(t, cut, stream, seen, 10); !errors.As(err, &lost) || lost.Fault != codec.Truncated {
		t.Errorf("on after an end that is gone: %v", err)
	}
	back, before, err := production.ReadBack(wait.Context(t), stream, end, 3)
	if err != nil || len(back) != 3 || before.Revision != end.Revision-3 {
		t.Fatalf("back in one history: %d events, %v", len(back), err)
	}
	if back, _, err = production.ReadBack(wait.Context(t), stream, before, 1000); err != nil ||
		int64(len(back)) != end.Revision-2 {
		t.Errorf("further back: %d events, %v", len(back), err)
	}
}

// read reads a stream on to its end in pages.
func read(
	t *testing.T, l *codec.Log, stream string, after codec.End, page uint64,
) (events []codec.Verified, end codec.End, err error) {
	t.Helper()
	r := l.Reader(stream, after)
	for more := true; more; {
		var some []codec.Verified
		if some, more, err = r.Next(wait.Context(t), page); err != nil {
			return events, r.End(), err
		}
		events = append(events, some...)
	}
	return events, r.End(), nil
}

// put appends an event to a stream past everything that we do.
func put(t *testing.T, l *codec.Log, stream string, at int64, e eventstore.Event) {
	t.Helper()
	if e.ID == uuid.Nil {
		e.ID = uuid.New()
	}
	if _, err := l.Client.Append(wait.Context(t), stream, at, e); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsNotOursIsPassedOver puts events of others between ours and behind them. The next one of
// ours closes the chain around them.
func TestWhatIsNotOursIsPassedOver(t *testing.T) {
	const stream = "agent-1"
	l := openLog(t)
	found := map[uint64]codec.Fault{}
	l.Found = func(e *codec.ForgedError) { found[e.Revision] = e.Fault }
	junk := eventstore.Event{Type: "OrderPlaced", Data: []byte(`1`), Metadata: []byte("x")}
	put(t, l, stream, eventstore.NoStream, junk)
	end := history(t, l, stream, "ours", codec.End{Revision: eventstore.NoStream, Foreign: 1}, 3)
	older := stored(t, l, stream)[2]
	for at := end.Revision; at < end.Revision+4; at++ { // an older one of ours, with its own signature
		put(t, l, stream, at, eventstore.Event{Type: older.Type, Data: older.Data, Metadata: older.Metadata})
	}
	for _, page := range []uint64{1, 2, 100} {
		events, at, err := read(t, l, stream, codec.Begin, page)
		if err != nil || len(events) != 3 || at.Link != end.Link || at.Revision != end.Revision || at.Foreign != 4 {
			t.Fatalf("in pages of %d: %d events up to %+v, %v", page, len(events), at, err)
		}
		end = at
	}
	last := history(t, l, stream, "ours", end, 2)
	events, at, err := read(t, l, stream, end, 1)
	if err != nil || len(events) != 2 || at != last || events[0].Revision != 8 {
		t.Errorf("on after them: %d events up to %+v, %v", len(events), at, err)
	}
	back, before, err := l.ReadBack(wait.Context(t), stream, last, 100)
	if err != nil || len(back) != 5 || before.Revision != eventstore.NoStream {
		t.Errorf("back over them: %d events down to %+v, %v", len(back), before, err)
	}
	newest, tail, err := l.Newest(wait.Context(t), stream, 4)
	if err != nil || len(newest) != 4 || newest[3].Revision != 2 || tail != last {
		t.Errorf("the newest: %d events, %+v, %v", len(newest), tail, err)
	}
	first, err := l.First(wait.Context(t), stream)
	if err != nil || first.Revision != 1 {
		t.Errorf("the first: %+v, %v", first, err)
	}
	want := map[uint64]codec.Fault{0: codec.Foreign}
	for revision := uint64(4); revision < 8; revision++ {
		want[revision] = codec.Foreign
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	for how, chain := range map[string]*codec.Chain{"MACs": l.NewChain(), "signatures": l.NewWholeChain()} {
		for _, from := range []int{0, 3, 8, 9} { // also where it has seen nothing before
			passed := 0
			for _, e := range stored(t, l, stream)[from:] {
				_, err := chain.Next(wait.Context(t), e)
				var forged *codec.ForgedError
				switch _, foreign := want[e.Revision]; {
				case foreign && errors.As(err, &forged) && !forged.Breaks():
				case foreign || err != nil:
					t.Errorf("by %s from %d: revision %d: %v", how, from, e.Revision, err)
				default:
					passed++
				}
			}
			if passed == 0 {
				t.Errorf("by %s from %d nothing is ours", how, from)
			}
		}
	}
}

// TestWhatMayBeOursBreaksTheStream alters the event at an end, and one in the middle.
func TestWhatMayBeOursBreaksTheStream(t *testing.T) {
	const stream = "agent-1"
	l := openLog(t)
	end := history(t, l, stream, "ours", codec.Begin, 6)
	ours := stored(t, l, stream)
	alter := func(r eventstore.Recorded) []eventstore.Recorded {
		r.Type = "agent.reactivated.v1"
		return []eventstore.Recorded{r}
	}
	for name, c := range map[string]struct {
		log   *codec.Log
		named uint64
		fault codec.Fault
	}{
		"the last":   {mixed(t, stream, ours[:5], alter(ours[5])), 5, codec.Altered},
		"the first":  {mixed(t, stream, alter(ours[0]), ours[1:]), 0, codec.Altered},
		"the middle": {mixed(t, stream, ours[:3], alter(ours[3]), ours[4:]), 3, codec.Altered},
		"with a predecessor of its own": {
			mixed(t, stream, ours[:3], []eventstore.Recorded{{ID: uuid.New(), Type: "x", Metadata: []byte("{}")}}, ours[4:]),
			4, codec.Missing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := read(t, c.log, stream, codec.Begin, 2)
			var forged *codec.ForgedError
			if !errors.As(err, &forged) || forged.Revision != c.named || forged.Fault != c.fault {
				t.Errorf("read: %v", err)
			}
			lost, err := c.log.Lacks(wait.Context(t), stream, end)
			if err != nil || (lost == nil) != (c.named < 5) {
				t.Errorf("the end that was seen: %v %v", lost, err)
			}
			c.log.Settled = func(s string, revision uint64) bool { return s == stream && revision == c.named }
			_, at, err := read(t, c.log, stream, codec.Begin, 2)
			if c.named == 5 && (err != nil || at.Revision != 4 || at.Foreign != 1) {
				t.Errorf("after an operator has settled it: %+v %v", at, err)
			}
		})
	}
}

func TestTheFirstEventNamesItsStream(t *testing.T) {
	l := openLog(t)
	e := eventstore.Event{ID: uuid.New(), Type: "agent.suspended.v1", Data: []byte(`{}`)}
	var err error
	if e.Metadata, _, err = l.Keys.Sign("agent-1", 0, e.ID, e.Type, e.Data, signed); err != nil {
		t.Fatal(err)
	}
	put(t, l, "agent-1", eventstore.NoStream, e)
	var forged *codec.ForgedError
	if _, _, err := read(t, l, "agent-1", codec.Begin, 1); !errors.As(err, &forged) || forged.Revision != 0 {
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
	if events, _, err := read(t, l, "once-1", codec.End{Revision: 0}, 10); err != nil ||
		len(events) != 2 || events[0].Signed.Prev != (codec.Link{}) {
		t.Errorf("%+v %v", events, err)
	}
}
