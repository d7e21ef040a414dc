package organization_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/organization"
)

var (
	start  = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	system = domain.Actor{Type: domain.ActorSystem, ID: "installation"}
)

func created() organization.Event { return organization.Created{Name: "Default"} }

func token(number int, hash string) organization.TokenCreated {
	return organization.TokenCreated{
		Number: number, TokenID: fmt.Sprint("t", number, hash), Sealed: "5ea1ed", Role: domain.RoleAdmin, Hash: hash,
	}
}

func create(number int, hash string) organization.CreateToken {
	e := token(number, hash)
	return organization.CreateToken{
		Number: e.Number, TokenID: e.TokenID, Sealed: e.Sealed, Role: e.Role, Hash: e.Hash,
		By: organization.Giver{Operator: true}, At: start,
	}
}

func month(name, through string) organization.EraseMonth {
	return organization.EraseMonth{Month: name, Through: through, Days: 3, Reason: "its time is over"}
}

func fold(events ...organization.Event) organization.State {
	var s organization.State
	for _, e := range events {
		s = organization.Evolve(s, domain.Fact[organization.Event]{Event: e, At: start, By: system})
	}
	return s
}

func TestDecide(t *testing.T) {
	first := create(organization.ConfiguredToken, "a")
	nobody := create(1, "b")
	nobody.Role = "janitor"
	tests := []struct {
		name  string
		given []organization.Event
		when  organization.Command
		then  []organization.Event
		code  string
	}{
		{
			"an organization begins with its first token in one write", nil,
			organization.Create{Name: "Default", Token: &first},
			[]organization.Event{created(), token(0, "a")},
			"",
		},
		{"or without one", nil, organization.Create{Name: "Default"}, []organization.Event{created()}, ""},
		{
			"creating it again does nothing",
			[]organization.Event{created()},
			organization.Create{Name: "Other", Token: &first},
			nil, "",
		},
		{"an unknown organization gets no token", nil, create(1, "b"), nil, "not_found"},
		{"an unknown organization has no token to revoke", nil, organization.RevokeToken{TokenID: "t1b"}, nil, "not_found"},
		{"a token is added", []organization.Event{created()}, create(1, "b"), []organization.Event{token(1, "b")}, ""},
		{"the same token again does nothing", []organization.Event{created(), token(1, "b")}, create(1, "b"), nil, ""},
		{
			"the configured token is replaced",
			[]organization.Event{created(), token(0, "a")},
			create(0, "b"),
			[]organization.Event{token(0, "b")},
			"",
		},
		{"a role that does not exist", []organization.Event{created()}, nobody, nil, "validation_failed"},
		{
			"a month is erased",
			[]organization.Event{created()},
			month("2026-03", "2026-03-31"),
			[]organization.Event{organization.MonthErased(month("2026-03", "2026-03-31"))},
			"",
		},
		{
			"once",
			[]organization.Event{created(), organization.MonthErased(month("2026-03", "2026-03-31"))},
			month("2026-03", "2026-03-31"),
			nil, "",
		},
		{
			"the present month is erased again when more of it is over",
			[]organization.Event{created(), organization.MonthErased(month("2026-03", "2026-03-04"))},
			month("2026-03", "2026-03-05"),
			[]organization.Event{organization.MonthErased(month("2026-03", "2026-03-05"))},
			"",
		},
		{
			"by a clock that is behind it is not",
			[]organization.Event{created(), organization.MonthErased(month("2026-03", "2026-03-04"))},
			month("2026-03", "2026-03-03"),
			nil, "",
		},
		{"no organization has no months", nil, month("2026-03", "2026-03-31"), nil, "not_found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := organization.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLaws draws commands: a repeat does nothing, a refusal has no events, a number that the state
// gave out is never given out again, and a state that others hold never changes.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s organization.State
		var facts []domain.Fact[organization.Event]
		used := map[int]bool{}
		for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
			var c organization.Command
			switch rapid.IntRange(0, 8).Draw(t, "command") {
			case 0:
				c = organization.Create{Name: "n"}
			case 1:
				c = create(organization.ConfiguredToken, fmt.Sprint("h", i))
			case 2:
				c = tokenCommand(t, s)
			case 3, 4, 5:
				c = channelCommand(t)
			case 6:
				c = month(
					rapid.SampledFrom([]string{"2026-03", "2026-04"}).Draw(t, "month"),
					rapid.SampledFrom([]string{"2026-03-05", "2026-04-30"}).Draw(t, "through"),
				)
			default:
				c = create(s.NextToken, fmt.Sprint("h", i))
				if s.Exists && used[s.NextToken] {
					t.Fatalf("number %d is given out twice", s.NextToken)
				}
			}
			before, old := encoded(t, s), s
			events, err := organization.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and has events", c)
			}
			for _, e := range events {
				f := domain.Fact[organization.Event]{Event: e, At: start, By: system}
				s, facts = organization.Evolve(s, f), append(facts, f)
				if made, ok := e.(organization.TokenCreated); ok {
					used[made.Number] = true
				}
			}
			if encoded(t, old) != before {
				t.Fatalf("%T changed a state that others may hold", c)
			}
			if again, _ := organization.Decide(s, c); len(again) > 0 {
				t.Fatalf("%T twice made more events: %v", c, again)
			}
		}
		checkFolds(t, s, facts)
	})
}

func checkFolds(t *rapid.T, want organization.State, facts []domain.Fact[organization.Event]) {
	cut := rapid.IntRange(0, len(facts)).Draw(t, "cut")
	var s, from organization.State
	for _, f := range facts[:cut] {
		s = organization.Evolve(s, f)
	}
	if err := json.Unmarshal([]byte(encoded(t, s)), &from); err != nil {
		t.Fatal(err)
	}
	for _, f := range facts[cut:] {
		from = organization.Evolve(from, f)
	}
	if encoded(t, want) != encoded(t, from) {
		t.Fatalf("folded from a snapshot:\n%s", cmp.Diff(want, from))
	}
}

// TestFoldingNeverFails folds events in orders that no decision would ever make.
func TestFoldingNeverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s organization.State
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			before := encoded(t, s)
			next := organization.Evolve(s, domain.Fact[organization.Event]{
				At: start, By: system,
				Event: rapid.SampledFrom([]organization.Event{
					created(), token(0, "a"), token(5, "b"), token(-1, ""),
					organization.TokenRevoked{Number: 5},
					organization.TokenRevoked{Number: 9},
					organization.MonthErased(month("2026-03", "2026-03-31")),
					organization.MonthErased{},
					added("c1"),
					organization.ChannelUpdated{ChannelID: "c1", Name: new("n"), SecretID: "s2"},
					organization.ChannelRemoved{ChannelID: "c2"},
				}).Draw(t, "event"),
			})
			if encoded(t, s) != before {
				t.Fatal("folding changed a state that others may hold")
			}
			s = next
		}
	})
}

func encoded(t *rapid.T, s organization.State) string {
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
