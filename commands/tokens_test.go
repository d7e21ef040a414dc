package commands_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

var theOperator = organization.Giver{Operator: true}

// tokens is what makes and ends the tokens of the first organization.
func (o *office) tokens() *commands.Organizations {
	return &commands.Organizations{
		Loop: commands.NewOrganizationLoop(o.Env), Privacy: seal.NewPrivacy(o.Inst.Secrets, o.Clock.Now),
		First: o.Inst.Begun.OrganizationID,
	}
}

// mustToken makes a token and returns what its holder is admitted as.
func (o *office) mustToken(role domain.Role) (commands.IssuedToken, commands.Caller) {
	o.T.Helper()
	wanted := commands.NewToken{Name: "ci", Role: role, By: theOperator}
	made, err := o.tokens().CreateToken(o.T.Context(), o.Meta(), wanted)
	if err != nil {
		o.T.Fatal(err)
	}
	key, err := keys.Parse(made.Text)
	if err != nil {
		o.T.Fatal(err)
	}
	caller, err := o.Callers.Service(o.T.Context(), key)
	if err != nil {
		o.T.Fatal(err)
	}
	return made, caller
}

// TestATokenThatWasRevokedAMomentAgoGivesNothing: the door admitted its holder before it was
// revoked at another process, and the command is decided after that.
func TestATokenThatWasRevokedAMomentAgoGivesNothing(t *testing.T) {
	o := open(t)
	other := openOn(t, o.Server, o.Ring)
	bystander, _ := o.mustToken(domain.RoleAuditor)
	stolen, thief := o.mustToken(domain.RoleOwner)
	wanted := commands.NewToken{Name: "mine", Role: domain.RoleOwner, Never: true, By: thief.Giver()}
	m := o.Meta()
	first, err := o.tokens().CreateToken(t.Context(), m, wanted)
	if err != nil || first.Text == "" {
		t.Fatalf("while it works: %v", err)
	}
	if _, err := other.tokens().RevokeToken(t.Context(), other.Meta(), stolen.Token.ID, theOperator); err != nil {
		t.Fatal(err)
	}
	if _, err := o.tokens().CreateToken(t.Context(), o.Meta(), wanted); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("it makes another token: %v", err)
	}
	_, err = o.tokens().RevokeToken(t.Context(), o.Meta(), bystander.Token.ID, thief.Giver())
	if commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("it revokes another token: %v", err)
	}

	// What it made before isn't refused when the call is carried out again.
	m.Since = 1
	again, err := o.tokens().CreateToken(t.Context(), m, wanted)
	if err != nil || again.Token.ID != first.Token.ID || again.Text != "" || !again.Repeated {
		t.Errorf("the first call again: %+v: %v", again, err)
	}
}

// TestOneTokenIsLeftAlone ends the others in the append that makes it.
func TestOneTokenIsLeftAlone(t *testing.T) {
	o := open(t)
	former, _ := o.mustToken(domain.RoleAdmin)
	made, err := o.tokens().CreateToken(t.Context(), o.Meta(), commands.NewToken{
		Name: "recovered", Role: domain.RoleOwner, Alone: true, By: theOperator,
	})
	if err != nil {
		t.Fatal(err)
	}
	working := 0
	for _, token := range made.State.AllTokens() {
		if token.Works(time.Now()) {
			working++
		}
	}
	if working != 1 || made.State.Tokens[former.Token.ID].RevokedAt.IsZero() || len(made.Events) != 3 {
		t.Errorf("%d work after %+v", working, made.Events)
	}
}

// TestATimeIsATimeForEveryFace reads when a token shall expire.
func TestATimeIsATimeForEveryFace(t *testing.T) {
	o := open(t)
	for typed, code := range map[string]string{
		"0001-01-01T00:00:00Z": "validation_failed", "9999-12-31T23:59:59-01:00": "validation_failed",
		"2030-01-01T00:00:00,5Z": "validation_failed", "2030-01-01t00:00:00z": "validation_failed",
		"9999-12-31T23:59:59Z": "", "2999-01-01T00:00:00.123456789+14:00": "", "never": "", "": "",
	} {
		wanted := commands.NewToken{Name: "ci", Role: domain.RoleAuditor, By: theOperator}
		err := wanted.Until(typed)
		if err == nil {
			_, err = o.tokens().CreateToken(t.Context(), o.Meta(), wanted)
		}
		if commandstest.Code(err) != code {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

// uses is the record of uses of a process, whose faults are counted.
type uses struct {
	*commands.Uses
	tick chan time.Time
	stop func() // returns when all is over

	mu     sync.Mutex
	faults []error
	drawn  int // ids, one for each use that was to be written
}

// reported returns how many faults there were.
func (u *uses) reported() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.faults)
}

func (o *office) follow() *uses {
	u := &uses{tick: make(chan time.Time)}
	u.Uses = commands.NewUses(o.Inst.Log, o.Clock.Now, func() uuid.UUID {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.drawn++
		return commandstest.NewID()
	}, func(_ string, err error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.faults = append(u.faults, err)
	})
	o.Callers.Uses = u.Uses
	ctx, cancel := context.WithCancel(o.T.Context())
	var running sync.WaitGroup
	running.Go(func() { u.Run(ctx, u.tick) })
	u.stop = func() {
		cancel()
		running.Wait()
	}
	o.T.Cleanup(u.stop)
	return u
}

// flush returns when what waited was tried.
func (u *uses) flush() {
	u.tick <- time.Time{}
	u.tick <- time.Time{} // which is taken after the first
}

func TestAUseThatCannotBeWrittenIsLeftAloneForAnHour(t *testing.T) {
	o := open(t)
	u := o.follow()
	bad, _ := o.mustToken(domain.RoleAuditor)
	good, _ := o.mustToken(domain.RoleAuditor)
	u.flush()
	if err := o.Server.Client.Tombstone(t.Context(), codec.Uses.Stream(bad.Token.ID)); err != nil {
		t.Fatal(err)
	}
	last, err := u.Last(t.Context(), []string{bad.Token.ID, good.Token.ID})
	if _, found := last[bad.Token.ID]; err != nil || found || last[good.Token.ID].IsZero() || u.reported() != 1 {
		t.Errorf("of the others it says %v, %v, and reports %v", last, err, u.faults)
	}
	key, err := keys.Parse(bad.Text)
	if err != nil {
		t.Fatal(err)
	}
	for i, after := range []time.Duration{0, 61 * time.Minute, time.Minute, 58 * time.Minute, 2 * time.Minute} {
		o.Clock.Advance(after)
		if _, err := o.Callers.Service(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		u.flush()
		if tried := u.reported() - 1; tried != []int{0, 1, 1, 1, 2}[i] {
			t.Errorf("use %d: it was tried %d times", i, tried)
		}
	}
}

func TestUsesWaitWhileTheLogTakesNone(t *testing.T) {
	server := eventstoretest.StartWith(t, embedded.Options{MaxBytes: 2 << 20})
	o := &office{commandstest.OpenOn(t, server, commandstest.Ring(t))}
	u := o.follow()
	var parsed []keys.Key
	for range 4 {
		made, _ := o.mustToken(domain.RoleAuditor)
		key, err := keys.Parse(made.Text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, key)
	}
	u.flush()
	for size := 100_000; size > 1; {
		_, err := server.Client.Append(wait.Context(t), "load", eventstore.Any, eventstore.Event{
			ID: uuid.New(), Type: "happened", Data: []byte(strings.Repeat("x", size)),
		})
		if errors.Is(err, eventstore.ErrDiskFull) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	o.Clock.Advance(2 * time.Hour)
	for _, key := range parsed {
		if _, err := o.Callers.Service(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	u.mu.Lock()
	u.drawn = 0
	u.mu.Unlock()
	u.tick <- time.Time{}
	u.stop() // which tries once more
	if u.drawn != 2 || len(u.faults) > 0 {
		t.Errorf("the log refuses, and in two rounds %d uses are tried; reported: %v", u.drawn, u.faults)
	}
}

// TestWhatIsConfiguredMustBeMadeForIt: the text of a token carries its number.
func TestWhatIsConfiguredMustBeMadeForIt(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	for _, number := range []int{1, 7} {
		text, _, err := keys.New(keys.Service, uuid.Nil, number)
		if err != nil {
			t.Fatal(err)
		}
		s := newStarter(server, r)
		s.AdminToken = text
		if _, err := s.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "make one with agentkey token new") {
			t.Errorf("one with the number %d: %v", number, err)
		}
	}
}

// TestTheFirstTokenMayBeConfigured puts the token that was made at the first start into the
// configuration, and takes it out of there.
func TestTheFirstTokenMayBeConfigured(t *testing.T) {
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	first := newStarter(server, r)
	inst, err := first.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func() organization.Token {
		t.Helper()
		head, err := commands.NewOrganizationLoop(inst.Env(time.Now, nil, nil)).Fresh(t.Context(), inst.Begun.OrganizationID)
		if err != nil {
			t.Fatal(err)
		}
		return head.State.Tokens[inst.Begun.AdminTokenID]
	}
	start := func(token string) {
		t.Helper()
		s := newStarter(server, r)
		s.AdminToken = token
		if _, err := s.Begin(t.Context()); err != nil || s.warned != "" && token != "" {
			t.Fatalf("%v %s", err, s.warned)
		}
	}
	before := read()
	for range 2 {
		start(first.saved)
		if is := read(); !is.Configured || !is.CreatedAt.Equal(before.CreatedAt) || is.CreatedBy != before.CreatedBy ||
			is.Sealed != before.Sealed || works(t, inst, first.saved) != nil || streams(t, server)["organization"] != 3 {
			t.Errorf("configured, it is %+v", is)
		}
	}
	start("")
	if works(t, inst, first.saved) == nil {
		t.Error("it works when it is configured no more")
	}
}
