package commands_test

import (
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestNoFetchSucceedsOnceItsEndIsAcknowledged races fetches in two processes with everything that
// ends access: each success was vended before the end in the log, and none that began after the
// answer succeeds.
func TestNoFetchSucceedsOnceItsEndIsAcknowledged(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	ctx := t.Context()
	ends := map[string]struct {
		end  func(id, tool string) (uint64, error)
		then string
	}{
		"revoking": {func(id, tool string) (uint64, error) {
			r, err := a.Grants.Revoke(ctx, a.Meta(), id, tool, agent.CauseAdmin)
			return r.Position, err
		}, "access_not_approved"},
		"suspending": {func(id, _ string) (uint64, error) {
			r, err := a.Agents.Suspend(ctx, a.Meta(), id)
			return r.Position, err
		}, "agent_suspended"},
		"retiring": {func(id, _ string) (uint64, error) {
			r, err := a.Agents.Retire(ctx, a.Meta(), id)
			return r.Position, err
		}, "credentials_unknown"},
		"rotating the key": {func(id, _ string) (uint64, error) {
			r, err := a.Agents.RotateKey(ctx, a.Meta(), id, commands.Rotation{})
			return r.Position, err
		}, "credentials_expired"},
		"removing the tool": {func(_, tool string) (uint64, error) {
			r, err := a.Tools.Remove(ctx, a.Meta(), tool)
			return r.Position, err
		}, "not_found"},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			vended := 0
			for range eventstoretest.Rounds(60) {
				tool := a.MustTool(commandstest.NewID().String(), catalog.Shared, "x")
				id, key := a.MustAgent("One")
				a.MustAssign(id, tool)
				b.MustFetch(id, tool, key.Number)
				var wg sync.WaitGroup
				var mu sync.Mutex
				var positions []uint64
				for i := range 4 {
					process := []*office{a, b}[i%2]
					wg.Go(func() {
						for {
							v, err := process.Fetch.Do(ctx, process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
							if err != nil {
								if commandstest.Code(err) != tt.then {
									t.Errorf("a fetch under it: %v", err)
								}
								return
							}
							_, position := process.vendedAs(v)
							mu.Lock()
							positions = append(positions, position)
							mu.Unlock()
						}
					})
				}
				wait.Until(t, "somebody fetched", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(positions) > 0 || t.Failed()
				})
				end, err := tt.end(id, tool)
				if err != nil {
					t.Fatal(err)
				}
				for _, process := range []*office{a, b} {
					if _, err := process.Fetch.Do(
						ctx, process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool,
					); commandstest.Code(err) != tt.then {
						t.Errorf("a fetch after the answer: %v", err)
					}
				}
				wg.Wait()
				for _, position := range positions {
					vended++
					if position >= end {
						t.Errorf("vended at %d, ended at %d", position, end)
					}
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d fetches succeeded under it", vended)
		})
	}
}

// TestNothingIsGrantedOnceItsToolIsRemoved races asking for access and giving it with the removal
// of the tool: what came after the removal in the log is revoked again before anybody hears of it,
// and its credential removed.
func TestNothingIsGrantedOnceItsToolIsRemoved(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	ctx := t.Context()
	terms := func() commands.Terms { return commands.Terms{Credential: b.Credential("lin")} }
	grants := map[string]func(id, tool, request string) (commands.AgentResult, error){
		"asking": func(id, tool, _ string) (commands.AgentResult, error) {
			_, done, err := b.Grants.Request(ctx, b.AsAgent(id), id, tool, commands.Wanted{Reason: "because"})
			return done, err
		},
		"approving": func(_, _, request string) (commands.AgentResult, error) {
			d, err := b.Grants.Approve(ctx, b.Meta(), request, terms())
			return d.AgentResult, err
		},
		"assigning": func(id, tool, _ string) (commands.AgentResult, error) {
			d, err := b.Grants.Assign(ctx, b.Meta(), id, tool, terms())
			return d.AgentResult, err
		},
	}
	for name, grant := range grants {
		t.Run(name, func(t *testing.T) {
			revoked := 0
			for range eventstoretest.Rounds(60) {
				tool := a.MustTool(commandstest.NewID().String(), catalog.PerAgent, "")
				id, _ := a.MustAgent("One")
				request := ""
				if name == "approving" {
					request = a.mustRequest(id, tool)
				}
				var granted commands.AgentResult
				var removed commands.CatalogResult
				var gerr, rerr error
				var wg sync.WaitGroup
				wg.Go(func() { granted, gerr = grant(id, tool, request) })
				wg.Go(func() { removed, rerr = a.Tools.Remove(ctx, a.Meta(), tool) })
				wg.Wait()
				if rerr != nil || (gerr != nil && commandstest.Code(gerr) != "not_found") {
					t.Fatalf("removed: %v, granted: %v", rerr, gerr)
				}
				g := a.MustFresh(id).State.Grants[tool]
				switch {
				case gerr == nil && (!g.Open() || granted.Position > removed.Position):
					t.Fatalf(
						"it was acknowledged at %d, the tool was removed at %d, and it is %s", granted.Position,
						removed.Position, g.Status,
					)
				case gerr != nil && g.Open() && request == "":
					t.Fatalf("it was refused, and is %s", g.Status)
				case gerr != nil && g.Status == agent.Approved:
					t.Fatal("it was refused, and is approved")
				case gerr != nil && g.Status == agent.Revoked:
					revoked++
					if g.SecretID != "" && a.secretIs(g.SecretID) != "removed" {
						t.Fatal("its credential was left")
					}
				}
			}
			t.Logf("%d were revoked again", revoked)
		})
	}
}

// TestDecisionsFallOnTheRequestThatWasSeen races an approval with the agent, who withdraws and asks
// again, and with a second admin, who denies.
func TestDecisionsFallOnTheRequestThatWasSeen(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	ctx := t.Context()
	tool := a.MustTool("GitHub", catalog.Shared, "x")
	outcomes := map[agent.GrantStatus]int{}
	for range eventstoretest.Rounds(100) {
		id, _ := a.MustAgent("One")
		first := a.mustRequest(id, tool)
		b.MustFresh(id)
		second := ""
		var approved, denied error
		var wg sync.WaitGroup
		wg.Go(func() { _, approved = b.Grants.Approve(ctx, b.Meta(), first, commands.Terms{}) })
		wg.Go(func() { _, denied = a.Grants.Deny(ctx, a.Meta(), first, "no") })
		wg.Go(func() {
			a.MustDo(id, commandstest.Always(agent.Withdraw{ToolID: tool}))
			var err error
			if second, _, err = a.Grants.Request(ctx, a.AsAgent(id), id, tool, commands.Wanted{Reason: "again"}); err != nil &&
				commandstest.Code(err) != "already_approved" {
				t.Errorf("asking again: %v", err)
			}
		})
		wg.Wait()
		for _, err := range []error{approved, denied} {
			if err != nil && commandstest.Code(err) != "already_decided" {
				t.Fatalf("deciding: %v", err)
			}
		}
		if approved == nil && denied == nil {
			t.Fatal("two decisions were acknowledged")
		}
		g := a.MustFresh(id).State.Grants[tool]
		outcomes[g.Status]++
		if (g.Status == agent.Approved) != (approved == nil) || (g.Status == agent.Pending) != (second != "") ||
			(g.Status == agent.Pending && g.RequestID != second) {
			t.Fatalf("approved: %v, denied: %v, asked again: %q, and it is %+v", approved, denied, second, g)
		}
	}
	t.Logf("it ended as %v", outcomes)
}

// TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval and a reactivation after both.
func TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	ctx := t.Context()
	tool := a.MustTool("GitHub", catalog.Shared, "x")
	for range eventstoretest.Rounds(100) {
		id, key := a.MustAgent("One")
		request := a.mustRequest(id, tool)
		b.MustFresh(id)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.Grants.Approve(ctx, b.Meta(), request, commands.Terms{}); err != nil &&
				commandstest.Code(err) != "already_decided" {
				t.Errorf("approve: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := a.Agents.Suspend(ctx, a.Meta(), id); err != nil {
				t.Errorf("suspend: %v", err)
			}
		})
		wg.Wait()
		b.MustDo(id, commandstest.Always(agent.Reactivate{}))
		s := b.MustFresh(id).State
		if n := s.Count(agent.Approved, time.Now()) + s.Count(agent.Pending, time.Now()); n > 0 {
			t.Fatalf("%d grants are live", n)
		}
		if _, err := a.Fetch.Do(
			ctx, a.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool,
		); commandstest.Code(err) != "access_not_approved" {
			t.Fatalf("a fetch: %v", err)
		}
	}
}
