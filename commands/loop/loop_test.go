package loop_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestAConflictIsDecidedAgainOnWhatCameFirst(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("old")
	b := openOn(t, a.Server, a.Ring)
	b.MustFresh(id)
	first := a.MustDo(id, commandstest.Rename("new"))
	var seen []string
	second := b.MustDo(id, func(s agent.State, _ time.Time) (agent.Command, error) {
		seen = append(seen, s.Name)
		name := s.Name + "er"
		return agent.Update{Name: &name}, nil
	})
	if !slices.Equal(seen, []string{"old", "new"}) {
		t.Errorf("it was decided on %q", seen)
	}
	if second.State.Name != "newer" || second.Revision != first.Revision+1 || second.Position <= first.Position ||
		!second.Changed {
		t.Errorf("the second is %+v", second)
	}
	if got := a.MustFresh(id); got.State.Name != "newer" || got.Revision != second.Revision ||
		got.Position != second.Position {
		t.Errorf("the other process has %+v", got)
	}
}

func TestARefusalIsDecidedOnlyAfterAFreshRead(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("one")
	b := openOn(t, a.Server, a.Ring)
	a.MustDo(id, commandstest.Always(agent.Suspend{}))
	b.MustFresh(id)
	a.MustDo(id, commandstest.Always(agent.Reactivate{}))
	tool := agent.Tool{ID: commandstest.NewID().String(), Exists: true}
	b.MustDo(id, func(_ agent.State, at time.Time) (agent.Command, error) {
		return agent.Request{At: at, Tool: tool, RequestID: "r", Reason: "because"}, nil
	})
	a.MustDo(id, commandstest.Rename("two"))
	if done := b.MustDo(id, commandstest.Rename("one")); !done.Changed || done.State.Name != "one" {
		t.Errorf("what looked as if it were so already was not done: %+v", done)
	}
	a.MustDo(id, commandstest.Rename("two"))
	done := b.MustDo(id, commandstest.Rename("two"))
	if head := a.MustFresh(id); done.Changed || done.Revision != head.Revision || done.Position != head.Position {
		t.Errorf("what was so already answers %+v, the stream is at %d", done, head.Revision)
	}
}

// TestTheSameCommandTwiceAtOnceHasOneEffect is a takeover while the first call still runs, in this
// process and in another.
func TestTheSameCommandTwiceAtOnceHasOneEffect(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("zero")
	b := openOn(t, a.Server, a.Ring)
	for round := range eventstoretest.Rounds(50) {
		m := a.Meta()
		m.CommandID = commandstest.LongAgo(m.CommandID)
		since := a.MustFresh(id).Position
		b.MustFresh(id)
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
				r, err := process.Agents.RotateKey(t.Context(), m, id, commands.Rotation{})
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
			head := process.MustFresh(id)
			for _, text := range texts {
				key, err := keys.Parse(text)
				if stored, _ := head.State.FindKey(key.Number); err != nil || !key.Matches(stored.Hash) {
					t.Errorf("round %d: a key was handed out that does not work (%v)", round, err)
				}
			}
		}
		if n := a.Count("agent.key_rotated.v1"); n != round+1 {
			t.Fatalf("after %d rounds there are %d rotations", round+1, n)
		}
		if left := a.Grants.Agents.Remembered(id) + b.Grants.Agents.Remembered(id); left != 0 {
			t.Fatalf("%d commands are kept in mind", left)
		}
	}
}

// TestWhatTwoProcessesConcludeIsOneEvent lets both carry out a command that follows from a cause,
// the second on what it knew before. The log keeps the first one's event, and what the second
// writes next names that one.
func TestWhatTwoProcessesConcludeIsOneEvent(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("zero")
	b := openOn(t, a.Server, a.Ring)
	for round := range 8 { // the ids hold no time, and what is read as one must not matter
		m := a.Meta()
		m.CommandID = uuid.NewSHA1(m.CommandID, []byte("what follows"))
		b.MustFresh(id)
		for _, process := range []*office{a, b} {
			done, err := process.Grants.Agents.Do(t.Context(), id, m, commandstest.Rename(fmt.Sprint("name ", round)))
			if err != nil || !done.Changed {
				t.Fatalf("round %d: %+v %v", round, done, err)
			}
		}
		b.MustDo(id, commandstest.Rename(fmt.Sprint("next ", round)))
		a.MustFresh(id)
	}
	if n := a.Count("agent.updated.v1"); n != 16 {
		t.Errorf("%d events instead of 16", n)
	}
}

func TestTheSameCommandTwiceInOneQueueIsDecidedOnce(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	release := o.blocked(id)
	m := o.Meta()
	texts := make([]string, 5)
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() {
			r, err := o.Agents.RotateKey(t.Context(), m, id, commands.Rotation{})
			if err != nil || !r.Changed {
				t.Errorf("call %d: %+v %v", i, r.AgentResult, err)
			}
			texts[i] = r.APIKey
		})
	}
	wait.Until(t, "all wait", func() bool { return o.Grants.Agents.Waiting(id) == len(texts) })
	release()
	wg.Wait()
	slices.Sort(texts)
	if n := o.Count("agent.key_rotated.v1"); n != 1 || texts[len(texts)-1] == "" || texts[len(texts)-2] != "" {
		t.Errorf("%d rotations, the keys handed out are not one", n)
	}
}

func TestATimeNeverGoesBackInAStream(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("zero")
	ahead := openAt(t, a.Server, a.Ring, &commandstest.Clock{})
	ahead.Clock.Advance(time.Hour)
	ahead.MustDo(id, commandstest.Rename("ahead"))
	a.MustDo(id, commandstest.Rename("behind"))
	stored, err := a.Inst.Log.ReadForward(t.Context(), "agent-"+id, 0, 10)
	if err != nil || len(stored) != 3 || stored[2].Signed.Time.Before(stored[1].Signed.Time) {
		t.Errorf("the times go back: %v", err)
	}
}

func TestForeignStreamsHoldNoState(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	other := o.Meta()
	other.Organization = commandstest.NewID().String()
	if _, err := o.Agents.Do(t.Context(), other, id, commandstest.Rename("x")); commandstest.Code(err) != "not_found" {
		t.Errorf("renamed another's agent: %v", err)
	}
	if _, err := o.Agents.RotateKey(t.Context(), other, id, commands.Rotation{}); commandstest.Code(err) != "not_found" {
		t.Errorf("rotated another's key: %v", err)
	}
	if _, err := o.Grants.Assign(
		t.Context(), other, id, tool, commands.Terms{},
	); commandstest.Code(err) != "not_found" {
		t.Errorf("assigned another's tool: %v", err)
	}
	if _, err := o.Grants.Revoke(
		t.Context(), other, id, tool, agent.CauseAdmin,
	); commandstest.Code(err) != "not_found" {
		t.Errorf("revoked another's grant: %v", err)
	}
	if _, err := o.Tools.RotateCredential(
		t.Context(), other, tool, commands.Terms{Credential: o.Credential("x")},
	); commandstest.Code(err) != "not_found" {
		t.Errorf("rotated another's credential: %v", err)
	}
	if _, err := o.Agents.Do(
		t.Context(), o.Meta(), commandstest.NewID().String(), commandstest.Rename("x"),
	); commandstest.Code(err) != "not_found" {
		t.Errorf("renamed nobody: %v", err)
	}
	if _, err := o.Server.Client.ReadForward(t.Context(), "agent-"+id, 1, 1); err != nil &&
		!errors.Is(err, eventstore.ErrStreamNotFound) {
		t.Error(err)
	}
}
