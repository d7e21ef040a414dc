package commands_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain/catalog"
)

var sameplan = cmpopts.IgnoreUnexported(catalog.Plan{})

// TestARepeatedImportAnswersTheFirstPlan: the answer was lost, and a process that starts finds the
// command done.
func TestARepeatedImportAnswersTheFirstPlan(t *testing.T) {
	a := open(t)
	a.MustTool("GitHub", catalog.PerAgent, "")
	kept := a.MustTool("Slack", catalog.PerAgent, "")
	file := func() []catalog.FileTool {
		return []catalog.FileTool{
			{Name: "GitHub", Mode: catalog.PerAgent, AuthType: "api_key", Description: "code", Instructions: "read it"},
			{Name: "Linear", Mode: catalog.Shared, AuthType: "oauth"},
		}
	}
	m := a.Meta()
	m.CommandID = commandstest.LongAgo(m.CommandID)
	since := mustCatalog(t, a).Position
	want, first, err := a.Tools.Import(t.Context(), m, file(), false)
	if err != nil || len(want.Changes) != 2 || len(want.Changes[0].Fields) != 2 || want.Missing[0] != kept {
		t.Fatalf("the plan is %+v, %v", want, err)
	}
	a.MustTool("Later", catalog.PerAgent, "")
	m.Since = since
	a.repeats(m, file, want, first)
}

// repeats imports a file again under the same command, here and in a process that starts, and
// expects what the first call did.
func (o *office) repeats(m loop.Meta, file func() []catalog.FileTool, want catalog.Plan, first commands.CatalogResult) {
	o.T.Helper()
	for name, again := range map[string]*office{"here": o, "in a new process": openOn(o.T, o.Server, o.Ring)} {
		got, done, err := again.Tools.Import(o.T.Context(), m, file(), false)
		if err != nil || done.Revision != first.Revision || !done.Repeated {
			o.T.Errorf("%s: revision %d, it was %d: %v", name, done.Revision, first.Revision, err)
		}
		if diff := cmp.Diff(want, got, sameplan); diff != "" {
			o.T.Errorf("%s (-first +repeat):\n%s", name, diff)
		}
		if diff := cmp.Diff(first.Events, done.Events); diff != "" {
			o.T.Errorf("%s (-first +repeat):\n%s", name, diff)
		}
	}
}

// TestAnImportWhoseCallerLeftIsNotOverwritten is for the race detector: the command of the first
// call is still decided while the second is answered.
func TestAnImportWhoseCallerLeftIsNotOverwritten(t *testing.T) {
	o := open(t)
	m := o.Meta()
	m.CommandID = commandstest.LongAgo(m.CommandID)
	plans := make([]catalog.Plan, 8)
	var wg sync.WaitGroup
	for i := range plans {
		wg.Go(func() {
			m := m
			if i > 0 {
				m.Since = 1
			}
			var err error
			if plans[i], _, err = o.Tools.Import(
				t.Context(), m, []catalog.FileTool{{Name: "GitHub", Mode: catalog.PerAgent, AuthType: "api_key"}},
				false,
			); err != nil {
				t.Error(fmt.Errorf("call %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	for i, p := range plans {
		if diff := cmp.Diff(plans[0], p, sameplan); diff != "" {
			t.Errorf("call %d is answered otherwise (-first +this):\n%s", i, diff)
		}
	}
	if n := o.Count("tool.added.v1"); n != 1 {
		t.Errorf("%d tools were added", n)
	}
}

func mustCatalog(t *testing.T, o *office) loop.Head[catalog.State] {
	t.Helper()
	head, err := o.Tools.Catalogs.Fresh(t.Context(), o.Inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	return head
}
