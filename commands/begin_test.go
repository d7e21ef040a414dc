package commands_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// starter is one process about to begin or join, the file of the token that it made, and what it
// said last.
type starter struct {
	commands.Beginning
	mu     sync.Mutex
	saved  string
	warned string
}

func newStarter(server *eventstoretest.Server, r seal.Ring) *starter {
	s := &starter{Beginning: commandstest.Beginning(server, r)}
	s.SaveToken = func(text string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.saved = text
		return nil
	}
	s.DropToken = func() error { return s.SaveToken("") }
	s.Warn = func(text string) { s.warned = text }
	return s
}

// works tells whether a token is one of the installation's, as a process that joins it would.
func works(t *testing.T, inst *commands.Installation, text string) error {
	t.Helper()
	key, err := keys.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	callers := &commands.Callers{
		Organizations: commands.NewOrganizationLoop(inst.Env(time.Now, nil, nil)), First: inst.Begun.OrganizationID,
		Uses: commands.NewUses(inst.Log, time.Now, commandstest.NewID, nil),
	}
	caller, err := callers.Service(t.Context(), key)
	if err == nil && (caller.Role != domain.RoleOwner || caller.Organization != inst.Begun.OrganizationID) {
		t.Errorf("the token is %+v", caller)
	}
	return err
}

// streams lists the streams of a log without the store's own, each with its number of events.
func streams(t *testing.T, server *eventstoretest.Server) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, e := range commandstest.Everything(t, server) {
		name, _, _ := strings.Cut(e.Stream, "-")
		if name == "signing" {
			name = e.Stream
		}
		out[name]++
	}
	return out
}

func TestAnEmptyLogIsBegunAndThenJoined(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	first := newStarter(server, r)
	inst, err := first.Begin(t.Context())
	if err != nil || works(t, inst, first.saved) != nil {
		t.Fatalf("begin: %v", err)
	}
	want := map[string]int{"installation": 1, "secret": 7, "signing-keys": 1, "organization": 2}
	if diff := cmp.Diff(want, streams(t, server)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	second := newStarter(server, r)
	joined, err := second.Begin(t.Context())
	if err != nil || !cmp.Equal(joined.Begun, inst.Begun) || second.saved != "" {
		t.Errorf("join: %v", err)
	}
	if diff := cmp.Diff(want, streams(t, server)); diff != "" {
		t.Errorf("joining wrote (-want +got):\n%s", diff)
	}
}

func TestOfManyProcessesThatBeginAtOnceOneWins(t *testing.T) {
	for round := range eventstoretest.Rounds(30) {
		t.Run(fmt.Sprint("round ", round), raceToBegin)
	}
}

func raceToBegin(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	racers := make([]*starter, 4)
	installations := make([]*commands.Installation, len(racers))
	var wg sync.WaitGroup
	for i := range racers {
		racers[i] = newStarter(server, r)
		wg.Go(func() {
			var err error
			if installations[i], err = racers[i].Begin(t.Context()); err != nil {
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	var tokens []string
	for i, inst := range installations {
		if !cmp.Equal(inst.Begun, installations[0].Begun) ||
			string(inst.MACKey.Reveal()) != string(installations[0].MACKey.Reveal()) {
			t.Fatal("two installations began")
		}
		if racers[i].saved != "" {
			tokens = append(tokens, racers[i].saved)
		}
	}
	if len(tokens) != 1 || works(t, installations[1], tokens[0]) != nil {
		t.Fatalf("%d tokens were kept", len(tokens))
	}
	wrote := streams(t, server)
	if wrote["installation"] != 1 || wrote["signing-keys"] != 1 || wrote["organization"] != 2 {
		t.Fatalf("written: %v", wrote)
	}
	names := 0 // keys of names: that of the first token
	for _, e := range commandstest.Everything(t, server) {
		id, isSecret := strings.CutPrefix(e.Stream, "secret-")
		begun := installations[0].Begun
		var theirs []string
		for _, own := range []string{
			begun.SigningKey.MACSecretID, begun.SigningKey.SecretID, begun.CheckpointKey.SecretID,
		} {
			theirs = append(theirs, own, commands.TwinID(own))
		}
		if bytes.Contains(e.Data, []byte(`"purpose":"person_key"`)) {
			names++
			continue
		}
		if isSecret && !slices.Contains(theirs, id) {
			if _, err := server.Client.ReadForward(t.Context(), e.Stream, 0, 1); !errors.Is(
				err, eventstore.ErrStreamDeleted,
			) {
				t.Errorf("a loser's secret is still there: %v", err)
			}
		}
	}
	if names != 1 {
		t.Errorf("%d keys of names were written", names)
	}
}

func TestABeginningThatWasInterruptedIsCompletedByTheNextStart(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	killed := newStarter(server, r)
	if err := killed.BeginOnly(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"installation": 1, "secret": 6}, streams(t, server)); diff != "" {
		t.Fatalf("written (-want +got):\n%s", diff)
	}
	next := newStarter(server, r)
	inst, err := next.Begin(t.Context())
	if err != nil || next.saved != "" || works(t, inst, killed.saved) != nil {
		t.Fatalf("the next start: %v, another token: %v", err, next.saved != "")
	}
	if diff := cmp.Diff(
		map[string]int{"installation": 1, "secret": 7, "signing-keys": 1, "organization": 2}, streams(t, server),
	); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

// TestAProcessThatDiedBeforeItBeganLeavesNothingBehindThatCounts died at each step before
// `installation`.
func TestAProcessThatDiedBeforeItBeganLeavesNothingBehindThatCounts(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	died := newStarter(server, r)
	ctx, die := context.WithCancel(t.Context())
	died.SaveToken = func(text string) error {
		die()
		died.saved = text
		return nil
	}
	if _, err := died.Begin(ctx); err == nil {
		t.Fatal("it went on")
	}
	failed := newStarter(server, r)
	failed.SaveToken = func(string) error { return errors.New("the disk is full") }
	if _, err := failed.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("a token that can't be kept: %v", err)
	}
	if exists, err := commands.Exists(t.Context(), server.Client); exists || err != nil {
		t.Errorf("it has begun: %v %v", exists, err)
	}
	next := newStarter(server, r)
	inst, err := next.Begin(t.Context())
	if err != nil || works(t, inst, next.saved) != nil ||
		commandstest.Code(works(t, inst, died.saved)) != "credentials_unknown" {
		t.Errorf("the next start: %v", err)
	}
}

// TestAConfiguredTokenEndsWithItsConfiguration replaces it, takes it away, and starts processes
// with former configurations.
func TestAConfiguredTokenEndsWithItsConfiguration(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	var texts []string
	for range 3 {
		text, _, err := keys.New(keys.Service, uuid.Nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	start := func(token string) (*starter, *commands.Installation) {
		s := newStarter(server, r)
		s.AdminToken = token
		inst, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s, inst
	}
	s, inst := start(texts[0])
	if s.saved != "" || works(t, inst, texts[0]) != nil {
		t.Error("the configured token is not the first")
	}
	for range 2 {
		_, inst = start(texts[1])
		if works(t, inst, texts[1]) != nil || commandstest.Code(works(t, inst, texts[0])) != "credentials_unknown" {
			t.Error("another configured token does not replace the former")
		}
	}
	beside := newStarter(server, r)
	beside.KeepToken = true
	for range 2 { // a command beside the service, and a process with the former configuration, change nothing
		if _, err := beside.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ = start(texts[0]); !strings.Contains(s.warned, "revoked or replaced") {
			t.Errorf("of a former token it says %q", s.warned)
		}
	}
	if works(t, inst, texts[1]) != nil || streams(t, server)["organization"] != 3 {
		t.Errorf("written: %v", streams(t, server))
	}
	for range 2 { // none is configured any more
		_, inst = start("")
	}
	if commandstest.Code(works(t, inst, texts[1])) != "credentials_unknown" || streams(t, server)["organization"] != 4 {
		t.Errorf("a token that is configured no more works; written: %v", streams(t, server))
	}
	for _, former := range texts[:2] {
		if start(former); works(t, inst, former) == nil {
			t.Error("a token that ended works again")
		}
	}
	if start(texts[2]); works(t, inst, texts[2]) != nil {
		t.Error("a new one doesn't work")
	}
	if start(""); works(t, inst, texts[2]) == nil {
		t.Error("it works when it is configured no more")
	}
	for _, bad := range []string{
		"secret", strings.Replace(texts[2], "sk_admin_", "sk_agent_", 1), texts[2][:len(texts[2])-1],
	} {
		s := newStarter(server, r)
		s.AdminToken = bad
		if _, err := s.Begin(t.Context()); err == nil || strings.Contains(err.Error(), bad) ||
			!strings.Contains(err.Error(), "AGENTKEY_ADMIN_TOKEN") {
			t.Errorf("a token of another form: %v", err)
		}
	}
}

func masterKey(t *testing.T) seal.MasterKey {
	t.Helper()
	return commandstest.Ring(t).Current()
}

func ringOf(t *testing.T, keys ...seal.MasterKey) seal.Ring {
	t.Helper()
	r, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAWrongOrUnknownMasterKeyIsNamedBeforeAnythingIsDone(t *testing.T) {
	server := eventstoretest.Start(t)
	right, wrong := masterKey(t), masterKey(t)
	inst, err := newStarter(server, ringOf(t, right)).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := streams(t, server)
	for name, r := range map[string]seal.Ring{
		"another": ringOf(t, wrong), "one that was never added": ringOf(t, right, wrong),
		"one in front": ringOf(t, wrong, right),
	} {
		if _, err := newStarter(server, r).Begin(t.Context()); err == nil ||
			!strings.Contains(err.Error(), wrong.ID()) || !strings.Contains(err.Error(), right.ID()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, streams(t, server)); diff != "" {
		t.Errorf("a start that failed wrote (-before +after):\n%s", diff)
	}
	installations := commands.NewInstallationLoop(inst.Env(time.Now, nil, nil))
	m := loop.Meta{
		Organization: inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorSystem, ID: "keys"},
		CommandID: commandstest.NewID(),
	}
	if _, err := installations.Do(t.Context(), "", m, func(installation.State, time.Time) (installation.Command, error) {
		return installation.AddMasterKey{MasterKey: wrong.Public()}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := newStarter(server, ringOf(t, right, wrong)).Begin(t.Context()); err != nil {
		t.Errorf("once it was added: %v", err)
	}
	// What was wrapped before is still wrapped by the former key alone.
	if _, err := newStarter(server, ringOf(t, wrong)).Begin(t.Context()); !errors.Is(err, seal.ErrMasterKeyMissing) ||
		!strings.Contains(err.Error(), right.ID()) {
		t.Errorf("without the former: %v", err)
	}
}

// TestForgedKeysOfTheInstallationAreNotTaken: somebody with a connection to the store but none of
// our keys.
func TestAForgedMasterKeyIsNoneOfOurs(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	if _, err := newStarter(server, r).Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ours, theirs := r, commandstest.Ring(t)
	typ, data, err := codec.Encode(installation.MasterKeyAdded{MasterKey: theirs.Public()[0]})
	if err != nil {
		t.Fatal(err)
	}
	forged := eventstore.Event{ID: uuid.New(), Type: typ, Data: data, Metadata: []byte(`{}`)}
	if _, err := server.Client.Append(t.Context(), "installation", 0, forged); err != nil {
		t.Fatal(err)
	}
	if _, err := newStarter(server, ours).Begin(t.Context()); err != nil {
		t.Errorf("beside what isn't ours: %v", err)
	}
	both, err := seal.NewRing(ours.Current(), theirs.Current())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newStarter(server, both).Begin(t.Context()); err == nil ||
		!strings.Contains(err.Error(), theirs.Public()[0].ID) {
		t.Errorf("with a key that somebody else made known: %v", err)
	}
}

func TestForgedKeysOfTheInstallationAreNoneOfOurs(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs := installation.SigningKey{PublicKey: installation.PublicKey{
		ID: commandstest.NewID().String(), Public: base64.RawURLEncoding.EncodeToString(public),
		SecretID: commandstest.NewID().String(),
	}}
	for name, forge := range map[string]struct {
		stream string
		event  func(installation.Begun) installation.Event
	}{
		"a former key that ours would vouch for": {"signing-keys", func(b installation.Begun) installation.Event {
			return installation.SigningKeyAdded{Keys: installation.Keys{
				SigningKey: b.SigningKey, Former: []installation.FormerKey{{SigningKey: theirs}},
			}}
		}},
		"a new key": {"signing-keys", func(installation.Begun) installation.Event {
			return installation.SigningKeyAdded{Keys: installation.Keys{SigningKey: theirs}}
		}},
		"a new key in the place of ours": {"signing-keys", func(b installation.Begun) installation.Event {
			swapped := b.SigningKey
			swapped.Public = theirs.Public
			return installation.SigningKeyAdded{Keys: installation.Keys{SigningKey: swapped}}
		}},
		"junk": {"signing-keys", func(installation.Begun) installation.Event { return installation.RestoreConfirmed{} }},
		"a text of theirs for our key": {"", func(installation.Begun) installation.Event {
			return installation.RestoreConfirmed{} // of a type that has no place in a secret's stream
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, r := eventstoretest.Start(t), commandstest.Ring(t)
			inst, err := newStarter(server, r).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			typ, data, err := codec.Encode(forge.event(inst.Begun))
			if err != nil {
				t.Fatal(err)
			}
			forged := eventstore.Event{ID: uuid.New(), Type: typ, Data: data, Metadata: []byte(`{}`)}
			stream := forge.stream
			if stream == "" {
				stream = codec.Secrets.Stream(inst.Begun.SigningKey.SecretID)
			}
			if _, err := server.Client.Append(t.Context(), stream, 0, forged); err != nil {
				t.Fatal(err)
			}
			joined, err := newStarter(server, r).Begin(t.Context())
			if err != nil {
				t.Fatalf("it stops the start: %v", err)
			}
			other := codec.NewKeyring(inst.Begun.StoreID, theirs.ID, private, nil)
			e := eventstore.Recorded{Stream: "agent-1", ID: uuid.New(), Type: "agent.suspended.v1", Data: []byte(`{}`)}
			signed := codec.Signed{Schema: codec.Schema}
			if e.Metadata, _, err = other.Sign(e.Stream, 0, e.ID, e.Type, e.Data, signed); err != nil {
				t.Fatal(err)
			}
			var named *codec.ForgedError
			if _, _, err := joined.Log.Keys.VerifyWhole(e); !errors.As(err, &named) || named.Reason != "its key is not ours" {
				t.Errorf("what they sign: %v", err)
			}
			if _, err := joined.SigningKeys.Replace(
				t.Context(), commands.NewInstallationLoop(joined.Env(time.Now, nil, nil)), keyMeta, noWait,
			); err != nil {
				t.Errorf("it stops a replacement: %v", err)
			}
		})
	}
}
