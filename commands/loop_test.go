package commands_test

import (
	"context"
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
	"agentkey/commands/keys"
	"agentkey/domain"
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

// blocked holds a stream's queue in the decision of a first command until the returned function is called.
func (o *office) blocked(id string) (release func()) {
	o.t.Helper()
	deciding, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		o.mustDo(id, func(agent.State, time.Time) (agent.Command, error) {
			once.Do(func() { close(deciding) })
			<-free
			name := "first"
			return agent.Update{Name: &name}, nil
		})
	})
	<-deciding
	return func() {
		close(free)
		wg.Wait()
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

func TestManyCommandsAtOnceShareOneAppendAndEachAnswersForItself(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	const n = 200
	results, errs := make([]commands.AgentResult, n), make([]error, n)
	release := o.blocked(id)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprint("name ", i)
			command := agent.Update{Name: &name}
			if i%10 == 0 {
				command.IfRevision = 9999
			}
			results[i], errs[i] = o.agents.Do(t.Context(), o.meta(), id, always(command))
		})
	}
	eventually(t, "all wait", func() bool { return o.grants.Agents.Waiting(id) == n })
	release()
	wg.Wait()
	positions, revisions := map[uint64]bool{}, map[int64]bool{}
	for i := range n {
		if i%10 == 0 {
			if code(errs[i]) != "revision_stale" {
				t.Fatalf("command %d was to be refused: %v", i, errs[i])
			}
			continue
		}
		if errs[i] != nil || results[i].State.Name != fmt.Sprint("name ", i) || len(results[i].Events) != 1 {
			t.Fatalf("command %d: %+v %v", i, results[i], errs[i])
		}
		positions[results[i].Position], revisions[results[i].Revision] = true, true
		stored, err := o.inst.Log.ReadForward(t.Context(), "agent-"+id, uint64(results[i].Revision), 1)
		if err != nil || stored[0].ID != results[i].EventID {
			t.Fatalf("command %d is not where it says: %v", i, err)
		}
	}
	if len(positions) != 1 || len(revisions) != n-n/10 {
		t.Errorf("%d commands took %d appends and %d revisions", n-n/10, len(positions), len(revisions))
	}
	if left := o.grants.Agents.Remembered(id); left != 0 {
		t.Errorf("%d commands are kept in mind", left)
	}
}

func TestABatchIsNotLargerThanOneAppendMayBe(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	for name, tt := range map[string]struct{ commands, bytes, most int }{
		"events": {1100, 10, 512},
		"bytes":  {40, 30_000, 8}, // 256 KiB
	} {
		t.Run(name, func(t *testing.T) {
			release := o.blocked(id)
			var mu sync.Mutex
			appends := map[uint64]int{}
			var wg sync.WaitGroup
			for i := range tt.commands {
				wg.Go(func() {
					m := o.meta()
					m.Address, m.UserAgent = "", ""
					text := fmt.Sprint(i, strings.Repeat("x", tt.bytes))
					done, err := o.agents.Do(t.Context(), m, id, always(agent.Update{Description: &text}))
					if err != nil || done.State.Description != text {
						t.Errorf("command %d: %v", i, err)
					}
					mu.Lock()
					defer mu.Unlock()
					appends[done.Position]++
				})
			}
			eventually(t, "all wait", func() bool { return o.grants.Agents.Waiting(id) == tt.commands })
			release()
			wg.Wait()
			total := 0
			for position, n := range appends {
				total += n
				if n > tt.most {
					t.Errorf("the append at %d has %d events", position, n)
				}
			}
			if total != tt.commands || len(appends) > tt.commands/2 {
				t.Errorf("%d commands in %d appends", total, len(appends))
			}
		})
	}
}

func TestACommandThatIsTooLargeIsRefusedAndItsNeighboursAreNot(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	release := o.blocked(id)
	var wg sync.WaitGroup
	for i, size := range []int{10, 2 << 20, 950_000, 800_000, 20} {
		wg.Go(func() {
			text := strings.Repeat("x", size)
			done, err := o.agents.Do(t.Context(), o.meta(), id, always(agent.Update{Description: &text}))
			want := ""
			if size > 900<<10 {
				want = "validation_failed"
			}
			if code(err) != want || (err == nil && len(done.State.Description) != size) {
				t.Errorf("command %d of %d bytes: %v", i, size, err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return o.grants.Agents.Waiting(id) == 5 })
	release()
	wg.Wait()
}

// TestAnAgentWithEveryGrantCanBeSuspendedWhateverTheCallerSays: the largest command there is, with a user agent
// that would take it over the size of one append if each of its events told it.
func TestAnAgentWithEveryGrantCanBeSuspendedWhateverTheCallerSays(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	var wg sync.WaitGroup
	for range agent.MaxOpenGrants {
		wg.Go(func() {
			tool := agent.Tool{ID: newID().String(), Exists: true}
			o.mustDo(id, func(_ agent.State, at time.Time) (agent.Command, error) { return agent.Assign{At: at, Tool: tool}, nil })
		})
	}
	wg.Wait()
	m := o.meta()
	m.UserAgent = strings.Repeat("<", 100_000)
	done, err := o.agents.Suspend(t.Context(), m, id)
	if err != nil || len(done.Events) != 1+agent.MaxOpenGrants || done.State.Count(agent.Approved, time.Now()) != 0 {
		t.Fatalf("%d events: %v", len(done.Events), err)
	}
	stored, err := o.inst.Log.ReadForward(t.Context(), "agent-"+id, uint64(done.Revision)-agent.MaxOpenGrants, 1000)
	if err != nil || len(stored) != 1+agent.MaxOpenGrants || stored[0].Signed.Private == "" {
		t.Errorf("%d are stored: %v", len(stored), err)
	}
}

func TestACallerWhoLeavesCancelsNobody(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	release := o.blocked(id)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := o.agents.Do(ctx, o.meta(), id, rename("left"))
		left <- err
	}()
	eventually(t, "he waits", func() bool { return o.grants.Agents.Waiting(id) == 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		if done := o.mustDo(id, rename("stayed")); done.State.Name != "stayed" {
			t.Errorf("who stayed got %+v", done)
		}
	})
	eventually(t, "both wait", func() bool { return o.grants.Agents.Waiting(id) == 2 })
	leave()
	if err := <-left; code(err) != "event_log_unavailable" {
		t.Errorf("who left got %v", err)
	}
	release()
	wg.Wait()
	stored, err := o.inst.Log.ReadForward(t.Context(), "agent-"+id, 0, 100)
	if err != nil || len(stored) != 4 || *stored[2].Event.(agent.Updated).Name != "left" {
		t.Errorf("a command that was begun is not finished: %d events, %v", len(stored), err)
	}
}

func TestAQueueThatIsFullIsBusy(t *testing.T) {
	o := open(t)
	id, _ := o.mustAgent("zero")
	release := o.blocked(id)
	var wg sync.WaitGroup
	for range commands.MaxWaiting {
		wg.Go(func() { o.mustDo(id, rename("first")) }) // so already
	}
	eventually(t, "the queue is full", func() bool { return o.grants.Agents.Waiting(id) == commands.MaxWaiting })
	_, err := o.agents.Do(t.Context(), o.meta(), id, rename("one too many"))
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "busy" || refusal.Kind != domain.KindUnavailable || refusal.RetryAfter <= 0 {
		t.Errorf("one more: %v", err)
	}
	release()
	wg.Wait()
	if done := o.mustDo(id, rename("again")); done.State.Name != "again" {
		t.Errorf("afterwards: %+v", done)
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

// TestStreamsThatLeaveMemoryLoseNothing keeps far fewer streams than are worked on, so that they are dropped and
// read again all the time, also under commands that wait.
func TestStreamsThatLeaveMemoryLoseNothing(t *testing.T) {
	o := open(t)
	o.grants.Agents.KeepAtMost(3)
	ids := make([]string, 12)
	for i := range ids {
		ids[i], _ = o.mustAgent("zero")
	}
	const each = 20
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range each {
				id := ids[(worker+i*5)%len(ids)]
				name := fmt.Sprint(worker, "/", i)
				if done := o.mustDo(id, rename(name)); done.State.Name != name || !done.Changed {
					t.Errorf("%s became %+v", name, done.State)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, id := range ids {
		head := o.mustFresh(id)
		total += head.Revision
		if diff := cmp.Diff(o.folded(id), head.State); diff != "" {
			t.Errorf("agent %s (-folded +kept):\n%s", id, diff)
		}
	}
	if kept := o.grants.Agents.Kept(); total != 8*each || kept > 6 {
		t.Errorf("%d commands were carried out, %d streams are kept", total, kept)
	}
}
