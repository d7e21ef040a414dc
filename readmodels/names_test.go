package readmodels_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/readmodels"
)

// rename gives an agent, a tool or a channel another name, as its projection does.
func (s *shelf) rename(kind, id, name string) {
	s.t.Helper()
	ctx, position, to := s.t.Context(), s.next(), readmodels.Optional(&name)
	s.write(func(tx *readmodels.Tx) error {
		switch kind {
		case "agent":
			return errors.Join(
				tx.KeepFormerAgentName(ctx, readmodels.KeepFormerAgentNameParams{ID: id, Position: position, Name: name}),
				tx.UpdateAgent(ctx, readmodels.UpdateAgentParams{ID: id, Name: to}),
			)
		case "tool":
			return errors.Join(
				tx.KeepFormerToolName(ctx, readmodels.KeepFormerToolNameParams{ID: id, Position: position, Name: name}),
				tx.UpdateTool(ctx, readmodels.UpdateToolParams{ID: id, Name: to}),
			)
		}
		return errors.Join(
			tx.KeepFormerChannelName(ctx, readmodels.KeepFormerChannelNameParams{ID: id, Position: position, Name: name}),
			tx.UpdateChannel(ctx, readmodels.UpdateChannelParams{ID: id, Name: to}),
		)
	})
}

// both is a name of then, and the one of now where it differs.
func both(then, current string) string {
	if current == "" {
		return then
	}
	return then + ">" + current
}

func testFormerNames(t *testing.T, s *shelf) {
	ctx := t.Context()
	fetched := func(id string) {
		s.audit(readmodels.AuditEntry{
			ID: id, AgentID: "a1", ToolID: "t1", Target: readmodels.Target{Type: "tool", ID: "t1"},
			Actor: domain.Actor{Type: domain.ActorAgent, ID: "a1"}, OnBehalfOf: domain.Actor{Type: domain.ActorAgent, ID: "a1"},
		})
	}
	s.audit(readmodels.AuditEntry{ID: "early", ToolID: "t1", AgentID: "a2"}) // before they have a name
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	s.agent(globex, "theirs", "Their secret")
	s.rename("agent", "theirs", "Renamed")
	s.grant(acme, "a1", "t1", "approved", time.Time{})
	s.grant(acme, "a2", "t1", "denied", time.Time{})
	s.grant(acme, "a1", "t2", "pending", time.Time{})
	fetched("e0")
	s.rename("tool", "t1", "Git Hub")
	fetched("e1")
	s.rename("agent", "a1", "Uno")
	s.rename("agent", "a1", "Uno") // it is called that already
	fetched("e2")
	s.rename("tool", "t1", "GitHub") // as before
	s.rename("tool", "t1", "Forge")
	s.rename("tool", "t2", "Lines")
	fetched("e3")
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.InsertChannel(ctx, readmodels.InsertChannelParams{
				ID: "c1", OrganizationID: acme, Position: s.next(), Name: "#ops",
			}),
			tx.InsertDelivery(ctx, readmodels.InsertDeliveryParams{
				ID: "d1", OrganizationID: acme, Position: s.next(), ChannelID: "c1", Topic: "test", AgentID: "a1", ToolID: "t1",
			}),
		)
	})
	s.rename("notification_channel", "c1", "#alerts")
	s.rename("agent", "a1", "Eins")
	s.status("a1", "retired")
	s.rename("tool", "t1", "Hub")
	s.remove("t1")
	s.audit(
		readmodels.AuditEntry{ID: "c1", Target: readmodels.Target{Type: "notification_channel", ID: "c1"}, Position: 20},
		readmodels.AuditEntry{ID: "d1", Target: readmodels.Target{Type: "delivery", ID: "d1"}},
		readmodels.AuditEntry{ID: "other", AgentID: "theirs", ToolID: "a1"}, // of another organization, of another kind
	)
	fetched("e4")

	want := []string{
		"e4 Eins Hub Hub Eins Eins", "other     ", "d1   #ops: test, Uno, Forge  ",
		"e3 Uno>Eins Forge>Hub Forge>Hub Uno>Eins Uno>Eins",
		"c1   #ops>#alerts  ", "e2 Uno>Eins Git Hub>Hub Git Hub>Hub Uno>Eins Uno>Eins",
		"e1 One>Eins Git Hub>Hub Git Hub>Hub One>Eins One>Eins",
		"e0 One>Eins GitHub>Hub GitHub>Hub One>Eins One>Eins", "early Two GitHub>Hub   ",
	}
	told := func(e readmodels.AuditEntry) string {
		return strings.Join([]string{
			e.ID, both(e.AgentName, e.Current.Agent), both(e.ToolName, e.Current.Tool),
			both(e.Target.Label, e.Current.Target), both(e.Actor.Label, e.Current.Actor),
			both(e.OnBehalfOf.Label, e.Current.OnBehalfOf),
		}, " ")
	}
	list := must[readmodels.List[readmodels.AuditEntry]](t)(s.db.Audit(ctx, acme, readmodels.AuditFilter{}, all))
	if diff := cmp.Diff(want, names(list.Items, told)); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
	// The past is not another one where a rename becomes the newest of its page.
	s.rename("tool", "t1", "GitHub")
	page := must[readmodels.List[readmodels.AuditEntry]](t)(
		s.db.Audit(ctx, acme, readmodels.AuditFilter{ToolID: "t1", AgentID: "a1"}, readmodels.Page{Limit: 5}),
	)
	if diff := cmp.Diff([]string{
		"e4 Hub>GitHub", "e3 Forge>GitHub", "e2 Git Hub>GitHub", "e1 Git Hub>GitHub", "e0 GitHub",
	}, names(page.Items, func(e readmodels.AuditEntry) string {
		return e.ID + " " + both(e.ToolName, e.Current.Tool)
	})); diff != "" {
		t.Errorf("a page (-want +got):\n%s", diff)
	}

	requests := must[readmodels.List[readmodels.Request]](t)(s.db.Requests(ctx, acme, readmodels.RequestFilter{}, all))
	if diff := cmp.Diff([]string{"Eins Lines", "Two GitHub", "One>Eins GitHub"},
		names(requests.Items, func(r readmodels.Request) string {
			return both(r.AgentName, r.CurrentAgentName) + " " + both(r.ToolName, r.CurrentToolName)
		})); diff != "" {
		t.Errorf("the requests (-want +got):\n%s", diff)
	}
	grants := must[readmodels.List[readmodels.Grant]](t)(s.db.Grants(ctx, acme, readmodels.GrantFilter{}, noon, all))
	if diff := cmp.Diff([]string{"Eins Lines", "Two GitHub", "One>Eins GitHub"},
		names(grants.Items, func(g readmodels.Grant) string {
			return both(g.AgentName, g.CurrentAgentName) + " " + both(g.ToolName, g.CurrentToolName)
		})); diff != "" {
		t.Errorf("the grants (-want +got):\n%s", diff)
	}
}
