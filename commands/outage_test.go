package commands_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
)

// restart stops the store if it runs, starts it, and waits until it answers.
func (o *office) restart() {
	o.t.Helper()
	o.server.Restart()
	eventually(o.t, "the log is back", func() bool {
		_, err := o.server.Client.Head(o.t.Context())
		return err == nil
	})
}

// impatient is a store whose client gives up an attempt after half a second.
func impatient(t testing.TB) *eventstoretest.Server {
	t.Helper()
	server := eventstoretest.Start(t)
	client, err := eventstore.Open(eventstore.Config{Socket: server.Socket, Logger: slog.New(slog.DiscardHandler), Timeout: 500 * time.Millisecond})
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
	if !errors.As(err, &refusal) || refusal.Code != "event_log_unavailable" || refusal.Kind != domain.KindUnavailable || refusal.RetryAfter <= 0 {
		t.Errorf("%s: %v", what, err)
	}
}

func TestWithoutTheLogCallersOfTheLastMinuteAreStillKnown(t *testing.T) {
	c := &clock{}
	o := openAt(t, impatient(t), ring(t), c)
	id, key := o.mustAgent("Onboarding")
	stranger, strangerKey := o.mustAgent("Stranger")
	other := openAt(t, o.server, o.ring, c)
	seen := time.Now()
	if _, err := other.callers.Agent(t.Context(), key, false); err != nil {
		t.Fatal(err)
	}
	o.server.Stop()
	caller, err := other.callers.Agent(t.Context(), key, false)
	if err != nil || caller.Actor.ID != id || caller.Agent.Name != "Onboarding" {
		t.Errorf("a caller of the last minute: %+v %v", caller.Actor, err)
	}
	_, err = other.callers.Agent(t.Context(), strangerKey, false)
	unavailable(t, "a caller never seen here, "+stranger, err)
	if _, err := other.callers.Agent(t.Context(), wrongKey(t, key), false); code(err) != "credentials_unknown" {
		t.Errorf("a wrong key of a known caller: %v", err)
	}
	c.advance(50*time.Second - time.Since(seen)) // looking for the log took some time too
	if _, err := other.callers.Agent(t.Context(), key, false); err != nil {
		t.Errorf("just within the minute: %v", err)
	}
	c.advance(11 * time.Second)
	_, err = other.callers.Agent(t.Context(), key, false)
	unavailable(t, "after the minute", err)
	o.restart()
	o.mustDo(id, always(agent.Suspend{}))
	if _, err := other.callers.Agent(t.Context(), key, false); code(err) != "agent_suspended" {
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
	o := openOn(t, impatient(t), ring(t))
	tool := o.mustTool("GitHub", catalog.Shared, "ghp_first")
	own := o.mustTool("Linear", catalog.PerAgent, "")
	id, key := o.mustAgent("Onboarding")
	o.mustAssign(id, tool)
	o.mustFetch(id, tool, key.Number)
	head := o.mustFresh(id)
	o.server.Stop()
	ctx := t.Context()
	calls := map[string]func() error{
		"a fetch": func() error {
			_, err := o.fetch.Do(ctx, o.asAgent(id), id, key.Number, tool)
			return err
		},
		"a fetch that would be refused": func() error {
			_, err := o.fetch.Do(ctx, o.asAgent(id), id, key.Number, own)
			return err
		},
		"a command": func() error {
			_, err := o.agents.Do(ctx, o.meta(), id, rename("x"))
			return err
		},
		"a command that would be refused": func() error {
			_, err := o.agents.Do(ctx, o.meta(), newID().String(), rename("x"))
			return err
		},
		"a request": func() error {
			_, _, err := o.grants.Request(ctx, o.asAgent(id), id, own, "plan the sprint")
			return err
		},
		"an assignment": func() error {
			_, err := o.grants.Assign(ctx, o.meta(), id, own, commands.Terms{Credential: o.credential("lin_one")})
			return err
		},
		"a rotation": func() error {
			_, err := o.tools.RotateCredential(ctx, o.meta(), tool, o.credential("ghp_second"), nil)
			return err
		},
		"a registration": func() error {
			_, err := o.agents.Register(ctx, o.meta(), commands.NewAgent{Name: "Another", Owner: "ada@example.com"})
			return err
		},
	}
	var wg sync.WaitGroup
	for what, call := range calls {
		wg.Go(func() { unavailable(t, what, call()) })
	}
	wg.Wait()
	o.restart()
	if again := o.mustFresh(id); again.State.Name != head.State.Name && again.State.Grants[own].Status != agent.None {
		t.Errorf("something was half done: %+v", again.State)
	}
	o.mustFetch(id, tool, key.Number)
}

// TestAStoreThatStopsUnderLoadLeavesNoCommandHalfDone lets many stories run, stops and starts the store under
// them, and reads from the whole log what became of each.
func TestAStoreThatStopsUnderLoadLeavesNoCommandHalfDone(t *testing.T) {
	o := openOn(t, impatient(t), ring(t))
	shared, own := o.mustTool("GitHub", catalog.Shared, "ghp_first"), o.mustTool("Linear", catalog.PerAgent, "")
	var mu sync.Mutex
	acknowledged := map[string]string{} // event id: name
	keep := func(name string, id fmt.Stringer, err error) bool {
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			acknowledged[id.String()] = name
		} else if code(err) != "event_log_unavailable" {
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
				r, err := o.agents.Register(ctx, o.meta(), commands.NewAgent{Name: "Story"})
				if !keep("registered", r.EventID, err) {
					continue
				}
				request, asked, err := o.grants.Request(ctx, o.asAgent(r.ID), r.ID, shared, "because")
				if keep("asked", asked.EventID, err) {
					d, err := o.grants.Approve(ctx, o.meta(), request, commands.Terms{})
					keep("approved", d.EventID, err)
				}
				d, err := o.grants.Assign(ctx, o.meta(), r.ID, own, commands.Terms{Credential: o.credential("lin_one")})
				if keep("assigned", d.EventID, err) {
					v, err := o.fetch.Do(ctx, o.asAgent(r.ID), r.ID, 1, own)
					keep("vended", v.EventID, err)
				}
				done, err := o.agents.Suspend(ctx, o.meta(), r.ID)
				keep("suspended", done.EventID, err)
			}
		})
	}
	for range 3 {
		before := o.head()
		eventually(t, "some stories ran", func() bool { return o.head() > before+200 })
		o.server.Restart()
	}
	close(stop)
	wg.Wait()
	o.checkStories(acknowledged)
}

func (o *office) head() uint64 {
	head, err := o.server.Client.Head(o.t.Context())
	if err != nil {
		return 0
	}
	return head
}

// checkStories reads the whole log: it must hold what was acknowledged, requests and secrets before what names
// them, and a suspension with the end of everything that was open, in one piece.
func (o *office) checkStories(acknowledged map[string]string) {
	t := o.t
	events := everything(t, o)
	var domainEvents []eventstore.Recorded
	for _, e := range events {
		if e.Type != codec.Snapshot {
			domainEvents = append(domainEvents, e)
		}
	}
	verified, err := o.inst.Log.Verify(domainEvents)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	states := map[string]agent.State{}
	for _, e := range verified {
		known[e.Stream] = true
		delete(acknowledged, e.ID.String())
		event, ok := e.Event.(agent.Event)
		if !ok {
			continue
		}
		states[e.Stream] = agent.Evolve(states[e.Stream], domain.Fact[agent.Event]{Event: event, At: e.Signed.Time, By: e.Signed.Actor})
		switch event := event.(type) {
		case agent.GrantRequested:
			if !known["request-"+event.RequestID] {
				t.Errorf("request %s can't be found by its id", event.RequestID)
			}
		case agent.GrantAssigned:
			gone, err := o.server.Client.ReadForward(t.Context(), "secret-"+event.SecretID, 0, 1)
			if !known["secret-"+event.SecretID] && len(gone) == 0 && !errors.Is(err, eventstore.ErrStreamDeleted) {
				t.Errorf("%s names a secret that never was: %v", e.Stream, err)
			}
		default:
		}
	}
	for stream, s := range states {
		if s.Status == agent.StatusSuspend && s.Count(agent.Pending, time.Now())+s.Count(agent.Approved, time.Now()) > 0 {
			t.Errorf("%s is suspended with open grants", stream)
		}
	}
	for id, name := range acknowledged {
		t.Errorf("%s was acknowledged as %s and is not in the log", id, name)
	}
	t.Logf("%d events of %d agents", len(events), len(states))
}
