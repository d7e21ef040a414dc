package person_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/person"
)

var (
	recorded = person.Recorded{OrganizationID: "acme", KeyID: "key-1", Sealed: "5ea1ed"}
	erased   = person.Erased{OrganizationID: "acme"}
	erase    = person.Erase{OrganizationID: "acme"}
	token    = person.Erase{OrganizationID: "acme", Token: true}
)

func fold(events ...person.Event) (s person.State) {
	for _, e := range events {
		s = person.Evolve(s, domain.Fact[person.Event]{Event: e})
	}
	return s
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given []person.Event
		when  person.Command
		then  []person.Event
		code  string
	}{
		{"a person is erased", []person.Event{recorded}, erase, []person.Event{erased}, ""},
		{"once", []person.Event{recorded, erased}, erase, nil, ""},
		{"a service token has no stream before", nil, token, []person.Event{erased}, ""},
		{"and is erased once", []person.Event{erased}, token, nil, ""},
		{"nobody is not found", nil, erase, nil, "not_found"},
		{
			"another organization's person is nobody",
			[]person.Event{recorded},
			person.Erase{OrganizationID: "globex"},
			nil, "not_found",
		},
		{
			"also under the id of a token",
			[]person.Event{erased},
			person.Erase{OrganizationID: "globex", Token: true},
			nil, "not_found",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := person.Decide(fold(tt.given...), tt.when)
			code := ""
			if refusal, ok := errors.AsType[*domain.Error](err); ok {
				code = refusal.Code
			}
			if code != tt.code || (err != nil) != (tt.code != "") {
				t.Errorf("refused with %q, want %q: %v", code, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLaws draws histories and commands: a refusal has no events, and a repeat adds none.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := fold(rapid.SliceOf(rapid.SampledFrom([]person.Event{
			recorded, erased, person.Recorded{}, person.Erased{OrganizationID: "globex"},
		})).Draw(t, "history")...)
		c := person.Erase{
			OrganizationID: rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "organization"),
			Token:          rapid.Bool().Draw(t, "token"),
		}
		events, err := person.Decide(s, c)
		if err != nil && len(events) > 0 {
			t.Fatal("it was refused and has events")
		}
		for _, e := range events {
			s = person.Evolve(s, domain.Fact[person.Event]{Event: e})
		}
		if again, _ := person.Decide(s, c); len(again) > 0 {
			t.Fatalf("twice made more events: %v", again)
		}
		if err == nil && !s.Erased {
			t.Fatal("it is not erased")
		}
	})
}
