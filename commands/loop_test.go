package commands_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
)

type building = commands.Build[agent.State, agent.Command]

func always(c agent.Command) building {
	return func(agent.State, time.Time) (agent.Command, error) { return c, nil }
}

func rename(name string) building { return always(agent.Update{Name: &name}) }

func (o *office) mustDo(id string, build building) commands.AgentResult {
	o.t.Helper()
	done, err := o.agents.Do(o.t.Context(), o.meta(), id, build)
	if err != nil {
		o.t.Fatalf("do: %v", err)
	}
	return done
}

func (o *office) mustFresh(id string) commands.Head[agent.State] {
	o.t.Helper()
	head, err := o.grants.Agents.Fresh(o.t.Context(), id)
	if err != nil {
		o.t.Fatalf("read agent %s: %v", id, err)
	}
	return head
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came that %s", what)
		}
	}
}

func TestAConflictIsDecidedAgainOnWhatCameFirst(t *testing.T) {
	a := open(t)
	id, _ := a.mustAgent("old")
	b := openOn(t, a.server, a.ring)
	b.mustFresh(id)
	first := a.mustDo(id, rename("new"))
	var seen []string
	second := b.mustDo(id, func(s agent.State, _ time.Time) (agent.Command, error) {
		seen = append(seen, s.Name)
		name := s.Name + "er"
		return agent.Update{Name: &name}, nil
	})
	if !slices.Equal(seen, []string{"old", "new"}) {
		t.Errorf("it was decided on %q", seen)
	}
	if second.State.Name != "newer" || second.Revision != first.Revision+1 || second.Position <= first.Position || !second.Changed {
		t.Errorf("the second is %+v", second)
	}
	if got := a.mustFresh(id); got.State.Name != "newer" || got.Revision != second.Revision || got.Position != second.Position {
		t.Errorf("the other process has %+v", got)
	}
}

func TestARefusalIsDecidedOnlyAfterAFreshRead(t *testing.T) {
	a := open(t)
	id, _ := a.mustAgent("one")
	b := openOn(t, a.server, a.ring)
	a.mustDo(id, always(agent.Suspend{}))
	b.mustFresh(id)
	a.mustDo(id, always(agent.Reactivate{}))
	tool := agent.Tool{ID: newID().String(), Exists: true}
	b.mustDo(id, func(_ agent.State, at time.Time) (agent.Command, error) {
		return agent.Request{At: at, Tool: tool, RequestID: "r", Reason: "because"}, nil
	})
	a.mustDo(id, rename("two"))
	if done := b.mustDo(id, rename("one")); !done.Changed || done.State.Name != "one" {
		t.Errorf("what looked as if it were so already was not done: %+v", done)
	}
	a.mustDo(id, rename("two"))
	done := b.mustDo(id, rename("two"))
	if head := a.mustFresh(id); done.Changed || done.Revision != head.Revision || done.Position != head.Position {
		t.Errorf("what was so already answers %+v, the stream is at %d", done, head.Revision)
	}
}

// longAgo is the id of a command whose key may have been taken over by now.
func longAgo(id uuid.UUID) uuid.UUID {
	at := time.Now().Add(-31 * time.Second).UnixMilli()
	for i := range 6 {
		id[i] = byte(at >> (40 - 8*i))
	}
	return id
}

// TestTheSameCommandTwiceAtOnceHasOneEffect is a takeover while the first call still runs, in this process and in
// another.
func TestTheSameCommandTwiceAtOnceHasOneEffect(t *testing.T) {
	a := open(t)
	id, _ := a.mustAgent("zero")
	b := openOn(t, a.server, a.ring)
	for round := range eventstoretest.Rounds(50) {
		m := a.meta()
		m.CommandID = longAgo(m.CommandID)
		since := a.mustFresh(id).Position
		b.mustFresh(id)
		var mu sync.Mutex
		var texts []string
		var wg sync.WaitGroup
		for i := range 6 {
			process, m := []*office{a, b}[i%2], m
			if i != 0 {
				m.Since = since
			}
			if i == 0 && round%2 == 0 {
				continue // the first is gone
			}
			wg.Go(func() {
				r, err := process.agents.RotateKey(t.Context(), m, id, 0)
				if err != nil || !r.Changed {
					t.Errorf("call %d: %+v %v", i, r.AgentResult, err)
				}
				if r.APIKey == "" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				texts = append(texts, r.APIKey)
			})
		}
		wg.Wait()
		for _, process := range []*office{a, b} {
			head := process.mustFresh(id)
			for _, text := range texts {
				key, err := keys.Parse(text)
				if stored, _ := head.State.FindKey(key.Number); err != nil || !key.Matches(stored.Hash) {
					t.Errorf("round %d: a key was handed out that does not work (%v)", round, err)
				}
			}
		}
		if n := count(t, a, "agent.key_rotated.v1"); n != round+1 {
			t.Fatalf("after %d rounds there are %d rotations", round+1, n)
		}
		if left := a.grants.Agents.Remembered(id) + b.grants.Agents.Remembered(id); left != 0 {
			t.Fatalf("%d commands are kept in mind", left)
		}
	}
}

func TestTheSameCommandTwiceInOneQueueIsDecidedOnce(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	release := o.blocked(id)
	m := o.meta()
	texts := make([]string, 5)
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() {
			r, err := o.agents.RotateKey(t.Context(), m, id, 0)
			if err != nil || !r.Changed {
				t.Errorf("call %d: %+v %v", i, r.AgentResult, err)
			}
			texts[i] = r.APIKey
		})
	}
	eventually(t, "all wait", func() bool { return o.grants.Agents.Waiting(id) == len(texts) })
	release()
	wg.Wait()
	slices.Sort(texts)
	if n := count(t, o, "agent.key_rotated.v1"); n != 1 || texts[len(texts)-1] == "" || texts[len(texts)-2] != "" {
		t.Errorf("%d rotations, the keys handed out are not one", n)
	}
}

func TestATimeNeverGoesBackInAStream(t *testing.T) {
	a := open(t)
	id, _ := a.mustAgent("zero")
	ahead := openAt(t, a.server, a.ring, &clock{})
	ahead.clock.advance(time.Hour)
	ahead.mustDo(id, rename("ahead"))
	a.mustDo(id, rename("behind"))
	stored, err := a.inst.Log.ReadForward(t.Context(), "agent-"+id, 0, 10)
	if err != nil || len(stored) != 3 || stored[2].Signed.Time.Before(stored[1].Signed.Time) {
		t.Errorf("the times go back: %v", err)
	}
}

func TestStreamsOfOthersAreNobody(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	tool := o.mustTool("GitHub", catalog.Shared, "ghp_first")
	other := o.meta()
	other.Organization = newID().String()
	if _, err := o.agents.Do(t.Context(), other, id, rename("x")); code(err) != "not_found" {
		t.Errorf("renamed another's agent: %v", err)
	}
	if _, err := o.agents.RotateKey(t.Context(), other, id, 0); code(err) != "not_found" {
		t.Errorf("rotated another's key: %v", err)
	}
	if _, err := o.grants.Assign(t.Context(), other, id, tool, commands.Terms{}); code(err) != "not_found" {
		t.Errorf("assigned another's tool: %v", err)
	}
	if _, err := o.grants.Revoke(t.Context(), other, id, tool, agent.CauseAdmin); code(err) != "not_found" {
		t.Errorf("revoked another's grant: %v", err)
	}
	if _, err := o.tools.RotateCredential(t.Context(), other, tool, o.credential("x"), nil); code(err) != "not_found" {
		t.Errorf("rotated another's credential: %v", err)
	}
	if _, err := o.agents.Do(t.Context(), o.meta(), newID().String(), rename("x")); code(err) != "not_found" {
		t.Errorf("renamed nobody: %v", err)
	}
	if _, err := o.server.Client.ReadForward(t.Context(), "agent-"+id, 1, 1); err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Error(err)
	}
}
