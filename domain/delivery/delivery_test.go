package delivery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/delivery"
)

var (
	start  = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	queued = delivery.Queued{
		OrganizationID: "org", ChannelID: "c1", Topic: domain.AccessRequested,
		About: delivery.About{AgentID: "a1", ToolID: "t1"},
	}
)

func after(d time.Duration) time.Time { return start.Add(d) }

// fold lets each event happen a second after the one before.
func fold(events ...delivery.Event) (s delivery.State) {
	for i, e := range events {
		s = delivery.Evolve(s, domain.Fact[delivery.Event]{Event: e, At: after(time.Duration(i) * time.Second)})
	}
	return s
}

func claimed(attempt int, until time.Duration) delivery.Claimed {
	return delivery.Claimed{Attempt: attempt, Until: after(until)}
}

// claim asks for the turn for as long as a channel's queue gives it.
func claim(at time.Duration) delivery.Claim {
	return delivery.Claim{At: after(at), Until: after(at + 20*time.Second)}
}

func failedAlone(attempt int, next time.Duration) delivery.Failed {
	return delivery.Failed{Attempt: attempt, Problem: "p", NextAt: after(next), Alone: true}
}

func failed(attempt int, next time.Duration) delivery.Failed {
	return delivery.Failed{Attempt: attempt, Problem: "p", NextAt: after(next)}
}

func TestDecide(t *testing.T) {
	const s, day = time.Second, 24 * time.Hour
	list := func(events ...delivery.Event) []delivery.Event { return events }
	begun, tried := list(queued), list(queued, claimed(1, 20*s))
	again := append(tried, failed(1, 10*s))
	done, dead := append(tried, delivery.Succeeded{Attempt: 1}), append(
		tried, delivery.Abandoned{Attempt: 1, Problem: "p"},
	)
	tests := []struct {
		name  string
		given []delivery.Event
		when  delivery.Command
		then  []delivery.Event
		code  string
	}{
		{"it is queued", nil, delivery.Queue(queued), list(queued), ""},
		{"it is queued once, whatever became of it", done, delivery.Queue(queued), nil, ""},
		{"it is queued and tried at once", nil, delivery.Try{What: queued, At: start}, tried, ""},
		{"but that once", begun, delivery.Try{What: queued, At: start}, nil, ""},
		{"a delivery that was never queued can't be sent", nil, claim(s), nil, "not_found"},
		{"nor asks for it again", nil, delivery.Requeue{}, nil, "not_found"},
		{"who comes first has the turn", begun, claim(0), list(claimed(1, 20*s)), ""},
		{"who comes second has not", tried, claim(19 * s), nil, ""},
		{
			"a turn that was left behind is taken over", tried,
			claim(20 * s),
			list(claimed(2, 40*s)), "",
		},
		{"it is not tried before its time", again, claim(9 * s), nil, ""},
		{"at its time it is", again, claim(10 * s), list(claimed(2, 30*s)), ""},
		{"what is delivered is not tried again", done, claim(day), nil, ""},
		{"nor what was given up", dead, claim(day), nil, ""},

		{"it is delivered", tried, delivery.Succeed{Attempt: 1}, list(delivery.Succeeded{Attempt: 1}), ""},
		{"it is delivered once", done, delivery.Succeed{Attempt: 1}, nil, ""},
		{
			"it is delivered by whom another had overtaken", append(tried, claimed(2, 40*s)),
			delivery.Succeed{Attempt: 1},
			list(delivery.Succeeded{Attempt: 1}), "",
		},
		{
			"it is delivered although it was given up", dead,
			delivery.Succeed{Attempt: 1},
			list(delivery.Succeeded{Attempt: 1}), "",
		},
		{"an attempt that never was delivers nothing", tried, delivery.Succeed{Attempt: 2}, nil, ""},

		{
			"a failure is tried again when its channel continues", tried,
			delivery.Fail{At: after(5 * s), Attempt: 1, Problem: "p", NextAt: after(65 * s)},
			list(failed(1, 65*s)), "",
		},
		{
			"a text that is refused is tried again after two seconds", tried,
			delivery.Fail{At: after(5 * s), Attempt: 1, Problem: "p", Alone: true},
			list(failedAlone(1, 7*s)), "",
		},
		{
			"or a little sooner", tried,
			delivery.Fail{At: after(5 * s), Attempt: 1, Problem: "p", Alone: true, Jitter: 1},
			list(failedAlone(1, 6*s)), "",
		},
		{
			"twice as long after a second one", append(again, claimed(2, 30*s)),
			delivery.Fail{At: after(15 * s), Attempt: 2, Problem: "p", Alone: true},
			list(failedAlone(2, 19*s)), "",
		},
		{
			"at once when it is our fault", tried,
			delivery.Fail{At: after(5 * s), Attempt: 1, Problem: "p"},
			list(failed(1, 5*s)), "",
		},
		{
			"never when that is of no use", tried,
			delivery.Fail{At: after(5 * s), Attempt: 1, Problem: "p", Never: true, NextAt: after(7 * s)},
			list(delivery.Abandoned{Attempt: 1, Problem: "p"}), "",
		},
		{
			"a day after it was queued it is given up", tried,
			delivery.Fail{At: after(day - s), Attempt: 1, Problem: "p", NextAt: after(day + s)},
			list(delivery.Abandoned{Attempt: 1, Problem: "p"}), "",
		},
		{
			"a moment before it is not", tried,
			delivery.Fail{At: after(day - 3*s), Attempt: 1, Problem: "p", NextAt: after(day - s)},
			list(failed(1, day-s)), "",
		},
		{
			"it is delivered in a digest", tried,
			delivery.Succeed{Attempt: 1, Digest: "g"},
			list(delivery.Succeeded{Attempt: 1, Digest: "g"}), "",
		},
		{"a failure counts once", again, delivery.Fail{At: after(6 * s), Attempt: 1, Problem: "p"}, nil, ""},
		{
			"a failure that another attempt has overtaken does not count", append(tried, claimed(2, 40*s)),
			delivery.Fail{At: after(21 * s), Attempt: 1, Problem: "p"},
			nil, "",
		},
		{"nor one of what is delivered", done, delivery.Fail{At: after(6 * s), Attempt: 1, Problem: "p"}, nil, ""},

		{"a dead letter is sent again", dead, delivery.Requeue{}, list(delivery.Requeued{}), ""},
		{"what waits need not wait", again, delivery.Requeue{}, list(delivery.Requeued{}), ""},
		{"what is on its way is", tried, delivery.Requeue{}, nil, ""},
		{"what is delivered stays so", done, delivery.Requeue{}, nil, ""},
		{
			"what is sent again has the turn at once", append(dead, delivery.Requeued{}),
			claim(3 * s),
			list(claimed(2, 23*s)), "",
		},
		{
			"and another day", append(dead, delivery.Requeued{}, claimed(2, 30*s)),
			delivery.Fail{At: after(day), Attempt: 2, Problem: "p", NextAt: after(day + 2*s)},
			list(failed(2, day+2*s)), "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := delivery.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestItIsTriedForADay lets every attempt fail: the pauses grow to an hour, and the last attempt is
// within the day.
func TestItIsTriedForADay(t *testing.T) {
	s, now := fold(queued), start
	step := func(c delivery.Command) delivery.Event {
		events, err := delivery.Decide(s, c)
		if err != nil || len(events) != 1 {
			t.Fatalf("%T at %v: %v %v", c, now.Sub(start), events, err)
		}
		s = delivery.Evolve(s, domain.Fact[delivery.Event]{Event: events[0], At: now})
		return events[0]
	}
	for longest := time.Duration(0); ; {
		step(delivery.Claim{At: now, Until: now.Add(20 * time.Second)})
		f, again := step(
			delivery.Fail{At: now, Attempt: s.Attempts, Problem: "p", Alone: true, Jitter: 0.5},
		).(delivery.Failed)
		if !again {
			break
		}
		if pause := f.NextAt.Sub(now); pause < longest || pause > delivery.MaxPause || pause < time.Second {
			t.Fatalf("after attempt %d it waits %v, and %v before", s.Attempts, pause, longest)
		} else {
			longest, now = pause, f.NextAt
		}
	}
	if s.Status != delivery.Dead || s.Attempts < 20 || s.Attempts > 100 || now.Sub(start) < 23*time.Hour ||
		now.Sub(start) > 24*time.Hour {
		t.Errorf("%s after %d attempts in %v", s.Status, s.Attempts, now.Sub(start))
	}
}

// TestLaws draws commands: a repeat does nothing, a refusal has no events, one process at a time
// has the turn, and what is delivered stays so.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s delivery.State
		now, turns := start, 0
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "seconds")) * time.Second)
			attempt := rapid.IntRange(0, s.Attempts+1).Draw(t, "attempt")
			c := rapid.SampledFrom([]delivery.Command{
				delivery.Queue(queued),
				delivery.Try{What: queued, At: now},
				delivery.Claim{At: now, Until: now.Add(20 * time.Second)},
				delivery.Claim{At: now, Until: now.Add(20 * time.Second)},
				delivery.Claim{At: now, Until: now.Add(20 * time.Second)},
				delivery.Requeue{},
				delivery.Succeed{Attempt: attempt},
				delivery.Fail{At: now, Attempt: attempt, Problem: "p", Alone: true, Jitter: 0.3},
				delivery.Fail{At: now, Attempt: attempt, Problem: "p", NextAt: now.Add(time.Minute)},
				delivery.Fail{At: now, Attempt: attempt, Problem: "p", Never: true},
			}).Draw(t, "command")
			before := s
			events, err := delivery.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and has events", c)
			}
			for _, e := range events {
				s = delivery.Evolve(s, domain.Fact[delivery.Event]{Event: e, At: now})
				if e, ok := e.(delivery.Claimed); ok {
					if turns++; e.Attempt != turns || before.Claimed && now.Before(before.DueAt) {
						t.Fatalf("two have the turn: attempt %d is claimed on %+v", e.Attempt, before)
					}
				}
			}
			if again, _ := delivery.Decide(s, c); len(again) > 0 {
				t.Fatalf("%T twice made more events: %v", c, again)
			}
			if before.Status == delivery.Delivered && s.Status != delivery.Delivered {
				t.Fatalf("what was delivered is %s after %T", s.Status, c)
			}
			if ended := s.Status == delivery.Delivered ||
				s.Status == delivery.Dead; s.Status != "" && ended != s.DueAt.IsZero() {
				t.Fatalf("%s and due at %v", s.Status, s.DueAt)
			}
		}
	})
}

// TestFoldingNeverFails folds events in orders that no decision would ever make.
func TestFoldingNeverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []delivery.Event
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			events = append(events, rapid.SampledFrom([]delivery.Event{
				queued, claimed(1, time.Second), claimed(-1, 0),
				delivery.Succeeded{Attempt: 9},
				failed(3, time.Hour),
				delivery.Abandoned{},
				delivery.Requeued{},
			}).Draw(t, "event"))
		}
		fold(events...)
	})
}

func codeOf(err error) string {
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refusal.Code
	}
	if err != nil {
		return "fault: " + err.Error()
	}
	return ""
}
