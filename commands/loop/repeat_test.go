package loop_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands/commandstest"
	"agentkey/domain/agent"
)

// TestACommandThatIsFoundDoneAnswersWithAllItsEvents: here, and in a process that reads the log
// only now.
func TestACommandThatIsFoundDoneAnswersWithAllItsEvents(t *testing.T) {
	a := open(t)
	id, _ := a.MustAgent("zero")
	const grants = 7
	for range grants {
		tool := agent.Tool{ID: commandstest.NewID().String(), Exists: true}
		a.MustDo(
			id,
			func(_ agent.State, at time.Time) (agent.Command, error) { return agent.Assign{At: at, Tool: tool}, nil },
		)
	}
	m := a.Meta()
	m.CommandID = commandstest.LongAgo(m.CommandID)
	before := a.MustFresh(id)
	first, err := a.Agents.Suspend(t.Context(), m, id)
	if err != nil || len(first.Events) != 1+grants || first.Repeated {
		t.Fatalf("%d events: %v", len(first.Events), err)
	}
	a.MustDo(id, commandstest.Always(agent.Reactivate{}))
	m.Since = before.Position
	for name, again := range map[string]*office{"here": a, "in a new process": openOn(t, a.Server, a.Ring)} {
		done, err := again.Agents.Suspend(t.Context(), m, id)
		if err != nil || !done.Repeated || !done.Changed {
			t.Fatalf("%s: %+v, %v", name, done, err)
		}
		if diff := cmp.Diff(first.Events, done.Events); diff != "" {
			t.Errorf("%s (-first +repeat):\n%s", name, diff)
		}
		if done.Revision != first.Revision || done.Position != first.Position || done.EventID != first.EventID {
			t.Errorf("%s it ended at %d, the first at %d", name, done.Revision, first.Revision)
		}
		was, err := again.Agents.Loop.Before(t.Context(), id, done)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before.State, was); diff != "" {
			t.Errorf("%s it was decided on (-was +is said):\n%s", name, diff)
		}
	}
}
