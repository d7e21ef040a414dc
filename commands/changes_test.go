package commands_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// largeFile is a file of more events than one append holds.
func largeFile() []catalog.FileTool {
	tools := make([]catalog.FileTool, 262)
	for i := range tools {
		tools[i] = catalog.FileTool{
			Name: fmt.Sprint("Tool ", i), Mode: catalog.Shared, AuthType: "api_key",
			Instructions: strings.Repeat("0123456789", 400),
		}
	}
	return tools
}

// TestALargeImportIsCarriedOutInParts and answers like a small one, also when it is repeated.
func TestALargeImportIsCarriedOutInParts(t *testing.T) {
	o := open(t)
	kept := o.MustTool("Kept", catalog.PerAgent, "")
	m := o.Meta()
	m.CommandID = commandstest.LongAgo(m.CommandID)
	since := mustCatalog(t, o).Position
	if _, _, err := o.Tools.Import(t.Context(), m, largeFile(), true); err != nil {
		t.Fatal(err)
	}
	want, first, err := o.Tools.Import(t.Context(), m, largeFile(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Changes) != 262 || want.Missing[0] != kept || len(first.Events) != 524 || !first.Changed ||
		len(first.State.Tools) != 263 || first.State.Underway != nil {
		t.Errorf("%d changes, %d events, %d tools", len(want.Changes), len(first.Events), len(first.State.Tools))
	}
	if planned, completed := o.Count("catalog.change_planned.v1"), o.Count("catalog.change_completed.v1"); planned != 1 ||
		completed != 1 {
		t.Errorf("%d plans, %d ends", planned, completed)
	}
	o.MustTool("Later", catalog.PerAgent, "")
	m.Since = since
	o.repeats(m, largeFile, want, first)
}

// TestALargeImportIsWholeWhereverItStops: the caller is gone at each of its appends. What was not
// planned is not there, and what was planned is finished by the process that continues it, once.
func TestALargeImportIsWholeWhereverItStops(t *testing.T) {
	for stop := 1; ; stop++ {
		o := open(t)
		ctx, leave := context.WithCancel(t.Context())
		appends := 0
		o.Env.OnAppend = func(loop.Appending) {
			if appends++; appends == stop {
				leave()
			}
		}
		m := o.Meta()
		_, _, err := o.Tools.Import(ctx, m, largeFile(), false)
		leave()
		next := openOn(t, o.Server, o.Ring)
		head := mustCatalog(t, next)
		switch u := head.State.Underway; {
		case err == nil:
			if stop < 4 {
				t.Fatalf("only %d appends", stop)
			}
			return
		case u != nil:
			planned := catalog.ChangePlanned{ChangeID: u.ChangeID, Parts: u.Parts}
			by := loop.Meta{Organization: m.Organization, Actor: m.Actor}
			if _, _, err := next.Tools.Import(t.Context(), next.Meta(), largeFile(), false); commandstest.Code(err) != "busy" {
				t.Errorf("after %d appends, another import: %v", stop, err)
			}
			done, err := next.Tools.Continue(t.Context(), by, planned)
			if err != nil || !done.Changed || len(done.State.Tools) != 262 {
				t.Errorf("after %d appends: %d tools, %v", stop, len(done.State.Tools), err)
			}
			if done, err := next.Tools.Continue(t.Context(), by, planned); err != nil || done.Changed {
				t.Errorf("after %d appends, a second time: %v", stop, err)
			}
			for _, p := range u.Parts {
				if _, err := next.Inst.Log.ReadForward(t.Context(), codec.Secrets.Stream(p.SecretID), 0, 1); !errors.Is(
					err, eventstore.ErrStreamDeleted,
				) {
					t.Errorf("after %d appends the plan is kept: %v", stop, err)
				}
			}
		case len(head.State.Tools) != 0 && len(head.State.Tools) != 262:
			t.Errorf("after %d appends there are %d tools and nothing says that more follow", stop, len(head.State.Tools))
		}
		if n := next.Count("tool.added.v1"); n != 0 && n != 262 {
			t.Errorf("after %d appends %d tools were added", stop, n)
		}
	}
}

// TestAnAnswerToSeveralSuggestionsMayTakeSeveralAppends: each agent of each suggestion that a human
// named gets what was decided, although one append can't hold it.
func TestAnAnswerToSeveralSuggestionsMayTakeSeveralAppends(t *testing.T) {
	o := open(t)
	o.Tools.Agents = o.Grants.Agents
	suggestions := &commands.Suggestions{Tools: o.Tools, Grants: o.Grants}
	var ids []string
	for _, name := range []string{"Alpha", "Beta", "Gamma"} {
		var id string
		for i := range 14 {
			agent, _ := o.MustAgent(fmt.Sprint(name, i))
			made, err := suggestions.Suggest(
				t.Context(), o.AsAgent(agent), agent, name, "https://"+strings.ToLower(name)+".example",
				strings.Repeat("<", 5000),
			)
			if err != nil {
				t.Fatal(err)
			}
			id = made.ID
		}
		ids = append(ids, id)
	}
	m := o.Meta()
	m.Seen = domain.Seen{mustCatalog(t, o).State.Digest(ids[0])}
	accepted, err := suggestions.Accept(t.Context(), m, ids[0], ids[1:], catalog.AddTool{
		Name: "Alpha", AuthType: "api_key", Mode: catalog.Shared,
	}, o.Credential("secret"), true)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[catalog.Outcome]int{}
	for _, e := range accepted.Events {
		if e, is := e.(catalog.SuggestionAccepted); is {
			for _, d := range e.Decisions {
				outcomes[d.Outcome]++
			}
		}
	}
	// The backers of suggestions that are not related were not shown.
	if outcomes[catalog.Granted] != 14 || outcomes[catalog.Pending] != 28 || len(accepted.Backers) != 42 ||
		o.Count("catalog.change_planned.v1") != 1 {
		t.Errorf("%v in %d changes", outcomes, o.Count("catalog.change_planned.v1"))
	}
	for i, id := range ids {
		if x := accepted.State.Suggestions[id]; x.Status != catalog.StatusAccepted || x.ToolID != accepted.ToolID {
			t.Errorf("suggestion %d is %v", i, x)
		}
	}
}
