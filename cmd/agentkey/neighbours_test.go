package main

import (
	"context"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// startBeside starts another installation without waiting until it is ready.
func startBeside(t *testing.T, database string, settings ...string) *program {
	t.Helper()
	p := newProgram(t, append(append(startLog(t).replicas(), "AGENTKEY_DATABASE_URL="+database), settings...))
	p.launch()
	p.URL = p.await(p.stdout, listens)
	return p
}

func TestADatabaseOfALivingInstallationIsRefused(t *testing.T) {
	t.Parallel()
	direct := readmodelstest.Postgres(t)
	for way, database := range map[string]string{
		"directly": direct, "through a pooler": readmodelstest.Pooled(t, direct),
	} {
		t.Run(way, func(t *testing.T) {
			schema := "AGENTKEY_DATABASE_SCHEMA=" + strings.ReplaceAll("acme_"+way, " ", "_")
			first := start(t, append(startLog(t).replicas(), "AGENTKEY_DATABASE_URL="+database, schema)...)
			tool := first.admin().mustTool("GitHub", "ghp_secret")
			var id string
			first.office(func(_ context.Context, o *office) error { id = o.inst.Begun.StoreID; return nil })

			second := startBeside(t, database, schema)
			names := "the database belongs to the installation " + id
			wait.Until(t, "refused in /readyz", func() bool {
				a := second.anyone().call("GET", "/readyz", nil)
				return a.Status == 503 && strings.Contains(string(a.Body), names)
			})
			said := second.stderr.String()
			if !strings.Contains(said, names) || !strings.Contains(said, "AGENTKEY_DATABASE_SCHEMA") {
				t.Errorf("the log doesn't name the other installation: %s", tail(said))
			}
			code, looked, _ := consult(t, second.env)
			if code != exitFault || !strings.Contains(looked["read model"], names) {
				t.Errorf("doctor: exit %d: %s", code, looked["read model"])
			}
			code, _, stderr := runCommand(t, second.env, "projections", "rebuild")
			if code != exitFault || !strings.Contains(stderr, names) {
				t.Errorf("projections rebuild: exit %d: %s", code, tail(stderr))
			}

			first.restart()
			first.admin().must(200, "GET", "/api/admin/tools/"+tool, nil)
			if list := first.admin().must(200, "GET", "/api/admin/tools", nil).Items(); len(list) != 1 {
				t.Errorf("after a restart the list of the first has %v", list)
			}
			beside := start(t, append(startLog(t).replicas(), "AGENTKEY_DATABASE_URL="+database, schema+"_too")...)
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
