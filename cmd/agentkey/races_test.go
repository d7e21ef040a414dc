package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"

	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
)

// duel is something that ends access, or changes what is vended, raced against fetches on two
// replicas.
type duel struct {
	name   string
	arm    func(*duelist)        // gives access, as it is before each round
	strike func(*duelist) answer // what is acknowledged when it returns
	after  func(*duelist, answer) error
	// vended says whether a fetch that succeeded had to come before the strike; nil: each one had.
	vended func(*duelist, answer) bool
}

// duelist is one agent and one tool with two servers.
type duelist struct {
	t           *testing.T
	replicas    []*program
	admin       client
	id, key     string
	tool        string
	round       int
	receipts    map[string]bool // of the fetches that succeeded
	lastVersion int
}

func (d *duelist) access(a answer) error {
	if a.Status == 403 && a.Code() == "access_not_approved" {
		return nil
	}
	return fmt.Errorf("status %d: %s", a.Status, a.Body)
}

var duels = []duel{
	{
		name: "revocation", after: (*duelist).access,
		arm: func(d *duelist) { d.admin.mustAssign(d.id, d.tool) },
		strike: func(d *duelist) answer {
			return d.admin.must(204, "DELETE", "/api/admin/agents/"+d.id+"/grants/"+d.tool, nil)
		},
	},
	{
		name: "suspension",
		arm: func(d *duelist) {
			d.admin.must(200, "POST", "/api/admin/agents/"+d.id+"/reactivate", nil)
			d.admin.mustAssign(d.id, d.tool)
		},
		strike: func(d *duelist) answer { return d.admin.must(200, "POST", "/api/admin/agents/"+d.id+"/suspend", nil) },
		after: func(_ *duelist, a answer) error {
			if a.Status == 403 && a.Code() == "agent_suspended" {
				return nil
			}
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		},
	},
	{
		name: "key_rotation",
		arm: func(d *duelist) {
			if d.round == 0 {
				d.admin.mustAssign(d.id, d.tool)
				return
			}
			d.key = d.admin.must(200, "POST", "/api/admin/agents/"+d.id+"/rotate-key", nil).Text("api_key")
		},
		strike: func(d *duelist) answer {
			return d.admin.must(200, "POST", "/api/admin/agents/"+d.id+"/rotate-key", nil)
		},
		after: func(_ *duelist, a answer) error {
			if a.Status == 401 && (a.Code() == "credentials_expired" || a.Code() == "credentials_unknown") {
				return nil
			}
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		},
	},
	{
		name: "credential_rotation",
		arm: func(d *duelist) {
			if d.round == 0 {
				d.admin.mustAssign(d.id, d.tool)
				d.lastVersion = 1
			}
		},
		strike: func(d *duelist) answer {
			a := d.admin.must(
				200, "PUT", "/api/admin/tools/"+d.tool+"/credential",
				object{"credential": fmt.Sprint("credential ", d.lastVersion+1)},
			)
			return a
		},
		after: func(d *duelist, a answer) error {
			if a.Status == 200 && a.Text("credential") == fmt.Sprint("credential ", d.lastVersion+1) {
				return nil
			}
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		},
		vended: func(d *duelist, a answer) bool {
			version := int(a.At("credential_version").(float64))
			if want := fmt.Sprint("credential ", version); version > 1 && a.Text("credential") != want {
				d.t.Errorf("version %d came as %q", version, a.Text("credential"))
			}
			return version <= d.lastVersion
		},
	},
	{
		name: "freeze", after: (*duelist).access,
		arm: func(d *duelist) {
			d.admin.must(200, "POST", "/api/admin/tools/"+d.tool+"/unfreeze", nil)
			d.admin.mustAssign(d.id, d.tool)
		},
		strike: func(d *duelist) answer { // it holds although its list may have to wait for the read model
			a := d.admin.call("POST", freezePath, object{"tool_id": d.tool})
			if a.Status != 200 && a.Code() != "read_model_behind" {
				d.t.Errorf("round %d: %d %s", d.round, a.Status, a.Body)
			}
			return a
		},
	},
	{
		name: "removal",
		arm: func(d *duelist) {
			d.tool = d.admin.mustTool(fmt.Sprint(d.id, d.round), "credential 1")
			d.admin.mustAssign(d.id, d.tool)
		},
		strike: func(d *duelist) answer { return d.admin.must(204, "DELETE", "/api/admin/tools/"+d.tool, nil) },
		after: func(_ *duelist, a answer) error {
			if a.Status == 404 {
				return nil
			}
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		},
	},
}

// TestWhatEndsAccessIsLinearizable races fetches on two processes with everything that ends access:
// what succeeds is in the log before the end, and what begins after the end was acknowledged does
// not succeed, on either.
func TestWhatEndsAccessIsLinearizable(t *testing.T) {
	t.Parallel()
	const contestants = 4
	replicas := startReplicas(t, 2)
	for _, kind := range duels {
		t.Run(kind.name, func(t *testing.T) {
			rounds := eventstoretest.Rounds(1000) / contestants
			var all sync.WaitGroup
			receipts := make([]map[string]bool, contestants)
			for i := range contestants {
				admin := replicas[i%2].admin()
				receipts[i] = map[string]bool{}
				d := &duelist{t: t, replicas: replicas, admin: admin, receipts: receipts[i]}
				d.tool = admin.mustTool(fmt.Sprint(kind.name, " ", i), "credential 1")
				d.id, d.key = admin.mustAgent(fmt.Sprint(kind.name, " ", i))
				all.Go(func() {
					for d.round = 0; d.round < rounds && !t.Failed(); d.round++ {
						kind.fight(d)
					}
				})
			}
			all.Wait()
			succeeded := map[string]bool{}
			for _, of := range receipts {
				maps.Copy(succeeded, of)
			}
			t.Logf("%d rounds, %d fetches succeeded", contestants*rounds, len(succeeded))
			if len(succeeded) == 0 {
				t.Error("no fetch succeeded, so nothing was raced")
			}
			holdAgainstLog(t, replicas[0], succeeded)
		})
	}
}

// holdAgainstLog finds the event of each fetch that succeeded, and each vend of the log at a time
// when its agent had access and its key was the newest.
func holdAgainstLog(t *testing.T, p *program, receipts map[string]bool) {
	t.Helper()
	type access struct{ agent, tool string }
	open, newest, found := map[access]bool{}, map[string]int{}, 0
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(r eventstore.Recorded) error {
			id, isAgent := strings.CutPrefix(r.Stream, "agent-")
			if !isAgent {
				return nil
			}
			event, err := codec.Decode(r.Type, r.Data)
			switch e := event.(type) {
			case agent.Registered:
				newest[id] = e.Key.Number
			case agent.KeyRotated:
				newest[id] = e.Key.Number
			case agent.GrantAssigned:
				open[access{id, e.ToolID}] = true
			case agent.GrantApproved: // of another test on the same log
				open[access{id, e.ToolID}] = true
			case agent.GrantRevoked:
				delete(open, access{id, e.ToolID})
			case agent.CredentialVended:
				if !open[access{id, e.ToolID}] || newest[id] != e.KeyNumber {
					t.Errorf("%d@%s was vended without access or to a key that had ended", r.Revision, r.Stream)
				}
				if receipts[r.ID.String()] {
					found++
				}
			}
			return err
		})
	})
	if found != len(receipts) {
		t.Errorf("%d of %d fetches that succeeded are in the log", found, len(receipts))
	}
}

// fight is one round: fetches on both replicas that go on until the strike was acknowledged, or is
// long about what comes after its event, then one more on each.
func (k duel) fight(d *duelist) {
	k.arm(d)
	struck := make(chan struct{})
	results := make([][]answer, len(d.replicas))
	var fetchers sync.WaitGroup
	for i, p := range d.replicas {
		agent := p.with(d.key)
		fetchers.Go(func() {
			for range 16 {
				results[i] = append(results[i], agent.fetch(d.tool))
				select {
				case <-struck:
					return
				default:
				}
			}
		})
	}
	end := position(d.t, k.strike(d))
	close(struck)
	for i, p := range d.replicas {
		if err := k.after(d, p.with(d.key).fetch(d.tool)); err != nil {
			d.t.Errorf("round %d: a fetch on replica %d that began after the answer: %v", d.round, i, err)
		}
	}
	fetchers.Wait()
	for _, fetched := range results {
		for _, a := range fetched {
			if a.Status != 200 {
				continue
			}
			d.receipts[a.Text("receipt.event_id")] = true
			if k.vended != nil && !k.vended(d, a) {
				continue
			}
			// One append may carry both, and then has one position; their order within it is compared with
			// the log.
			if at := position(d.t, a); at > end {
				d.t.Errorf("round %d: vended at position %d, after the end at %d", d.round, at, end)
			}
		}
	}
	d.lastVersion++
}

func position(t *testing.T, a answer) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(a.Header.Get("X-Event-Position"), 10, 64)
	if err != nil {
		t.Errorf("the answer names no position: %s", a.Body)
	}
	return n
}
