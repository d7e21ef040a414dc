package main

import (
	"context"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// neighbour is the configuration of an installation on a log of its own.
func neighbour(t *testing.T) []string {
	t.Helper()
	return ownLog(t, "each is an installation of its own").replicas()
}

// startBeside starts another installation without waiting until it is ready.
func startBeside(t *testing.T, database string, settings ...string) *program {
	t.Helper()
	p := start(t, neighbour(t)...) // begun before anything remembers the other one
	p.stop()
	p.env = append(append(p.env, "AGENTKEY_DATABASE_URL="+database), settings...)
	p.launch()
	p.begun()
	return p
}

// refusedFor waits until a program is refused the database of the installation that names, and
// checks that it says so to everybody who could ask.
func refusedFor(t *testing.T, p *program, names string) {
	t.Helper()
	wait.Until(t, "refused in /readyz", func() bool {
		a := p.anyone().call("GET", "/readyz", nil)
		return a.Text("status") == "degraded" && strings.Contains(string(a.Body), names)
	})
	if said := p.stderr.String(); !strings.Contains(said, names) || !strings.Contains(said, "AGENTKEY_DATABASE_SCHEMA") {
		t.Errorf("the log doesn't name the other installation: %s", tail(said))
	}
	for _, ask := range [][]string{
		{"/api/admin/agents"},
		{"/api/admin/tools"},
		{"/api/admin/audit"},
		{"/api/admin/requests", "X-Wait-For-Position", "1"},
	} {
		a := p.admin().refused(503, "read_model_unavailable", "GET", ask[0], nil, ask[1:]...)
		if detail := a.Text("detail"); !strings.Contains(detail, "belongs to another installation") {
			t.Errorf("%s: %s", ask[0], detail)
		}
	}
	code, looked, _ := consult(t, p.env)
	if code != exitFault || !strings.Contains(looked["read model"], names) {
		t.Errorf("doctor: exit %d: %s", code, looked["read model"])
	}
	code, _, stderr := runCommand(t, p.env, "projections", "rebuild")
	if code != exitFault || !strings.Contains(stderr, names) {
		t.Errorf("projections rebuild: exit %d: %s", code, tail(stderr))
	}
}

func (p *program) storeID() (id string) {
	p.office(func(_ context.Context, o *office) error { id = o.inst.Begun.StoreID; return nil })
	return id
}

func TestADatabaseOfALivingInstallationIsRefused(t *testing.T) {
	t.Parallel()
	direct := readmodelstest.Postgres(t)
	for way, database := range map[string]string{
		"directly": direct, "through a pooler": readmodelstest.Pooled(t, direct),
	} {
		t.Run(way, func(t *testing.T) {
			schema := "AGENTKEY_DATABASE_SCHEMA=" + strings.ReplaceAll("acme_"+way, " ", "_")
			first := start(t, append(neighbour(t), "AGENTKEY_DATABASE_URL="+database, schema)...)
			tool := first.admin().mustTool("GitHub", "ghp_secret")
			second := startBeside(t, database, schema)
			refusedFor(t, second, "the database belongs to the installation "+first.storeID())

			first.restart()
			first.admin().must(200, "GET", "/api/admin/tools/"+tool, nil)
			if list := first.admin().must(200, "GET", "/api/admin/tools", nil).Items(); len(list) != 1 {
				t.Errorf("after a restart the list of the first has %v", list)
			}
			beside := start(t, append(neighbour(t), "AGENTKEY_DATABASE_URL="+database, schema+"_too")...)
			beside.admin().mustTool("Linear", "lin_secret")
			for p, name := range map[*program]string{first: "GitHub", beside: "Linear"} {
				list := p.admin().must(200, "GET", "/api/admin/tools", nil).Items()
				if len(list) != 1 || list[0]["name"] != name {
					t.Errorf("one that should list %s lists %v", name, list)
				}
			}
		})
	}
}

func TestOfTwoInstallationsThatStartAtOnceOneGetsTheDatabase(t *testing.T) {
	t.Parallel()
	database := readmodelstest.Postgres(t)
	both := make([]*program, 2)
	for i := range both {
		both[i] = start(t, neighbour(t)...)
		both[i].stop()
		both[i].env = append(both[i].env, "AGENTKEY_DATABASE_URL="+database)
	}
	for _, p := range both {
		p.launch()
	}
	ready := map[*program]bool{}
	for _, p := range both {
		p.begun()
	}
	wait.Until(t, "one is ready", func() bool {
		for _, p := range both {
			ready[p] = p.anyone().call("GET", "/readyz", nil).Text("status") == "ready"
		}
		return ready[both[0]] || ready[both[1]]
	})
	winner, loser := both[0], both[1]
	if ready[loser] {
		winner, loser = loser, winner
	}
	refusedFor(t, loser, "the database belongs to the installation "+winner.storeID())
	// commands, fetches and the queries of the owner work
	tool := loser.admin().mustTool("GitHub", "ghp_secret")
	id, key := loser.admin().mustAgent("bot")
	loser.admin().mustAssign(id, tool)
	if a := loser.with(key).fetch(tool); a.Status != 200 {
		t.Errorf("a fetch: %d %s", a.Status, a.Body)
	}
	if list := winner.admin().must(200, "GET", "/api/admin/tools", nil).Items(); len(list) != 0 {
		t.Errorf("the owner lists %v", list)
	}
}
