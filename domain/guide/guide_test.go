package guide_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/guide"
)

var (
	start = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	admin = domain.Actor{Type: domain.ActorService, ID: "token"}
)

func fold(events ...guide.Event) guide.State {
	var s guide.State
	for _, e := range events {
		s = guide.Evolve(s, domain.Fact[guide.Event]{Event: e, At: start, By: admin})
	}
	return s
}

func tell(id, agent, text, why string) guide.Suggest {
	return guide.Suggest{
		NoteID: id, ToolID: "t", AgentID: agent, Learned: text, FoldedText: text, Why: why, GuideVersion: 2,
	}
}

func made(id, agent, text, why string) guide.Event { return guide.NoteMade(tell(id, agent, text, why)) }

func TestDecide(t *testing.T) {
	no := guide.NoteDismissed{NoteID: "1", ToolID: "t", Reason: "it is wrong"}
	taken := guide.NoteAccepted{NoteID: "1", ToolID: "t", GuideVersion: 3}
	tests := []struct {
		name  string
		given []guide.Event
		when  guide.Command
		then  []guide.Event
		code  string
	}{
		{"something new", nil, tell("1", "a", "x", "why"), []guide.Event{made("1", "a", "x", "why")}, ""},
		{
			"something else",
			[]guide.Event{made("1", "a", "x", "why")},
			tell("2", "a", "y", "why"),
			[]guide.Event{made("2", "a", "y", "why")},
			"",
		},
		{
			"another learned the same",
			[]guide.Event{made("1", "a", "x", "why")},
			tell("2", "b", "x", "why"),
			[]guide.Event{guide.NoteBacked{NoteID: "1", ToolID: "t", AgentID: "b", Why: "why"}},
			"",
		},
		{
			"the same for the same reason",
			[]guide.Event{made("1", "a", "x", "why")},
			tell("2", "a", "x", "why"), nil,
			"",
		},
		{
			"the same for another reason",
			[]guide.Event{made("1", "a", "x", "why")},
			tell("2", "a", "x", "so"),
			[]guide.Event{guide.NoteBacked{NoteID: "1", ToolID: "t", AgentID: "a", Why: "so"}},
			"",
		},
		{
			"it was dismissed",
			[]guide.Event{made("1", "a", "x", "why"), no},
			tell("2", "b", "x", "why"), nil,
			"suggestion_dismissed",
		},
		{
			"it was taken up and is told again",
			[]guide.Event{made("1", "a", "x", "why"), taken},
			tell("2", "b", "x", "why"),
			[]guide.Event{made("2", "b", "x", "why")},
			"",
		},

		{
			"it is dismissed",
			[]guide.Event{made("1", "a", "x", "why")},
			guide.Dismiss{NoteID: no.NoteID, ToolID: no.ToolID, Reason: no.Reason},
			[]guide.Event{no},
			"",
		},
		{
			"it is dismissed twice",
			[]guide.Event{made("1", "a", "x", "why"), no},
			guide.Dismiss{NoteID: no.NoteID, ToolID: no.ToolID, Reason: no.Reason},
			nil, "already_decided",
		},
		{
			"it is dismissed after it was taken up",
			[]guide.Event{made("1", "a", "x", "why"), taken},
			guide.Dismiss{NoteID: no.NoteID, ToolID: no.ToolID, Reason: no.Reason},
			nil, "already_decided",
		},
		{
			"an unknown note is dismissed", nil,
			guide.Dismiss{NoteID: no.NoteID, ToolID: no.ToolID, Reason: no.Reason},
			nil, "not_found",
		},
		{"it is taken up", []guide.Event{made("1", "a", "x", "why")}, guide.Accept(taken), []guide.Event{taken}, ""},
		{"it is taken up twice", []guide.Event{made("1", "a", "x", "why"), taken}, guide.Accept(taken), nil, ""},
		{
			"a note that a guide already has counts as accepted, even if it was dismissed meanwhile",
			[]guide.Event{made("1", "a", "x", "why"), no},
			guide.Accept(taken),
			[]guide.Event{taken},
			"",
		},
		{"an unknown note is accepted", nil, guide.Accept(taken), nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := guide.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events, anyDigest); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOneAgentLeavesRoomForTheNotesOfOthers fills the share of one agent.
func TestOneAgentLeavesRoomForTheNotesOfOthers(t *testing.T) {
	var share []guide.Event
	for i := range guide.MaxOfOne {
		share = append(share, made(fmt.Sprint(i), "a", fmt.Sprint(i), "why"))
	}
	if _, err := guide.Decide(fold(share...), tell("x", "a", "new", "why")); codeOf(err) != "too_many_waiting" {
		t.Errorf("one more of the same agent: %v", err)
	}
	if _, err := guide.Decide(fold(share...), tell("x", "b", "new", "why")); err != nil {
		t.Errorf("one of another agent: %v", err)
	}
}

func TestNotesAreBounded(t *testing.T) {
	var many []guide.Event
	for i := range guide.MaxPending {
		many = append(many, made(fmt.Sprint(i), fmt.Sprint("a", i/guide.MaxOfOne), fmt.Sprint(i), "why"))
	}
	for i := range guide.MaxBackers - 1 {
		many = append(many, guide.NoteBacked{NoteID: "0", ToolID: "t", AgentID: fmt.Sprint("b", i), Why: "why"})
	}
	for _, c := range []guide.Command{tell("x", "z", "new", "why"), tell("x", "c", "0", "why")} {
		if _, err := guide.Decide(fold(many...), c); codeOf(err) != "too_many_waiting" {
			t.Errorf("one more: %v", err)
		}
	}
}

// TestLaws draws commands: a repeat makes no second event, a refusal none, of one text at most one
// note waits, and nobody changes a state behind another's back.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s guide.State
		for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
			id := fmt.Sprint(rapid.IntRange(0, i).Draw(t, "id"))
			text := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "text")
			c := []guide.Command{
				tell(fmt.Sprint(i), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "agent"), text, text),
				guide.Accept{NoteID: id, ToolID: "t", GuideVersion: i},
				guide.Dismiss{NoteID: id, ToolID: "t", Reason: "no"},
			}[rapid.IntRange(0, 2).Draw(t, "command")]
			old, before := s, encoded(t, s)
			events, err := guide.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and has events", c)
			}
			for _, e := range events {
				s = guide.Evolve(s, domain.Fact[guide.Event]{Event: e, At: start, By: admin})
			}
			if again, _ := guide.Decide(s, c); len(again) > 0 {
				t.Fatalf("%T twice made more events: %v", c, again)
			}
			if encoded(t, old) != before {
				t.Fatalf("%T changed a state that others may hold", c)
			}
			waiting := map[string]int{}
			for _, n := range s.Notes {
				if waiting[n.FoldedText] += map[guide.Status]int{
					guide.Pending: 1,
				}[n.Status]; waiting[n.FoldedText] > 1 {
					t.Fatalf("%s waits twice", n.FoldedText)
				}
			}
		}
	})
}

func encoded(t *rapid.T, s guide.State) string {
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
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

// TestANoteIsDismissedAsItWasSeen: one that another agent backed since is not, and the event says
// what it was.
func TestANoteIsDismissedAsItWasSeen(t *testing.T) {
	before := fold(made("1", "a", "x", "why"))
	c := guide.Dismiss{NoteID: "1", ToolID: "t", Reason: "no", Seen: domain.Seen{"other", before.Digest("1")}}
	if events, err := guide.Decide(before, c); err != nil ||
		!cmp.Equal(
			events,
			[]guide.Event{guide.NoteDismissed{NoteID: "1", ToolID: "t", Reason: "no", DecidedOn: before.Digest("1")}},
		) {
		t.Errorf("as it was seen: %v %v", events, err)
	}
	after := fold(made("1", "a", "x", "why"), guide.NoteBacked{NoteID: "1", ToolID: "t", AgentID: "b", Why: "why"})
	if _, err := guide.Decide(after, c); codeOf(err) != "revision_stale" {
		t.Errorf("another backs it: %v", err)
	}
}

// anyDigest leaves the digest of what was decided on out of a comparison.
var anyDigest = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".DecidedOn" }, cmp.Ignore())
