package rulebook_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/rulebook"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func approving(name string) rulebook.Text {
	return rulebook.Text{
		Name: name, FoldedName: name, When: "true", Environment: 1, Effect: rulebook.Approve, MaxSeconds: 60,
	}
}

func on(t rulebook.Text) rulebook.Text { t.Enabled = true; return t }

func fold(events ...rulebook.Event) rulebook.State {
	var s rulebook.State
	for i, e := range events {
		s = rulebook.Evolve(s, domain.Fact[rulebook.Event]{Event: e, At: noon.Add(time.Duration(i) * time.Minute)})
	}
	return s
}

func TestDecisions(t *testing.T) {
	seen := &rulebook.Simulated{Digest: "d", Requests: 3}
	denying := approving("no")
	denying.Effect, denying.MaxSeconds, denying.Reason = rulebook.Deny, 0, "never"
	wordless, longer, quoted := denying, approving("a"), approving("a")
	wordless.Reason, longer.MaxSeconds, quoted.Reason = "", rulebook.MaxSeconds+1, "why"
	endless := approving("a")
	endless.MaxSeconds = 0
	added := rulebook.Added{RuleID: "1", Rule: approving("a")}
	running := rulebook.Added{RuleID: "1", Rule: on(approving("a")), Simulated: seen}
	renamed, slower := on(approving("b")), on(approving("a"))
	slower.MaxSeconds = 61
	var full []rulebook.Event
	for i := range rulebook.MaxRules {
		full = append(full, rulebook.Added{RuleID: fmt.Sprint(i), Rule: approving(fmt.Sprint(i))})
	}
	failed := rulebook.Failed{RuleID: "1", Version: 1, RequestID: "r", Problem: "p"}
	for name, d := range map[string]struct {
		given []rulebook.Event
		when  rulebook.Command
		then  rulebook.Event
		code  string
		field string
	}{
		"a rule begins switched off": {
			when: rulebook.Add{RuleID: "1", Rule: approving("a")}, then: added,
		},
		"a repeat adds nothing": {
			given: []rulebook.Event{added}, when: rulebook.Add{RuleID: "1", Rule: approving("a")},
		},
		"a rule that is on needs what it would have decided": {
			when: rulebook.Add{RuleID: "1", Rule: on(approving("a"))}, code: "simulation_required",
		},
		"and keeps it": {
			when: rulebook.Add{RuleID: "1", Rule: on(approving("a")), Simulated: seen}, then: running,
		},
		"an approval has an end": {
			when: rulebook.Add{RuleID: "1", Rule: endless}, code: "validation_failed", field: "max_seconds",
		},
		"within a year": {
			when: rulebook.Add{RuleID: "1", Rule: longer}, code: "validation_failed", field: "max_seconds",
		},
		"an approval has no reason": {
			when: rulebook.Add{RuleID: "1", Rule: quoted}, code: "validation_failed", field: "reason",
		},
		"a denial has one": {
			when: rulebook.Add{RuleID: "1", Rule: wordless}, code: "validation_failed", field: "reason",
		},
		"another effect is none": {
			when: rulebook.Add{RuleID: "1", Rule: rulebook.Text{Name: "a"}}, code: "validation_failed", field: "effect",
		},
		"names are unique": {
			given: []rulebook.Event{added}, when: rulebook.Add{RuleID: "2", Rule: approving("a")},
			code: "validation_failed", field: "name",
		},
		"a removed rule's name is free": {
			given: []rulebook.Event{added, rulebook.Removed{RuleID: "1"}},
			when:  rulebook.Add{RuleID: "2", Rule: approving("a")}, then: rulebook.Added{RuleID: "2", Rule: approving("a")},
		},
		"there is an end to rules": {
			given: full, when: rulebook.Add{RuleID: "x", Rule: approving("x")}, code: "validation_failed", field: "body",
		},
		"the same text changes nothing": {
			given: []rulebook.Event{added}, when: rulebook.Change{RuleID: "1", Rule: approving("a")},
		},
		"switching on needs what it would have decided": {
			given: []rulebook.Event{added}, when: rulebook.Change{RuleID: "1", Rule: on(approving("a"))},
			code: "simulation_required",
		},
		"switching on is a version": {
			given: []rulebook.Event{added},
			when:  rulebook.Change{RuleID: "1", Rule: on(approving("a")), Simulated: seen},
			then:  rulebook.Changed{RuleID: "1", Version: 2, Rule: on(approving("a")), Simulated: seen},
		},
		"so does another length of a rule that is on": {
			given: []rulebook.Event{running}, when: rulebook.Change{RuleID: "1", Rule: slower}, code: "simulation_required",
		},
		"another name doesn't": {
			given: []rulebook.Event{running}, when: rulebook.Change{RuleID: "1", Rule: renamed},
			then: rulebook.Changed{RuleID: "1", Version: 2, Rule: renamed},
		},
		"nor does switching off": {
			given: []rulebook.Event{running}, when: rulebook.Change{RuleID: "1", Rule: approving("a")},
			then: rulebook.Changed{RuleID: "1", Version: 2, Rule: approving("a")},
		},
		"an edit is of the version that was read": {
			given: []rulebook.Event{added},
			when:  rulebook.Change{RuleID: "1", Rule: approving("b"), IfRevision: domain.Revisions{2}}, code: "revision_stale",
		},
		"a removal too": {
			given: []rulebook.Event{added}, when: rulebook.Remove{RuleID: "1", IfRevision: domain.Revisions{2}},
			code: "revision_stale",
		},
		"a rule is removed": {
			given: []rulebook.Event{added}, when: rulebook.Remove{RuleID: "1"}, then: rulebook.Removed{RuleID: "1"},
		},
		"what isn't there isn't changed": {
			when: rulebook.Change{RuleID: "1", Rule: approving("a")}, code: "not_found",
		},
		"nor removed": {when: rulebook.Remove{RuleID: "1"}, code: "not_found"},
		"a failure is noted": {
			given: []rulebook.Event{running}, when: rulebook.Fail(failed), then: failed,
		},
		"the first one alone": {
			given: []rulebook.Event{running, failed}, when: rulebook.Fail(failed),
		},
		"and none of a former version": {
			given: []rulebook.Event{running, rulebook.Changed{RuleID: "1", Version: 2, Rule: renamed}},
			when:  rulebook.Fail(failed),
		},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := rulebook.Decide(fold(d.given...), d.when)
			refusal, _ := errors.AsType[*domain.Error](err)
			switch {
			case d.code == "" && err != nil:
				t.Fatal(err)
			case d.code != "" && (refusal == nil || refusal.Code != d.code || len(events) > 0):
				t.Fatalf("%v, %v; want %s", events, err, d.code)
			case d.field != "" && refusal.Fields[0].Field != d.field:
				t.Errorf("the refusal is of %s, not %s", refusal.Fields[0].Field, d.field)
			}
			var want []rulebook.Event
			if d.then != nil {
				want = []rulebook.Event{d.then}
			}
			if diff := cmp.Diff(want, events); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyWhatWasOnDecides(t *testing.T) {
	s := fold(
		rulebook.Added{RuleID: "1", Rule: on(approving("a"))}, rulebook.Added{RuleID: "2", Rule: approving("b")},
		rulebook.Added{RuleID: "3", Rule: on(approving("c"))},
	)
	for after, want := range map[time.Duration]string{-time.Second: "", 0: "1", 2 * time.Minute: "13"} {
		got := ""
		for _, r := range s.At(noon.Add(after)) {
			got += r.ID
		}
		if got != want {
			t.Errorf("after %s the rules %q decide, not %q", after, got, want)
		}
	}
}

func TestAVersionEndsWithTheNextOne(t *testing.T) {
	s := fold(
		rulebook.Added{RuleID: "1", Rule: on(approving("a"))}, // at noon
		rulebook.Changed{RuleID: "1", Version: 2, Rule: approving("a")},
		rulebook.Added{RuleID: "2", Rule: on(approving("b"))},
		rulebook.Removed{RuleID: "2"},
	)
	for _, tt := range []struct {
		id      string
		version int
		after   time.Duration
		want    bool
	}{
		{"1", 1, 30 * time.Second, false},
		{"1", 1, time.Minute, true},
		{"1", 2, time.Hour, false},
		{"2", 1, 2 * time.Minute, false},
		{"2", 1, 3 * time.Minute, true},
		{"3", 1, time.Hour, false},
	} {
		if got := s.Ended(domain.RuleVersion{ID: tt.id, Version: tt.version}, noon.Add(tt.after)); got != tt.want {
			t.Errorf("version %d of %s has ended by %s: %v", tt.version, tt.id, tt.after, got)
		}
	}
	if s.Name("1") != "a" || s.Name("2") != "b" || s.Name("3") != "" {
		t.Errorf("they are called %q, %q, %q", s.Name("1"), s.Name("2"), s.Name("3"))
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s rulebook.State
		id := rapid.SampledFrom([]string{"1", "2", "3"})
		text := rapid.Custom(func(t *rapid.T) rulebook.Text {
			r := approving(rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "name"))
			r.When = rapid.SampledFrom([]string{"true", "false"}).Draw(t, "when")
			r.Effect = rapid.SampledFrom([]rulebook.Effect{rulebook.Approve, rulebook.Deny}).Draw(t, "effect")
			r.MaxSeconds = rapid.Int64Range(0, 2).Draw(t, "seconds")
			r.Enabled = rapid.Bool().Draw(t, "on")
			return r
		})
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			var seen *rulebook.Simulated
			if rapid.Bool().Draw(t, "seen") {
				seen = &rulebook.Simulated{Digest: "d"}
			}
			var c rulebook.Command
			switch rapid.IntRange(0, 3).Draw(t, "command") {
			case 0:
				c = rulebook.Add{RuleID: id.Draw(t, "id"), Rule: text.Draw(t, "text"), Simulated: seen}
			case 1:
				c = rulebook.Change{RuleID: id.Draw(t, "id"), Rule: text.Draw(t, "text"), Simulated: seen}
			case 2:
				c = rulebook.Remove{RuleID: id.Draw(t, "id")}
			default:
				c = rulebook.Fail{RuleID: id.Draw(t, "id"), Version: rapid.IntRange(1, 3).Draw(t, "version")}
			}
			events, err := rulebook.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("a refusal with events: %v", events)
			}
			before := s
			for _, e := range events {
				s = rulebook.Evolve(s, domain.Fact[rulebook.Event]{Event: e, At: noon.Add(time.Duration(i) * time.Second)})
			}
			if again, _ := rulebook.Decide(s, c); len(events) > 0 && len(again) > 0 {
				t.Fatalf("a repeat made %v", again)
			}
			for _, r := range s.Rules {
				was, _ := before.Find(r.ID)
				otherwise := was.When != r.When || was.Effect != r.Effect || was.MaxSeconds != r.MaxSeconds || !was.Enabled
				if r.Enabled && otherwise && seen == nil {
					t.Fatalf("a rule decides otherwise than before, and nobody was shown what: %+v", r)
				}
				if r.Effect == rulebook.Approve && r.MaxSeconds == 0 {
					t.Fatalf("a rule approves without an end: %+v", r)
				}
			}
		}
	})
}
