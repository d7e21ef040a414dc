package commands_test

import (
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest"
)

// TestNoFetchSucceedsOnceItsEndIsAcknowledged races fetches in two processes with everything that ends access:
// each success was vended before the end in the log, and none that began after the answer succeeds.
func TestNoFetchSucceedsOnceItsEndIsAcknowledged(t *testing.T) {
	a := open(t)
	b := openOn(t, a.server, a.ring)
	ctx := t.Context()
	ends := map[string]struct {
		end  func(id, tool string) (uint64, error)
		then string
	}{
		"revoking": {func(id, tool string) (uint64, error) {
			r, err := a.grants.Revoke(ctx, a.meta(), id, tool, agent.CauseAdmin)
			return r.Position, err
		}, "access_not_approved"},
		"suspending": {func(id, _ string) (uint64, error) {
			r, err := a.agents.Suspend(ctx, a.meta(), id)
			return r.Position, err
		}, "agent_suspended"},
		"retiring": {func(id, _ string) (uint64, error) {
			r, err := a.agents.Retire(ctx, a.meta(), id)
			return r.Position, err
		}, "credentials_unknown"},
		"rotating the key": {func(id, _ string) (uint64, error) {
			r, err := a.agents.RotateKey(ctx, a.meta(), id, 0)
			return r.Position, err
		}, "credentials_expired"},
		"removing the tool": {func(_, tool string) (uint64, error) {
			r, err := a.tools.Remove(ctx, a.meta(), tool)
			return r.Position, err
		}, "not_found"},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			vended := 0
			for range eventstoretest.Rounds(60) {
				tool := a.mustTool(newID().String(), catalog.Shared, "x")
				id, key := a.mustAgent("One")
				a.mustAssign(id, tool)
				b.mustFetch(id, tool, key.Number)
				var wg sync.WaitGroup
				var mu sync.Mutex
				var positions []uint64
				for i := range 4 {
					process := []*office{a, b}[i%2]
					wg.Go(func() {
						for {
							v, err := process.fetch.Do(ctx, process.asAgent(id), id, key.Number, tool)
							if err != nil {
								if code(err) != tt.then {
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
				eventually(t, "somebody fetched", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(positions) > 0 || t.Failed()
				})
				end, err := tt.end(id, tool)
				if err != nil {
					t.Fatal(err)
				}
				for _, process := range []*office{a, b} {
					if _, err := process.fetch.Do(ctx, process.asAgent(id), id, key.Number, tool); code(err) != tt.then {
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

// TestNothingIsGrantedOnceItsToolIsRemoved races asking for access and giving it with the removal of the tool: what
// came after the removal in the log is revoked again before anybody hears of it, and its credential removed.
func TestNothingIsGrantedOnceItsToolIsRemoved(t *testing.T) {
	a := open(t)
	b := openOn(t, a.server, a.ring)
	ctx := t.Context()
	terms := func() commands.Terms { return commands.Terms{Credential: b.credential("lin")} }
	grants := map[string]func(id, tool, request string) (commands.AgentResult, error){
		"asking": func(id, tool, _ string) (commands.AgentResult, error) {
			_, done, err := b.grants.Request(ctx, b.asAgent(id), id, tool, "because")
			return done, err
		},
		"approving": func(_, _, request string) (commands.AgentResult, error) {
			d, err := b.grants.Approve(ctx, b.meta(), request, terms())
			return d.AgentResult, err
		},
		"assigning": func(id, tool, _ string) (commands.AgentResult, error) {
			d, err := b.grants.Assign(ctx, b.meta(), id, tool, terms())
			return d.AgentResult, err
		},
	}
	for name, grant := range grants {
		t.Run(name, func(t *testing.T) {
			revoked := 0
			for range eventstoretest.Rounds(60) {
				tool := a.mustTool(newID().String(), catalog.PerAgent, "")
				id, _ := a.mustAgent("One")
				request := ""
				if name == "approving" {
					request = a.mustRequest(id, tool)
				}
				var granted commands.AgentResult
				var removed commands.CatalogResult
				var gerr, rerr error
				var wg sync.WaitGroup
				wg.Go(func() { granted, gerr = grant(id, tool, request) })
				wg.Go(func() { removed, rerr = a.tools.Remove(ctx, a.meta(), tool) })
				wg.Wait()
				if rerr != nil || (gerr != nil && code(gerr) != "not_found") {
					t.Fatalf("removed: %v, granted: %v", rerr, gerr)
				}
				g := a.mustFresh(id).State.Grants[tool]
				switch {
				case gerr == nil && (!g.Open() || granted.Position > removed.Position):
					t.Fatalf("it was acknowledged at %d, the tool was removed at %d, and it is %s", granted.Position, removed.Position, g.Status)
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

// TestDecisionsFallOnTheRequestThatWasSeen races an approval with the agent, who withdraws and asks anew, and
// with a second admin, who denies.
func TestDecisionsFallOnTheRequestThatWasSeen(t *testing.T) {
	a := open(t)
	b := openOn(t, a.server, a.ring)
	ctx := t.Context()
	tool := a.mustTool("GitHub", catalog.Shared, "x")
	outcomes := map[agent.GrantStatus]int{}
	for range eventstoretest.Rounds(100) {
		id, _ := a.mustAgent("One")
		first := a.mustRequest(id, tool)
		b.mustFresh(id)
		second := ""
		var approved, denied error
		var wg sync.WaitGroup
		wg.Go(func() { _, approved = b.grants.Approve(ctx, b.meta(), first, commands.Terms{}) })
		wg.Go(func() { _, denied = a.grants.Deny(ctx, a.meta(), first, "no") })
		wg.Go(func() {
			a.mustDo(id, always(agent.Withdraw{ToolID: tool}))
			var err error
			if second, _, err = a.grants.Request(ctx, a.asAgent(id), id, tool, "again"); err != nil && code(err) != "already_approved" {
				t.Errorf("asking anew: %v", err)
			}
		})
		wg.Wait()
		for _, err := range []error{approved, denied} {
			if err != nil && code(err) != "already_decided" {
				t.Fatalf("deciding: %v", err)
			}
		}
		if approved == nil && denied == nil {
			t.Fatal("two decisions were acknowledged")
		}
		g := a.mustFresh(id).State.Grants[tool]
		outcomes[g.Status]++
		if (g.Status == agent.Approved) != (approved == nil) || (g.Status == agent.Pending) != (second != "") || (g.Status == agent.Pending && g.RequestID != second) {
			t.Fatalf("approved: %v, denied: %v, asked anew: %q, and it is %+v", approved, denied, second, g)
		}
	}
	t.Logf("it ended as %v", outcomes)
}

// TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval and a reactivation after both.
func TestNothingIsLiveAfterASuspensionThatRacedWithAnApproval(t *testing.T) {
	a := open(t)
	b := openOn(t, a.server, a.ring)
	ctx := t.Context()
	tool := a.mustTool("GitHub", catalog.Shared, "x")
	for range eventstoretest.Rounds(100) {
		id, key := a.mustAgent("One")
		request := a.mustRequest(id, tool)
		b.mustFresh(id)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.grants.Approve(ctx, b.meta(), request, commands.Terms{}); err != nil && code(err) != "already_decided" {
				t.Errorf("approve: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := a.agents.Suspend(ctx, a.meta(), id); err != nil {
				t.Errorf("suspend: %v", err)
			}
		})
		wg.Wait()
		b.mustDo(id, always(agent.Reactivate{}))
		s := b.mustFresh(id).State
		if n := s.Count(agent.Approved, time.Now()) + s.Count(agent.Pending, time.Now()); n > 0 {
			t.Fatalf("%d grants are live", n)
		}
		if _, err := a.fetch.Do(ctx, a.asAgent(id), id, key.Number, tool); code(err) != "access_not_approved" {
			t.Fatalf("a fetch: %v", err)
		}
	}
}
