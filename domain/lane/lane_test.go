package lane_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/lane"
)

var start = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

func fold(events ...lane.Event) (s lane.State) {
	for _, e := range events {
		s = lane.Evolve(s, domain.Fact[lane.Event]{Event: e, At: start})
	}
	return s
}

// waiting are notifications d0, d1 … that were queued at the start.
func waiting(n int) (out []lane.Waiting) {
	for i := range n {
		out = append(out, lane.Waiting{ID: fmt.Sprint("d", i), Since: start})
	}
	return out
}

func ids(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("d", i))
	}
	return out
}

func claim(at time.Duration, queue []lane.Waiting) lane.Claim {
	return lane.Claim{OrganizationID: "org", At: after(at), Waiting: queue}
}

func claimed(turn int, until time.Duration, deliveries ...string) lane.Claimed {
	return lane.Claimed{OrganizationID: "org", Turn: turn, Deliveries: deliveries, Until: after(until)}
}

func held(turn int, until time.Duration, asked bool) lane.Held {
	return lane.Held{Turn: turn, Until: after(until), Asked: asked}
}

func TestDecide(t *testing.T) {
	const s, day = time.Second, 24 * time.Hour
	list := func(events ...lane.Event) []lane.Event { return events }
	alone := func(i int, queue []lane.Waiting) []lane.Waiting { queue[i].Alone = true; return queue }
	busy := list(claimed(1, 20*s, "d0"))
	done, limited := append(busy, lane.Released{Turn: 1}), append(busy, held(1, 7*s, true))
	failing := append(busy, held(1, 2*s, false))
	for _, tt := range []struct {
		name  string
		given []lane.Event
		when  lane.Command
		then  []lane.Event
	}{
		{"the oldest goes first", nil, claim(0, waiting(3)), busy},
		{"nothing waits", nil, claim(0, nil), nil},
		{"another process has the turn", busy, claim(19*s, waiting(3)), nil},
		{
			"what a process left is sent again as it was put together", list(claimed(1, 20*s, "d7", "d8")),
			claim(20*s, waiting(3)), list(claimed(2, 40*s+s/5, "d7", "d8")),
		},
		{"the next turn begins at once", done, claim(s, waiting(1)), list(claimed(2, 21*s, "d0"))},
		{"a minute is not late", nil, claim(60*s, waiting(3)), list(claimed(1, 80*s, "d0"))},
		{"later all go together", nil, claim(61*s, waiting(3)), list(claimed(1, 81*s+2*s/5, "d0", "d1", "d2"))},
		{"one alone makes no digest", nil, claim(61*s, waiting(1)), list(claimed(1, 81*s, "d0"))},
		{"what must go alone does", nil, claim(61*s, alone(0, waiting(3))), list(claimed(1, 81*s, "d0"))},
		{"and joins no digest", nil, claim(61*s, alone(1, waiting(3))), list(claimed(1, 81*s+s/5, "d0", "d2"))},
		{"a digest is not endless", nil, claim(61*s, waiting(150)), list(claimed(1, 81*s+99*s/5, ids(100)...))},
		{
			"a few go one by one although the receiver asks to wait", limited, claim(7*s, waiting(5)),
			list(claimed(2, 27*s, "d0")),
		},
		{"more go together", limited, claim(7*s, waiting(6)), list(claimed(2, 28*s, ids(6)...))},
		{"many go one by one while nobody asks", failing, claim(2*s, waiting(6)), list(claimed(2, 22*s, "d0"))},

		{"a turn ends", busy, lane.Release{Turn: 1}, list(lane.Released{Turn: 1})},
		{"it ends once", done, lane.Release{Turn: 1}, nil},
		{"it ends no other", append(done, claimed(2, 40*s, "d1")), lane.Release{Turn: 1}, nil},
		{
			"a failure holds the channel for two seconds", busy,
			lane.Hold{At: after(5 * s), Turn: 1},
			list(held(1, 7*s, false)),
		},
		{"or a little less", busy, lane.Hold{At: after(5 * s), Turn: 1, Jitter: 1}, list(held(1, 6*s, false))},
		{
			"twice as long after a second one", append(failing, claimed(2, 30*s, "d0")),
			lane.Hold{At: after(15 * s), Turn: 2},
			list(held(2, 19*s, false)),
		},
		{
			"two seconds again after a success",
			append(failing, claimed(2, 30*s, "d0"), lane.Released{Turn: 2}, claimed(3, 30*s, "d0")),
			lane.Hold{At: after(15 * s), Turn: 3},
			list(held(3, 17*s, false)),
		},
		{
			"as long as the receiver asks for", busy,
			lane.Hold{At: after(5 * s), Turn: 1, Wait: 60 * s},
			list(held(1, 65*s, true)),
		},
		{
			"but an hour at most", busy,
			lane.Hold{At: after(5 * s), Turn: 1, Wait: day},
			list(held(1, time.Hour+5*s, true)),
		},
		{"the failure of another turn holds nothing", busy, lane.Hold{At: after(5 * s), Turn: 2, Wait: 60 * s}, nil},
		{"it holds once", limited, lane.Hold{At: after(6 * s), Turn: 1, Wait: 60 * s}, nil},
		{"a held channel is left alone", limited, claim(7*s-1, waiting(3)), nil},
		{"what a test is told counts for all", nil, lane.Hold{At: start, Wait: 9 * s}, list(held(0, 9*s, true))},
		{"during a turn too", busy, lane.Hold{At: start, Wait: 9 * s}, list(held(0, 9*s, true))},
		{"if it asks for more", limited, lane.Hold{At: start, Wait: 6 * s}, nil},
		{"if it asks for anything", nil, lane.Hold{At: start}, nil},
		{"a turn outlasts what a test is told", append(busy, held(0, 9*s, true)), claim(10*s, waiting(3)), nil},
		{"a human need not wait", failing, lane.Resume{At: after(s)}, list(lane.Resumed{})},
		{"a human waits if the receiver asks", limited, lane.Resume{At: after(s)}, nil},
		{"nobody waits", failing, lane.Resume{At: after(2 * s)}, nil},
		{
			"what was resumed is free", append(failing, lane.Resumed{}), claim(s, waiting(1)),
			list(claimed(2, 21*s, "d0")),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := lane.Decide(fold(tt.given...), tt.when)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLaws draws commands: one process at a time has the turn, nothing is sent to a channel that is
// held, and a repeat does nothing.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s lane.State
		now, until := start, start
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			turn := rapid.IntRange(0, s.Turn+1).Draw(t, "turn")
			c := rapid.SampledFrom([]lane.Command{
				lane.Claim{At: now, Waiting: waiting(rapid.IntRange(0, 9).Draw(t, "waiting"))},
				lane.Release{Turn: turn},
				lane.Hold{At: now, Turn: turn, Jitter: 0.3},
				lane.Hold{At: now, Turn: turn, Wait: time.Minute},
				lane.Resume{At: now},
			}).Draw(t, "command")
			events, err := lane.Decide(s, c)
			if err != nil || len(events) > 1 {
				t.Fatalf("%T: %v %v", c, events, err)
			}
			before := s
			for _, e := range events {
				s = lane.Evolve(s, domain.Fact[lane.Event]{Event: e, At: now})
				if turn, begins := e.(lane.Claimed); begins {
					if now.Before(before.HeldUntil) || before.Claimed && now.Before(until) ||
						len(turn.Deliveries) == 0 {
						t.Fatalf("a turn begins at %v: %+v", now, before)
					}
					until = turn.Until
				}
			}
			if again, err := lane.Decide(s, c); err != nil || len(again) != 0 {
				t.Fatalf("%T again: %v %v", c, again, err)
			}
		}
	})
}
