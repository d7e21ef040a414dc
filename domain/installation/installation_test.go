package installation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/installation"
)

func begun(store string) installation.Begun {
	return installation.Begun{
		StoreID: store, OrganizationID: "org",
		SigningKey: key("k" + store),
		MasterKeys: []installation.MasterKey{master(1)}, AdminTokenHash: "h", AdminTokenID: "t", MinimumVersion: 1,
	}
}

func key(id string) installation.SigningKey {
	return installation.SigningKey{
		PublicKey: installation.PublicKey{ID: id, Public: "p" + id, SecretID: "s" + id}, MACSecretID: "m" + id,
	}
}

func master(n int) installation.MasterKey {
	return installation.MasterKey{ID: fmt.Sprint("m", n), Check: fmt.Sprint("c", n)}
}

func recorded(n int64) installation.SigningKeysRecorded {
	return installation.SigningKeysRecorded{KeyID: fmt.Sprint("k", n), Revision: n, Link: "l"}
}

func backup(id string) installation.Evidence { return installation.Evidence{BackupID: id} }

// lost is an event of the nth hour.
func lost(n int) installation.Evidence {
	return installation.Evidence{Stream: "agent-1", Revision: int64(n), EventID: fmt.Sprint("e", n), EventAt: hour(n)}
}

func found(e installation.Evidence) installation.Event { return installation.RestoreFound{Evidence: e} }

func hour(n int) time.Time { return time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC) }

// fold lets an hour pass with every event.
func fold(events ...installation.Event) installation.State {
	var s installation.State
	for n, e := range events {
		s = installation.Evolve(s, domain.Fact[installation.Event]{Event: e, At: hour(n)})
	}
	return s
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name  string
		given []installation.Event
		when  installation.Command
		then  []installation.Event
		code  string
	}{
		{"it begins", nil, installation.Begin{Begun: begun("a")}, []installation.Event{begun("a")}, ""},
		{
			"the end of the stream of the signing keys is named",
			[]installation.Event{begun("a"), recorded(1)},
			installation.RecordSigningKeys{Recorded: recorded(2)},
			[]installation.Event{recorded(2)},
			"",
		},
		{
			"it is named once, and never an earlier one",
			[]installation.Event{begun("a"), recorded(2)},
			installation.RecordSigningKeys{Recorded: recorded(1)},
			nil, "",
		},
		{
			"nothing is named before the beginning", nil,
			installation.RecordSigningKeys{Recorded: recorded(1)},
			nil, "not_found",
		},
		{
			"it begins once, whatever other processes try",
			[]installation.Event{begun("a")},
			installation.Begin{Begun: begun("b")},
			nil, "",
		},
		{"no master key before it began", nil, installation.AddMasterKey{MasterKey: master(2)}, nil, "not_found"},
		{
			"a master key is added",
			[]installation.Event{begun("a")},
			installation.AddMasterKey{MasterKey: master(2)},
			[]installation.Event{installation.MasterKeyAdded{MasterKey: master(2)}},
			"",
		},
		{
			"the key that it began with is there",
			[]installation.Event{begun("a")},
			installation.AddMasterKey{MasterKey: master(1)},
			nil, "",
		},
		{"no master key is destroyed before it began", nil, installation.DestroyMasterKey{ID: "m1"}, nil, "not_found"},
		{
			"a master key is destroyed",
			[]installation.Event{begun("a"), installation.MasterKeyAdded{MasterKey: master(2)}},
			installation.DestroyMasterKey{ID: "m1"},
			[]installation.Event{installation.MasterKeyDestroyed{ID: "m1"}},
			"",
		},
		{
			"a master key is destroyed once",
			[]installation.Event{begun("a"), installation.MasterKeyDestroyed{ID: "m1"}},
			installation.DestroyMasterKey{ID: "m1"},
			nil, "",
		},
		{
			"a destroyed master key doesn't come back",
			[]installation.Event{begun("a"), installation.MasterKeyDestroyed{ID: "m1"}},
			installation.AddMasterKey{MasterKey: master(1)},
			nil, "fault: " + installation.ErrDestroyed.Error(),
		},
		{
			"a master key that isn't known is not destroyed",
			[]installation.Event{begun("a")},
			installation.DestroyMasterKey{ID: "m2"},
			nil, "not_found",
		},
		{"no restore before it began", nil, installation.ReportRestore{Evidence: backup("b1")}, nil, "not_found"},
		{
			"a backup is found",
			[]installation.Event{begun("a")},
			installation.ReportRestore{Evidence: backup("b1")},
			[]installation.Event{found(backup("b1"))},
			"",
		},
		{
			"a backup is found once",
			[]installation.Event{begun("a"), found(backup("b1"))},
			installation.ReportRestore{Evidence: backup("b1")},
			nil, "",
		},
		{
			"a backup that was confirmed is known",
			[]installation.Event{begun("a"), found(backup("b1")), installation.RestoreConfirmed{}},
			installation.ReportRestore{Evidence: backup("b1")},
			nil, "",
		},
		{
			"another backup is another matter",
			[]installation.Event{begun("a"), found(backup("b1")), installation.RestoreConfirmed{}},
			installation.ReportRestore{Evidence: backup("b2")},
			[]installation.Event{found(backup("b2"))},
			"",
		},
		{
			"a lost event is found",
			[]installation.Event{begun("a")},
			installation.ReportRestore{Evidence: lost(1)},
			[]installation.Event{found(lost(1))},
			"",
		},
		{
			"one lost event says enough",
			[]installation.Event{begun("a"), found(backup("b1"))},
			installation.ReportRestore{Evidence: lost(9)},
			nil, "",
		},
		{
			"what was lost before a confirmation is settled",
			[]installation.Event{begun("a"), found(lost(1)), installation.RestoreConfirmed{}},
			installation.ReportRestore{Evidence: lost(2)},
			nil, "",
		},
		{
			"what was lost after that is not",
			[]installation.Event{begun("a"), found(lost(1)), installation.RestoreConfirmed{}},
			installation.ReportRestore{Evidence: lost(4)},
			[]installation.Event{found(lost(4))},
			"",
		},
		{
			"nothing to confirm",
			[]installation.Event{begun("a")},
			installation.ConfirmRestore{},
			nil,
			"fault: " + installation.ErrNotRestored.Error(),
		},
		{
			"a restore is confirmed",
			[]installation.Event{begun("a"), found(backup("b1"))},
			installation.ConfirmRestore{SuspendedAgents: 3},
			[]installation.Event{installation.RestoreConfirmed{SuspendedAgents: 3}},
			"",
		},
		{
			"a master key is added once",
			[]installation.Event{begun("a"), installation.MasterKeyAdded{MasterKey: master(2)}},
			installation.AddMasterKey{MasterKey: master(2)},
			nil, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := installation.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheStateHoldsEveryMasterKeyAndTheNewestSigningKey(t *testing.T) {
	next := key("k2")
	s := fold(
		begun("a"), installation.MasterKeyAdded{MasterKey: master(2)},
		installation.SigningKeyAdded{Keys: installation.Keys{SigningKey: next}},
		installation.MasterKeyAdded{MasterKey: master(3)},
	)
	if diff := cmp.Diff([]installation.MasterKey{master(1), master(2), master(3)}, s.MasterKeys); diff != "" ||
		s.SigningKey != next || !s.Exists {
		t.Errorf("got %+v, master keys (-want +got):\n%s", s, diff)
	}
}

// TestLaws draws commands: a repeat does nothing, a refusal has no events, the beginning never
// changes, no master key is lost, and a state that others hold never changes.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s installation.State
		first := ""
		known := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			c := rapid.SampledFrom([]installation.Command{
				installation.Begin{Begun: begun("a")},
				installation.Begin{Begun: begun("b")},
				installation.AddMasterKey{MasterKey: master(1)},
				installation.AddMasterKey{MasterKey: master(2)},
				installation.AddMasterKey{MasterKey: master(3)},
				installation.DestroyMasterKey{ID: "m2"},
				installation.RecordSigningKeys{Recorded: recorded(1)},
				installation.RecordSigningKeys{Recorded: recorded(2)},
				installation.ReportRestore{Evidence: backup("b1")},
				installation.ReportRestore{Evidence: lost(1)},
			}).Draw(t, "command")
			before, old := encoded(t, s), s
			events, err := installation.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and has events", c)
			}
			for _, e := range events {
				s = installation.Evolve(s, domain.Fact[installation.Event]{Event: e})
			}
			if encoded(t, old) != before {
				t.Fatalf("%T changed a state that others may hold", c)
			}
			if again, _ := installation.Decide(s, c); len(again) > 0 {
				t.Fatalf("%T twice made more events: %v", c, again)
			}
			if first == "" {
				first = s.SigningKey.ID
			}
			if s.SigningKey.ID != first {
				t.Fatalf("it began with %s, and now it is %s", first, s.SigningKey.ID)
			}
			for _, k := range s.MasterKeys {
				known[k.ID] = true
			}
			if len(known) != len(s.MasterKeys) {
				t.Fatalf("it knows %v, and knew %v", s.MasterKeys, known)
			}
		}
	})
}

// TestFoldingNeverFails folds events in orders that no decision would ever make.
func TestFoldingNeverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s installation.State
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			before := encoded(t, s)
			next := installation.Evolve(s, domain.Fact[installation.Event]{Event: rapid.SampledFrom([]installation.Event{
				begun("a"),
				installation.Begun{},
				installation.MasterKeyAdded{MasterKey: master(2)},
				installation.MasterKeyAdded{},
				installation.MasterKeyDestroyed{ID: "m1"},
				installation.SigningKeyAdded{},
				installation.SigningKeyEnded{},
				recorded(1),
				found(backup("b1")),
				installation.RestoreConfirmed{},
			}).Draw(t, "event")})
			if encoded(t, s) != before {
				t.Fatal("folding changed a state that others may hold")
			}
			s = next
		}
	})
}

func encoded(t *rapid.T, s installation.State) string {
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
