package commands_test

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
)

func (o *office) mustTicket(m loop.Meta, key, request string) commands.Ticket {
	o.T.Helper()
	t, err := o.Once.Begin(o.T.Context(), m, key, []byte(request))
	if err != nil {
		o.T.Fatalf("begin %s: %v", key, err)
	}
	return t
}

func (o *office) mustComplete(t commands.Ticket, body string) {
	o.T.Helper()
	if err := o.Once.Complete(
		o.T.Context(), t,
		commands.StoredAnswer{Status: http.StatusCreated, Header: map[string]string{"ETag": `"1"`}, Body: []byte(body)},
	); err != nil {
		o.T.Fatalf("complete: %v", err)
	}
}

func (o *office) mustRelease(t commands.Ticket) {
	o.T.Helper()
	if err := o.Once.Release(o.T.Context(), t); err != nil {
		o.T.Fatalf("release: %v", err)
	}
}

func TestARepeatedCallGetsTheAnswerOfTheFirst(t *testing.T) {
	o := open(t)
	first := o.mustTicket(o.Meta(), "k", "body")
	if first.Replay != nil || first.Since != 0 {
		t.Fatalf("the first call is %+v", first)
	}
	o.mustComplete(first, `{"id":"1"}`)
	other := openOn(t, o.Server, o.Ring)
	for _, process := range []*office{o, other} {
		again := process.mustTicket(process.Meta(), "k", "body")
		want := &commands.StoredAnswer{
			Status: http.StatusCreated, Header: map[string]string{"ETag": `"1"`}, Body: []byte(`{"id":"1"}`),
		}
		if diff := cmp.Diff(want, again.Replay); diff != "" {
			t.Errorf("the answer (-want +got):\n%s", diff)
		}
		if _, err := process.Once.Begin(
			t.Context(), process.Meta(), "k", []byte("another body"),
		); commandstest.Code(err) != "idempotency_key_reused" {
			t.Errorf("another request under the same key: %v", err)
		}
	}
	elsewhere, somebody := o.Meta(), o.Meta()
	elsewhere.Organization, somebody.Actor.ID = commandstest.NewID().String(), "another token"
	for _, m := range []loop.Meta{elsewhere, somebody} {
		if ticket := o.mustTicket(m, "k", "body"); ticket.Replay != nil {
			t.Error("somebody else's key got the answer")
		}
	}
}

func TestAnAnswerIsKeptSealed(t *testing.T) {
	o := open(t)
	o.mustComplete(o.mustTicket(o.Meta(), "k", "body"), "canary-7a1d")
	found := false
	for _, e := range commandstest.Everything(t, o.Server) {
		if e.Type == "once.completed.v1" {
			found = true
		}
		if contains(e, "canary-7a1d") {
			t.Errorf("%s holds the answer in clear", e.Type)
		}
	}
	if !found {
		t.Error("no answer was kept")
	}
}

func TestARepeatWaitsTwoSecondsForTheFirst(t *testing.T) {
	t.Parallel() // it waits
	o := open(t)
	first := o.mustTicket(o.Meta(), "k", "body")
	began := time.Now()
	if _, err := o.Once.Begin(
		t.Context(), o.Meta(), "k", []byte("body"),
	); commandstest.Code(err) != "idempotency_in_progress" {
		t.Errorf("while the first runs: %v", err)
	}
	if waited := time.Since(began); waited < 2*time.Second {
		t.Errorf("it waited %s", waited)
	}
	if _, err := o.Once.Begin(
		t.Context(), o.Meta(), "k", []byte("another"),
	); commandstest.Code(err) != "idempotency_key_reused" {
		t.Errorf("another request while the first runs: %v", err)
	}
	answers := make(chan commands.Ticket)
	go func() { answers <- o.mustTicket(o.Meta(), "k", "body") }()
	o.mustComplete(first, "done")
	if again := <-answers; again.Replay == nil || string(again.Replay.Body) != "done" {
		t.Errorf("who waited got %+v", again)
	}
}

func TestOfManyCallsAtOnceOneRunsAndTheOthersGetItsAnswer(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	for range eventstoretest.Rounds(20) {
		key := commandstest.NewID().String()
		var ran atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			process := []*office{a, b}[i%2]
			wg.Go(func() {
				ticket, err := process.Once.Begin(t.Context(), process.Meta(), key, []byte("body"))
				switch {
				case err != nil:
					t.Errorf("begin: %v", err)
				case ticket.Replay == nil:
					ran.Add(1)
					process.mustComplete(ticket, "done")
				case string(ticket.Replay.Body) != "done":
					t.Errorf("replayed %s", ticket.Replay.Body)
				}
			})
		}
		wg.Wait()
		if ran.Load() != 1 {
			t.Fatalf("%d calls ran", ran.Load())
		}
	}
}

// TestACallThatWasLeftBehindIsTakenOverWithoutASecondEffect stops after the effect and before the
// answer, as a process that is killed would, for commands that are not idempotent by themselves.
func TestACallThatWasLeftBehindIsTakenOverWithoutASecondEffect(t *testing.T) {
	t.Parallel() // it waits
	a := open(t)
	id, _ := a.MustAgent("Onboarding")
	tool := a.MustTool("GitHub", catalog.Shared, "ghp_first")
	effects := map[string]func(*office, loop.Meta) (string, error){
		"agent.registered.v1": func(o *office, m loop.Meta) (string, error) {
			r, err := o.Agents.Register(t.Context(), m, commands.NewAgent{Name: "Another", Owner: "ada@example.com"})
			return r.APIKey, err
		},
		"agent.key_rotated.v1": func(o *office, m loop.Meta) (string, error) {
			r, err := o.Agents.RotateKey(t.Context(), m, id, commands.Rotation{Overlap: time.Hour})
			return r.APIKey, err
		},
		"tool.credential_rotated.v1": func(o *office, m loop.Meta) (string, error) {
			_, err := o.Tools.RotateCredential(t.Context(), m, tool, commands.Terms{Credential: o.Credential("ghp_second")})
			return "", err
		},
		"grant.requested.v1": func(o *office, m loop.Meta) (string, error) {
			m.Actor = domain.Actor{Type: domain.ActorAgent, ID: id}
			_, _, err := o.Grants.Request(t.Context(), m, id, tool, commands.Wanted{Reason: "open pull requests"})
			return "", err
		},
	}
	for name, effect := range effects {
		t.Run(name, func(t *testing.T) {
			before := a.Count(name)
			first := a.mustTicket(a.Meta(), name, "body")
			m := a.Meta()
			m.CommandID = first.CommandID
			if _, err := effect(a, m); err != nil {
				t.Fatal(err)
			}
			b := openAt(t, a.Server, a.Ring, &commandstest.Clock{})
			b.Clock.Advance(20 * time.Second)
			if _, err := b.Once.Begin(
				t.Context(), b.Meta(), name, []byte("body"),
			); commandstest.Code(err) != "idempotency_in_progress" {
				t.Errorf("after 20 s: %v", err)
			}
			b.Clock.Advance(11 * time.Second)
			taken := b.mustTicket(b.Meta(), name, "body")
			if taken.CommandID != first.CommandID || taken.Since == 0 {
				t.Fatalf("taken over as %s since %d, it was %s", taken.CommandID, taken.Since, first.CommandID)
			}
			m = b.Meta()
			m.CommandID, m.Since = taken.CommandID, taken.Since
			if key, err := effect(b, m); err != nil || key != "" {
				t.Errorf("carried out again: %v, with a key: %v", err, key != "")
			}
			if after := a.Count(name); after != before+1 {
				t.Errorf("it has %d effects", after-before)
			}
			b.mustComplete(taken, "done")
			a.mustComplete(first, "too late") // it was taken over: the other's answer counts
			if again := a.mustTicket(a.Meta(), name, "body"); again.Replay == nil ||
				string(again.Replay.Body) != "done" {
				t.Errorf("replayed %+v", again.Replay)
			}
		})
	}
}

// TestACallThatIsTakenOverBeforeItsEffectHasIt is the other half: the process died before it
// appended.
func TestACallThatIsTakenOverBeforeItsEffectHasIt(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("Onboarding")
	o.mustTicket(o.Meta(), "k", "body")
	o.Clock.Advance(31 * time.Second)
	taken := o.mustTicket(o.Meta(), "k", "body")
	m := o.Meta()
	m.CommandID, m.Since = taken.CommandID, taken.Since
	r, err := o.Agents.RotateKey(t.Context(), m, id, commands.Rotation{})
	if err != nil || r.APIKey == "" || o.Count("agent.key_rotated.v1") != 1 {
		t.Errorf("rotated %v, with a key: %v", err, r.APIKey != "")
	}
}

// TestATryAgainIsTheSameCommand covers an append whose answer was lost: 503 was answered, and it
// had been carried out. The caller tries again under the same key, perhaps often, and there is one
// effect.
func TestATryAgainIsTheSameCommand(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("Onboarding")
	first := o.mustTicket(o.Meta(), "k", "body")
	m := o.Meta()
	m.CommandID = first.CommandID
	if _, err := o.Agents.RotateKey(t.Context(), m, id, commands.Rotation{}); err != nil {
		t.Fatal(err)
	}
	o.mustRelease(first)
	for range 20 { // more than one page of the key's events
		o.mustRelease(o.mustTicket(o.Meta(), "k", "body"))
	}
	again := o.mustTicket(o.Meta(), "k", "body")
	if again.CommandID != first.CommandID || again.Since == 0 {
		t.Fatalf("it goes on as another command: %+v", again)
	}
	m = o.Meta()
	m.CommandID, m.Since = again.CommandID, again.Since
	if r, err := o.Agents.RotateKey(t.Context(), m, id, commands.Rotation{}); err != nil || r.APIKey != "" {
		t.Errorf("tried again: %v, with a key that never worked: %v", err, r.APIKey != "")
	}
	if n := o.Count("agent.key_rotated.v1"); n != 1 {
		t.Errorf("it has %d effects", n)
	}
	o.mustRelease(again)
	other := o.mustTicket(o.Meta(), "k", "another body")
	if other.CommandID == first.CommandID || other.Since != 0 {
		t.Error("another request goes on as the first's command")
	}
}

// TestACommandRefusedBeforeMayBeAcceptedWhenItIsTakenOver: its secret was removed with the refusal.
func TestACommandRefusedBeforeMayBeAcceptedWhenItIsTakenOver(t *testing.T) {
	o := open(t)
	tool := o.MustTool("Linear", catalog.PerAgent, "")
	id, key := o.MustAgent("Onboarding")
	ticket := o.mustTicket(o.Meta(), "k", "body")
	m := o.Meta()
	m.CommandID = ticket.CommandID
	if _, err := o.Agents.Suspend(t.Context(), o.Meta(), id); err != nil {
		t.Fatal(err)
	}
	m.Since = 1 // so that nothing is checked first, and the secret is written in vain
	if _, err := o.Grants.Assign(
		t.Context(), m, id, tool, commands.Terms{Credential: o.Credential("lin_one")},
	); commandstest.Code(err) != "agent_not_active" {
		t.Fatalf("assigned to a suspended agent: %v", err)
	}
	if _, err := o.Agents.Do(
		t.Context(), o.Meta(), id,
		func(agent.State, time.Time) (agent.Command, error) { return agent.Reactivate{}, nil },
	); err != nil {
		t.Fatal(err)
	}
	o.Clock.Advance(31 * time.Second)
	taken := o.mustTicket(o.Meta(), "k", "body")
	m.CommandID, m.Since = taken.CommandID, taken.Since
	if _, err := o.Grants.Assign(
		t.Context(), m, id, tool, commands.Terms{Credential: o.Credential("lin_one")},
	); err != nil {
		t.Fatal(err)
	}
	if v := o.MustFetch(id, tool, key.Number); string(v.Credential.Reveal()) != `"lin_one"` {
		t.Error("another credential came")
	}
}

func TestAKeyIsFreeAgainAfterADay(t *testing.T) {
	c := &commandstest.Clock{}
	server := eventstoretest.StartWith(t, embedded.Options{Clock: c.Now})
	a := openAt(t, server, commandstest.Ring(t), c)
	b := openAt(t, server, a.Ring, c)
	a.mustComplete(a.mustTicket(a.Meta(), "k", "body"), "done")
	c.Advance(24*time.Hour - time.Minute)
	if again := a.mustTicket(a.Meta(), "k", "body"); again.Replay == nil {
		t.Error("the answer was forgotten before its day was over")
	}
	c.Advance(2 * time.Minute)
	later := a.mustTicket(a.Meta(), "k", "another body")
	if later.Replay != nil || later.Since != 0 {
		t.Fatalf("after a day the key does not begin again: %+v", later)
	}
	a.mustComplete(later, "second")
	if again := b.mustTicket(b.Meta(), "k", "another body"); again.Replay == nil ||
		string(again.Replay.Body) != "second" {
		t.Errorf("replayed %+v", again.Replay)
	}
	for range eventstoretest.Rounds(20) { // everything has expired and many begin at once
		c.Advance(25 * time.Hour)
		var ran atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			process := []*office{a, b}[i%2]
			wg.Go(func() {
				switch ticket, err := process.Once.Begin(t.Context(), process.Meta(), "k", []byte("body")); {
				case err != nil:
					t.Errorf("begin: %v", err)
				case ticket.Replay == nil:
					ran.Add(1)
					process.mustComplete(ticket, "done")
				}
			})
		}
		wg.Wait()
		if ran.Load() != 1 {
			t.Fatalf("%d calls ran", ran.Load())
		}
	}
}

func TestWithoutTheLogNoKeyIsTaken(t *testing.T) {
	o := open(t)
	ticket := o.mustTicket(o.Meta(), "k", "body")
	o.Server.Stop()
	_, err := o.Once.Begin(t.Context(), o.Meta(), "other", []byte("body"))
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "event_log_unavailable" ||
		refusal.RetryAfter <= 0 {
		t.Errorf("got %v", err)
	}
	o.restart()
	o.mustComplete(ticket, "done")
}

func contains(e eventstore.Recorded, text string) bool {
	return bytes.Contains(e.Data, []byte(text)) || bytes.Contains(e.Metadata, []byte(text))
}
