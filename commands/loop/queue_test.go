package loop_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/eventstoretest/wait"
)

// blocked holds a stream's queue in the decision of a first command until the returned function is
// called.
func (o *office) blocked(id string) (release func()) {
	o.T.Helper()
	deciding, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		o.MustDo(id, func(agent.State, time.Time) (agent.Command, error) {
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

func TestManyCommandsAtOnceShareOneAppendAndEachAnswersForItself(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	const n = 200
	results, errs := make([]commands.AgentResult, n), make([]error, n)
	release := o.blocked(id)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprint("name ", i)
			command := agent.Update{Name: &name}
			if i%10 == 0 {
				command.IfRevision = domain.Revisions{9999}
			}
			results[i], errs[i] = o.Agents.Do(t.Context(), o.Meta(), id, commandstest.Always(command))
		})
	}
	wait.Until(t, "all wait", func() bool { return o.Grants.Agents.Waiting(id) == n })
	release()
	wg.Wait()
	positions, revisions := map[uint64]bool{}, map[int64]bool{}
	for i := range n {
		if i%10 == 0 {
			if commandstest.Code(errs[i]) != "revision_stale" {
				t.Fatalf("command %d was to be refused: %v", i, errs[i])
			}
			continue
		}
		if errs[i] != nil || results[i].State.Name != fmt.Sprint("name ", i) || len(results[i].Events) != 1 {
			t.Fatalf("command %d: %+v %v", i, results[i], errs[i])
		}
		positions[results[i].Position], revisions[results[i].Revision] = true, true
		stored, err := o.Inst.Log.ReadForward(t.Context(), "agent-"+id, uint64(results[i].Revision), 1)
		if err != nil || stored[0].ID != results[i].EventID {
			t.Fatalf("command %d is not where it says: %v", i, err)
		}
	}
	if len(positions) != 1 || len(revisions) != n-n/10 {
		t.Errorf("%d commands took %d appends and %d revisions", n-n/10, len(positions), len(revisions))
	}
	if left := o.Grants.Agents.Remembered(id); left != 0 {
		t.Errorf("%d commands are kept in mind", left)
	}
}

func TestABatchIsNotLargerThanOneAppendMayBe(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	for name, tt := range map[string]struct{ commands, bytes, most int }{
		"events": {1000, 10, 512},
		"bytes":  {40, 30_000, 8}, // 256 KiB
	} {
		t.Run(name, func(t *testing.T) {
			release := o.blocked(id)
			var mu sync.Mutex
			appends := map[uint64]int{}
			var wg sync.WaitGroup
			for i := range tt.commands {
				wg.Go(func() {
					m := o.Meta()
					m.Address, m.UserAgent = "", ""
					text := fmt.Sprint(i, strings.Repeat("x", tt.bytes))
					done, err := o.Agents.Do(t.Context(), m, id, commandstest.Always(agent.Update{Description: &text}))
					if err != nil || done.State.Description != text {
						t.Errorf("command %d: %v", i, err)
					}
					mu.Lock()
					defer mu.Unlock()
					appends[done.Position]++
				})
			}
			wait.Until(t, "all wait", func() bool { return o.Grants.Agents.Waiting(id) == tt.commands })
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
	id, _ := o.MustAgent("zero")
	release := o.blocked(id)
	var wg sync.WaitGroup
	for i, size := range []int{10, 2 << 20, 1_030_000, 950_000, 20} {
		wg.Go(func() {
			text := strings.Repeat("x", size)
			done, err := o.Agents.Do(t.Context(), o.Meta(), id, commandstest.Always(agent.Update{Description: &text}))
			want := ""
			if size > 1000<<10 {
				want = "validation_failed"
			}
			if commandstest.Code(err) != want || (err == nil && len(done.State.Description) != size) {
				t.Errorf("command %d of %d bytes: %v", i, size, err)
			}
		})
	}
	wait.Until(t, "all wait", func() bool { return o.Grants.Agents.Waiting(id) == 5 })
	release()
	wg.Wait()
}

// TestAnAgentWithEveryGrantCanBeSuspendedWhateverTheCallerSays: the largest command there is, with
// a user agent that would take it over the size of one append if each of its events told it.
func TestAnAgentWithEveryGrantCanBeSuspendedWhateverTheCallerSays(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	var wg sync.WaitGroup
	for range agent.MaxOpenGrants {
		wg.Go(func() {
			tool := agent.Tool{ID: commandstest.NewID().String(), Exists: true}
			o.MustDo(
				id,
				func(_ agent.State, at time.Time) (agent.Command, error) {
					return agent.Assign{At: at, Tool: tool}, nil
				},
			)
		})
	}
	wg.Wait()
	m := o.Meta()
	m.UserAgent = strings.Repeat("<", 100_000)
	done, err := o.Agents.Suspend(t.Context(), m, id)
	if err != nil || len(done.Events) != 1+agent.MaxOpenGrants || done.State.Count(agent.Approved, time.Now()) != 0 {
		t.Fatalf("%d events: %v", len(done.Events), err)
	}
	stored, err := o.Inst.Log.ReadForward(t.Context(), "agent-"+id, uint64(done.Revision)-agent.MaxOpenGrants, 1000)
	if err != nil || len(stored) != 1+agent.MaxOpenGrants || stored[0].Signed.Private == "" {
		t.Errorf("%d are stored: %v", len(stored), err)
	}
}

func TestACallerThatLeavesCancelsNoOther(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	release := o.blocked(id)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := o.Agents.Do(ctx, o.Meta(), id, commandstest.Rename("left"))
		left <- err
	}()
	wait.Until(t, "the caller waits", func() bool { return o.Grants.Agents.Waiting(id) == 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		if done := o.MustDo(id, commandstest.Rename("stayed")); done.State.Name != "stayed" {
			t.Errorf("who stayed got %+v", done)
		}
	})
	wait.Until(t, "both wait", func() bool { return o.Grants.Agents.Waiting(id) == 2 })
	leave()
	if err := <-left; commandstest.Code(err) != "event_log_unavailable" {
		t.Errorf("who left got %v", err)
	}
	release()
	wg.Wait()
	stored, err := o.Inst.Log.ReadForward(t.Context(), "agent-"+id, 0, 100)
	if err != nil || len(stored) != 4 || *stored[2].Event.(agent.Updated).Name != "left" {
		t.Errorf("a command that was begun is not finished: %d events, %v", len(stored), err)
	}
}

func TestAQueueThatIsFullIsBusy(t *testing.T) {
	o := open(t)
	id, _ := o.MustAgent("zero")
	release := o.blocked(id)
	var wg sync.WaitGroup
	rename := func(actor int, name string) error {
		m := o.Meta()
		m.Actor.ID = fmt.Sprint(actor)
		_, err := o.Agents.Do(t.Context(), m, id, commandstest.Rename(name))
		return err
	}
	refused := func(actor int) {
		t.Helper()
		err := rename(actor, "one too many")
		if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "busy" ||
			refusal.Kind != domain.KindUnavailable || refusal.RetryAfter <= 0 {
			t.Errorf("one more of %d: %v", actor, err)
		}
	}
	for actor := range loop.MaxWaiting / loop.MaxShare {
		for range loop.MaxShare {
			wg.Go(func() {
				if err := rename(actor, "first"); err != nil { // so already
					t.Error(err)
				}
			})
		}
		full := (actor + 1) * loop.MaxShare
		wait.Until(t, "a share is taken", func() bool { return o.Grants.Agents.Waiting(id) == full })
		refused(actor) // the others aren't
	}
	refused(-1)
	release()
	wg.Wait()
	if done := o.MustDo(id, commandstest.Rename("again")); done.State.Name != "again" {
		t.Errorf("afterwards: %+v", done)
	}
}

// TestStreamsThatLeaveMemoryLoseNothing keeps far fewer streams than are worked on, so that they
// are dropped and read again all the time, also under commands that wait.
func TestStreamsThatLeaveMemoryLoseNothing(t *testing.T) {
	o := open(t)
	o.Grants.Agents.KeepAtMost(3)
	ids := make([]string, 12)
	for i := range ids {
		ids[i], _ = o.MustAgent("zero")
	}
	const each = 20
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range each {
				id := ids[(worker+i*5)%len(ids)]
				name := fmt.Sprint(worker, "/", i)
				if done := o.MustDo(id, commandstest.Rename(name)); done.State.Name != name || !done.Changed {
					t.Errorf("%s became %+v", name, done.State)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, id := range ids {
		head := o.MustFresh(id)
		total += head.Revision
		if diff := cmp.Diff(o.folded(id), head.State); diff != "" {
			t.Errorf("agent %s (-folded +kept):\n%s", id, diff)
		}
	}
	if kept := o.Grants.Agents.Kept(); total != 8*each || kept > 6 {
		t.Errorf("%d commands were carried out, %d streams are kept", total, kept)
	}
}
