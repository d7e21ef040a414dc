package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
)

// tampered stops the program, changes the embedded store's file as somebody with access to the
// machine could, and starts the program again, without its read model if forget.
func (p *program) tampered(forget bool, statements ...string) {
	p.t.Helper()
	p.settled()
	p.stop()
	if forget {
		p.loseReadModel()
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, "events.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(p.t.Context(), s); err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.launch()
	p.begun()
}

// of is the condition of a stream's events in the embedded store.
func of(stream string) string {
	return fmt.Sprintf("sid = (select sid from streams where name = '%s')", stream)
}

// cut are the statements that take the last n events off a stream.
func cut(stream string, n int) []string {
	return []string{
		fmt.Sprintf("delete from events where %[1]s and rev > (select head from streams where name = '%[2]s') - %[3]d",
			of(stream), stream, n),
		fmt.Sprintf("update streams set head = head - %d where name = '%s'", n, stream),
	}
}

// integrity returns the findings as reason revision@stream, and the status.
func (p *program) integrity() (status string, findings []string) {
	p.t.Helper()
	a := p.admin().must(200, "GET", "/api/admin/audit/integrity", nil)
	all, _ := a.At("findings").([]any)
	for _, one := range all {
		f, _ := one.(object)
		text := fmt.Sprintf("%v %v@%v", f["reason"], f["revision"], f["stream"])
		if f["confirmed"] == true {
			text += " confirmed"
		}
		findings = append(findings, text)
	}
	return a.Text("status"), findings
}

// TestAStreamThatLostItsEndVendsNothing undoes a revocation in the storage. Other agents continue,
// the finding outlives a restart, and a human lifts it.
func TestAStreamThatLostItsEndVendsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func(stream string) []string
		reason string
		forget bool
	}{
		"cut off":                      {func(stream string) []string { return cut(stream, 2) }, "truncated", false},
		"cut off, with the read model": {func(stream string) []string { return cut(stream, 2) }, "truncated", true},
		"with other data": {func(stream string) []string {
			return []string{"update events set data = replace(data, '{', '{ ') where rev = 4 and " + of(stream)}
		}, "altered", false},
		"retyped": {func(stream string) []string {
			return []string{"update events set type = 'agent.reactivated.v1' where rev = 4 and " + of(stream)}
		}, "altered", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, unlimited)
			p.unverified = true // that is the point
			p.run()
			tool := p.admin().mustTool("GitHub", "ghp_secret")
			id, key := p.admin().mustAgent("Onboarding")
			p.admin().mustAssign(id, tool)
			p.with(key).fetch(tool)
			other, otherKey := p.admin().mustAgent("Another")
			p.admin().mustAssign(other, tool)
			p.admin().must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil) // two events: 3 and 4
			p.with(otherKey).fetch(tool)
			stream := "agent-" + id
			p.tampered(c.forget, c.tamper(stream)...)

			refused := func(when string) {
				t.Helper()
				if a := p.with(key).fetch(tool); a.Status != 503 || a.Code() != "log_restored" {
					t.Errorf("%s, a fetch: %d %s", when, a.Status, a.Body)
				}
				if a := p.with(otherKey).fetch(tool); a.Status != 200 {
					t.Errorf("%s, another agent's fetch: %d %s", when, a.Status, a.Body)
				}
				status, findings := p.integrity()
				if status != "broken" || len(findings) != 1 || !strings.HasPrefix(findings[0], c.reason+" 4@"+stream) {
					t.Errorf("%s: %s %v", when, status, findings)
				}
			}
			refused("after it was tampered with")
			if !strings.Contains(p.stderr.String(), stream) {
				t.Error("the log of the program doesn't name the stream")
			}
			p.becomes(200, `"degraded"`, `"log_integrity"`, "4@"+stream+" is "+c.reason)
			if a := p.admin().must(200, "GET", "/api/admin/audit?action=log.restore_found", nil); !strings.Contains(
				string(a.Body), stream,
			) {
				t.Errorf("the audit: %s", a.Body)
			}
			p.stop()
			p.loseReadModel()
			p.launch()
			p.begun()
			refused("after a restart without the read model")

			if said := p.shell("confirm-restore", "--keep-agents"); !strings.Contains(said, "confirmed") {
				t.Fatal(said)
			}
			wait.Until(t, "the confirmation is known", func() bool { status, _ := p.integrity(); return status == "ok" })
			if status, findings := p.integrity(); status != "ok" || len(findings) != 1 ||
				!strings.HasSuffix(findings[0], "confirmed") {
				t.Errorf("once confirmed: %s %v", status, findings)
			}
			wait.Until(t, "it vends, or says why not", func() bool { return p.with(key).fetch(tool).Status != 503 })
			p.admin().must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
			p.settled()
			p.stop()
			p.compareWithRebuild()
		})
	}
}

// TestACredentialThatIsGoneIsAFault takes the sealed credential of a tool out of the log: the
// answer is a fault of ours, and names nothing.
func TestACredentialThatIsGoneIsAFault(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	p.office(func(ctx context.Context, o *office) error {
		sealed := ""
		err := walk(ctx, o.client, func(r eventstore.Recorded) error {
			if event, err := codec.Decode(r.Type, r.Data); err == nil {
				if added, ok := event.(catalog.ToolAdded); ok && added.ToolID == tool {
					sealed = added.SecretID
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return o.client.Tombstone(ctx, codec.Secrets.Stream(sealed))
	})
	p.restart()
	if a := p.with(key).fetch(tool); a.Status != 500 || a.Code() != "internal" || strings.Contains(string(a.Body), tool) {
		t.Errorf("a fetch: %d %s", a.Status, a.Body)
	}
}

// TestABrokenOrganizationKeepsNobodyFromHearing damages the stream of one of three organizations,
// and does on the server what every organization hears of.
func TestABrokenOrganizationKeepsNobodyFromHearing(t *testing.T) {
	t.Parallel()
	p := newProgram(t, append([]string{toLoopback}, unlimited...))
	p.unverified = true // that is the point
	p.run()
	broken, fine := p.organization("Broken", "owner"), p.organization("Fine", "owner")
	hook := startHook(t, nil)
	fine.mustChannel("webhook", hook.URL, "grant_expiring")
	stream := "organization-" + broken.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	p.tampered(false, "update events set data = replace(data, '{', '{ ') where rev = 1 and "+of(stream))
	p.with(broken.key).refused(503, "log_restored", "GET", "/api/admin/me", nil)
	p.shell("keys", "add")
	wait.Until(t, "the other organization hears of it", func() bool {
		return len(hook.about("registered another master key")) == 1
	})
}
