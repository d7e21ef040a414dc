package commands_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// restart stops the store if it runs, starts it, and waits until it answers.
func (o *office) restart() {
	o.T.Helper()
	o.Server.Restart()
	wait.Until(o.T, "the log is back", func() bool {
		_, err := o.Server.Client.Head(o.T.Context())
		return err == nil
	})
}

// impatient is a store whose client gives up an attempt after half a second.
func impatient(t testing.TB) *eventstoretest.Server {
	t.Helper()
	server := eventstoretest.Start(t)
	client, err := eventstore.Open(
		eventstore.Config{
			Socket: server.Socket, Logger: slog.New(slog.DiscardHandler), Timeout: 500 * time.Millisecond,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	server.Client = client
	t.Cleanup(func() { _ = client.Close() })
	return server
}

func unavailable(t *testing.T, what string, err error) {
	t.Helper()
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Code != "event_log_unavailable" || refusal.Kind != domain.KindUnavailable ||
		refusal.RetryAfter <= 0 {
		t.Errorf("%s: %v", what, err)
	}
}

func TestWithoutTheLogCallersOfTheLastMinuteAreStillKnown(t *testing.T) {
	c := &commandstest.Clock{}
	o := openAt(t, impatient(t), commandstest.Ring(t), c)
	id, key := o.MustAgent("Onboarding")
	stranger, strangerKey := o.MustAgent("Stranger")
	other := openAt(t, o.Server, o.Ring, c)
	c.Stop()
	if _, err := other.Callers.Agent(t.Context(), key, false); err != nil {
		t.Fatal(err)
	}
	o.Server.Stop()
	caller, err := other.Callers.Agent(t.Context(), key, false)
	if err != nil || caller.Actor.ID != id || caller.Agent.Name != "Onboarding" {
		t.Errorf("a caller of the last minute: %+v %v", caller.Actor, err)
	}
	_, err = other.Callers.Agent(t.Context(), strangerKey, false)
	unavailable(t, "a caller never seen here, "+stranger, err)
	if _, err := other.Callers.Agent(
		t.Context(), wrongKey(t, key), false,
	); commandstest.Code(err) != "credentials_unknown" {
		t.Errorf("a wrong key of a known caller: %v", err)
	}
	c.Advance(59 * time.Second)
	if _, err := other.Callers.Agent(t.Context(), key, false); err != nil {
		t.Errorf("just within the minute: %v", err)
	}
	c.Advance(2 * time.Second)
	_, err = other.Callers.Agent(t.Context(), key, false)
	unavailable(t, "after the minute", err)
	o.restart()
	o.MustDo(id, commandstest.Always(agent.Suspend{}))
	if _, err := other.Callers.Agent(t.Context(), key, false); commandstest.Code(err) != "agent_suspended" {
		t.Errorf("when the log is back: %v", err)
	}
}

// wrongKey is a key of the same agent and number with another secret.
func wrongKey(t testing.TB, key keys.Key) keys.Key {
	t.Helper()
	_, wrong, err := keys.New(key.Kind, key.ID, key.Number)
	if err != nil {
		t.Fatal(err)
	}
	return wrong
}

func TestWithoutTheLogNothingIsDecidedOrVended(t *testing.T) {
	t.Parallel() // it waits
	o := openOn(t, impatient(t), commandstest.Ring(t))
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	own := o.MustTool("Linear", catalog.PerAgent, "")
	id, key := o.MustAgent("Onboarding")
	o.MustAssign(id, tool)
	o.MustFetch(id, tool, key.Number)
	head := o.MustFresh(id)
	o.Server.Stop()
	ctx := t.Context()
	calls := map[string]func() error{
		"a fetch": func() error {
			_, err := o.Fetch.Do(ctx, o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
			return err
		},
		"a fetch that would be refused": func() error {
			_, err := o.Fetch.Do(ctx, o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, own)
			return err
		},
		"a command": func() error {
			_, err := o.Agents.Do(ctx, o.Meta(), id, commandstest.Rename("x"))
			return err
		},
		"a command that would be refused": func() error {
			_, err := o.Agents.Do(ctx, o.Meta(), commandstest.NewID().String(), commandstest.Rename("x"))
			return err
		},
		"a request": func() error {
			_, _, err := o.Grants.Request(ctx, o.AsAgent(id), id, own, commands.Wanted{Reason: "plan the sprint"})
			return err
		},
		"an assignment": func() error {
			_, err := o.Grants.Assign(ctx, o.Meta(), id, own, commands.Terms{Credential: o.Credential("lin_one")})
			return err
		},
		"a rotation": func() error {
			_, err := o.Tools.RotateCredential(ctx, o.Meta(), tool, commands.Terms{Credential: o.Credential("ghp_second")})
			return err
		},
		"a registration": func() error {
			_, err := o.Agents.Register(ctx, o.Meta(), commands.NewAgent{Name: "Another", Owner: "ada@example.com"})
			return err
		},
	}
	var wg sync.WaitGroup
	for what, call := range calls {
		wg.Go(func() { unavailable(t, what, call()) })
	}
	wg.Wait()
	o.restart()
	if again := o.MustFresh(id); again.State.Name != head.State.Name && again.State.Grants[own].Status != agent.None {
		t.Errorf("something was half done: %+v", again.State)
	}
	o.MustFetch(id, tool, key.Number)
}

// TestAStoreThatStopsUnderLoadLeavesNoCommandHalfDone lets many stories run, stops and starts the
// store under them, and reads from the whole log what became of each.
func TestAStoreThatStopsUnderLoadLeavesNoCommandHalfDone(t *testing.T) {
	o := openOn(t, impatient(t), commandstest.Ring(t))
	shared, own := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Linear", catalog.PerAgent, "")
	var mu sync.Mutex
	acknowledged := map[string]string{} // event id: name
	keep := func(name string, id fmt.Stringer, err error) bool {
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			acknowledged[id.String()] = name
		} else if commandstest.Code(err) != "event_log_unavailable" {
			t.Errorf("%s: %v", name, err)
		}
		return err == nil
	}
	ctx := t.Context()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := o.Agents.Register(ctx, o.Meta(), commands.NewAgent{Name: "Story"})
				if !keep("registered", r.EventID, err) {
					continue
				}
				request, asked, err := o.Grants.Request(ctx, o.AsAgent(r.ID), r.ID, shared, commands.Wanted{Reason: "because"})
				if keep("asked", asked.EventID, err) {
					d, err := o.Grants.Approve(ctx, o.Meta(), request, commands.Terms{})
					keep("approved", d.EventID, err)
				}
				d, err := o.Grants.Assign(ctx, o.Meta(), r.ID, own, commands.Terms{Credential: o.Credential("lin_one")})
				if keep("assigned", d.EventID, err) {
					v, err := o.Fetch.Do(ctx, o.AsAgent(r.ID), r.ID, commands.Proof{KeyNumber: 1}, own)
					keep("vended", v.EventID, err)
				}
				done, err := o.Agents.Suspend(ctx, o.Meta(), r.ID)
				keep("suspended", done.EventID, err)
			}
		})
	}
	for range 3 {
		before := o.head()
		wait.Until(t, "some stories ran", func() bool { return o.head() > before+200 })
		o.Server.Restart()
	}
	close(stop)
	wg.Wait()
	o.checkStories(acknowledged)
}

func (o *office) head() uint64 {
	head, err := o.Server.Client.Head(o.T.Context())
	if err != nil {
		return 0
	}
	return head
}

// checkStories reads the whole log: it must hold what was acknowledged, requests and secrets before
// what names them, and a suspension with the end of everything that was open, in one piece.
func (o *office) checkStories(acknowledged map[string]string) {
	t := o.T
	events := commandstest.Everything(t, o.Server)
	var domainEvents []eventstore.Recorded
	for _, e := range events {
		if e.Type != codec.Snapshot {
			domainEvents = append(domainEvents, e)
		}
	}
	verified := commandstest.Verified(t, o.Inst.Log, domainEvents)
	known := map[string]bool{}
	states := map[string]agent.State{}
	for _, e := range verified {
		known[e.Stream] = true
		delete(acknowledged, e.ID.String())
		event, ok := e.Event.(agent.Event)
		if !ok {
			continue
		}
		states[e.Stream] = agent.Evolve(
			states[e.Stream], domain.Fact[agent.Event]{Event: event, At: e.Signed.Time, By: e.Signed.Actor},
		)
		switch event := event.(type) {
		case agent.GrantRequested:
			if !known["request-"+event.RequestID] {
				t.Errorf("request %s can't be found by its id", event.RequestID)
			}
		case agent.GrantAssigned:
			gone, err := o.Server.Client.ReadForward(t.Context(), "secret-"+event.SecretID, 0, 1)
			if !known["secret-"+event.SecretID] && len(gone) == 0 && !errors.Is(err, eventstore.ErrStreamDeleted) {
				t.Errorf("%s names a secret that never was: %v", e.Stream, err)
			}
		default:
		}
	}
	for stream, s := range states {
		if s.Status == agent.StatusSuspended &&
			s.Count(agent.Pending, time.Now())+s.Count(agent.Approved, time.Now()) > 0 {
			t.Errorf("%s is suspended with open grants", stream)
		}
	}
	for id, name := range acknowledged {
		t.Errorf("%s was acknowledged as %s and is not in the log", id, name)
	}
	t.Logf("%d events of %d agents", len(events), len(states))
}
