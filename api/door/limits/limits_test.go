package limits_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/api/door/limits"
)

type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.now.Load()) }
func (c *clock) Advance(d time.Duration) { c.now.Add(int64(d)) }

func start() (*clock, *limits.Memory) {
	c := &clock{}
	c.now.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c, limits.NewMemory(c.Now)
}

func must(t *testing.T, d limits.Decision, err error) limits.Decision {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestThirtyAnHourLetsThirtyThroughAtOnceThenOneEachTwoMinutes(t *testing.T) {
	c, l := start()
	rule := limits.Rule{Limit: 30, Window: time.Hour}
	take := func() limits.Decision {
		t.Helper()
		d, err := l.Allow(t.Context(), "a", rule)
		return must(t, d, err)
	}
	for i := range 30 {
		if d := take(); !d.Allowed {
			t.Fatalf("call %d was refused", i+1)
		}
	}
	refused := take()
	if refused.Allowed || refused.RetryAfter <= 0 || refused.RetryAfter > 2*time.Minute {
		t.Fatalf("the 31st: %+v, want refused with up to two minutes", refused)
	}
	c.Advance(2 * time.Minute)
	if !take().Allowed {
		t.Error("none was allowed two minutes later")
	}
	if take().Allowed {
		t.Error("two were allowed two minutes later")
	}
	d, err := l.Allow(t.Context(), "b", rule)
	if !must(t, d, err).Allowed {
		t.Error("another caller was refused")
	}
}

func TestPeekTakesNothing(t *testing.T) {
	_, l := start()
	rule := limits.Rule{Limit: 2, Window: time.Minute}
	for range 5 {
		d, err := l.Peek(t.Context(), "a", rule)
		if d = must(t, d, err); d.Remaining != 2 || !d.Allowed {
			t.Fatalf("peek: %+v, want two left", d)
		}
	}
	for range 2 {
		d, err := l.Allow(t.Context(), "a", rule)
		if !must(t, d, err).Allowed {
			t.Fatal("refused within the limit")
		}
	}
	d, err := l.Peek(t.Context(), "a", rule)
	if d = must(t, d, err); d.Remaining != 0 || d.Allowed || d.RetryAfter <= 0 || d.RetryAfter > 30*time.Second {
		t.Errorf("peek at an empty bucket: %+v", d)
	}
}

func TestCallersAtOnceGetExactlyTheBurst(t *testing.T) {
	_, l := start()
	rule := limits.Rule{Limit: 50, Window: time.Minute}
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			if d, err := l.Allow(context.Background(), "a", rule); err == nil && d.Allowed {
				allowed.Add(1)
			}
		})
	}
	group.Wait()
	if n := allowed.Load(); n != 50 {
		t.Errorf("%d were allowed, want 50", n)
	}
}

func TestKeysThatAreFullAgainAreForgotten(t *testing.T) {
	c, l := start()
	rule := limits.Rule{Limit: 10, Window: time.Minute}
	for i := range 1000 {
		if _, err := l.Allow(t.Context(), strconv.Itoa(i), rule); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour)
	for range 1000 {
		if _, err := l.Allow(t.Context(), "busy", rule); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Len(); n != 1 {
		t.Errorf("%d keys are kept, want 1", n)
	}
}

func TestRules(t *testing.T) {
	for text, want := range map[string]limits.Rule{
		"120/1m": {Limit: 120, Window: time.Minute}, "30/1h": {Limit: 30, Window: time.Hour}, "off": {},
	} {
		got, err := limits.ParseRule(text)
		if err != nil || got != want || got.Off() != (text == "off") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "120", "0/1m", "-1/1m", "1/1ms", "1/48h", "x/1m", "1/x", "OFF", "9999999/1m"} {
		if got, err := limits.ParseRule(text); err == nil {
			t.Errorf("%q was taken as %+v", text, got)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	l := limits.NewMemory(time.Now)
	rule := limits.Rule{Limit: 1_000_000, Window: time.Second}
	for b.Loop() {
		if _, err := l.Allow(b.Context(), "a", rule); err != nil {
			b.Fatal(err)
		}
	}
}
