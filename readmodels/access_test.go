package readmodels_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"agentkey/domain"
	"agentkey/readmodels"
)

func testCatalog(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	for _, status := range []string{
		"none", "pending", "approved", "denied", "withdrawn", "revoked", "expired", "ending", "removed",
	} {
		s.tool(acme, status, status)
		switch status {
		case "none":
		case "ending":
			s.grant(acme, "a1", status, "approved", noon.Add(2*time.Hour))
		case "removed":
			s.grant(acme, "a1", status, "approved", time.Time{})
			s.remove(status)
		default:
			s.grant(acme, "a1", status, status, time.Time{})
		}
		s.grant(acme, "a2", status, "approved", time.Time{})
	}
	offer := func(tool, access string, requested bool) readmodels.Offer {
		o := readmodels.Offer{ID: tool, Name: tool, AuthType: "api_key", Access: access}
		if requested {
			o.RequestID = "a1 " + tool
		}
		return o
	}
	ending, denied := offer("ending", "approved", true), offer("denied", "denied", true)
	ending.ExpiresAt, denied.DenialReason = noon.Add(2*time.Hour), "no"
	want := []readmodels.Offer{
		ending, offer("expired", "expired", true), offer("revoked", "revoked", true), offer("withdrawn", "none", false),
		denied, offer("approved", "approved", true), offer("pending", "pending", true), offer("none", "none", false),
	}
	offers := must[[]readmodels.Offer](t)
	got := offers(s.db.Catalog(t.Context(), acme, "a1", readmodels.OfferFilter{}, noon))
	unplaced := cmpopts.IgnoreFields(readmodels.Offer{}, "Position")
	if diff := cmp.Diff(want, got, unplaced); diff != "" {
		t.Errorf("the catalog (-want +got):\n%s", diff)
	}
	for _, w := range want {
		if diff := cmp.Diff(
			w, must[readmodels.Offer](t)(s.db.CatalogTool(t.Context(), acme, "a1", w.ID, noon)), unplaced,
		); diff != "" {
			t.Errorf("one tool (-want +got):\n%s", diff)
		}
	}
	for _, tt := range []struct {
		filter readmodels.OfferFilter
		now    time.Time
		want   string
	}{
		{readmodels.OfferFilter{Access: "approved"}, noon, "ending approved"},
		{readmodels.OfferFilter{Access: "approved"}, noon.Add(2 * time.Hour), "approved"},
		{readmodels.OfferFilter{Access: "expired"}, noon.Add(2 * time.Hour), "ending expired"},
		{readmodels.OfferFilter{Access: "none"}, noon, "withdrawn none"},
		{readmodels.OfferFilter{Query: "EN"}, noon, "ending denied pending"},
		{readmodels.OfferFilter{Query: "EN", Access: "pending"}, noon, "pending"},
		{readmodels.OfferFilter{Query: "EN", Access: "none"}, noon, ""},
	} {
		all := offers(s.db.Catalog(t.Context(), acme, "a1", tt.filter, tt.now))
		var names, paged []string
		for _, o := range all {
			names = append(names, o.Name)
		}
		for p := (readmodels.Page{Limit: 1}); ; {
			found := must[readmodels.List[readmodels.Offer]](t)(
				s.db.CatalogPage(t.Context(), acme, "a1", tt.filter, tt.now, p),
			)
			for _, o := range found.Items {
				paged = append(paged, o.Name)
			}
			if p.Before = found.Next; found.Next == 0 {
				break
			}
		}
		if strings.Join(names, " ") != tt.want || strings.Join(paged, " ") != tt.want {
			t.Errorf("%+v finds %q and page by page %q, not %q", tt.filter, names, paged, tt.want)
		}
	}
	for _, id := range []string{"removed", "nothing", ""} {
		if _, err := s.db.CatalogTool(t.Context(), acme, "a1", id, noon); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("tool %s: %v", id, err)
		}
	}
	me := must[readmodels.Me](t)(s.db.Me(t.Context(), acme, "a1", noon))
	wantMe := readmodels.Me{
		Agent:         must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, "a1", noon)),
		ToolsApproved: []string{"ending", "approved"}, ToolsPending: []string{"pending"},
		ToolsDenied: []readmodels.Denied{{Name: "denied", Reason: "no"}}, ToolsAvailable: 8,
	}
	if diff := cmp.Diff(wantMe, me); diff != "" {
		t.Errorf("me (-want +got):\n%s", diff)
	}
	later := must[readmodels.Me](t)(s.db.Me(t.Context(), acme, "a1", noon.Add(2*time.Hour)))
	if diff := cmp.Diff([]string{"approved"}, later.ToolsApproved); diff != "" || later.Approved != 1 {
		t.Errorf("two hours later, %d approved (-want +got):\n%s", later.Approved, diff)
	}
}

func testRequests(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	s.tool(acme, "t3", "Gone")
	s.ask(acme, "a1", "t1", "r1")
	s.decide("a1", "t1", "r1", "denied", time.Time{})
	s.ask(acme, "a1", "t1", "r2")
	s.decide("a1", "t1", "r2", "approved", time.Time{})
	s.ask(acme, "a1", "t2", "r3")
	s.ask(acme, "a2", "t2", "r4")
	s.decide("a2", "t2", "r4", "withdrawn", time.Time{})
	s.ask(acme, "a2", "t3", "r5")
	s.remove("t3")
	for _, c := range []struct {
		filter readmodels.RequestFilter
		want   []string
	}{
		{readmodels.RequestFilter{}, []string{"r5", "r4", "r3", "r2", "r1"}},
		{readmodels.RequestFilter{Status: "pending"}, []string{"r3"}},
		{readmodels.RequestFilter{Status: "approved"}, []string{"r2"}},
		{readmodels.RequestFilter{Status: "denied"}, []string{"r1"}},
		{readmodels.RequestFilter{Status: "withdrawn"}, []string{"r5", "r4"}},
		{readmodels.RequestFilter{Status: "lost"}, []string{}},
		{readmodels.RequestFilter{AgentID: "a1"}, []string{"r3", "r2", "r1"}},
		{readmodels.RequestFilter{ToolID: "t2"}, []string{"r4", "r3"}},
		{readmodels.RequestFilter{AgentID: "a2", ToolID: "t3", Status: "withdrawn"}, []string{"r5"}},
		{readmodels.RequestFilter{AgentID: "a1", ToolID: "t3"}, []string{}},
	} {
		list := must[readmodels.List[readmodels.Request]](t)(s.db.Requests(t.Context(), acme, c.filter, all))
		if diff := cmp.Diff(c.want, names(list.Items, func(r readmodels.Request) string { return r.ID })); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
	request := must[readmodels.Request](t)
	denied := readmodels.Request{
		ID: "r1", AgentID: "a1", AgentName: "One", ToolID: "t1", ToolName: "GitHub", CredentialMode: "shared",
		Reason: "why", Status: "denied", CreatedAt: noon, DecidedAt: noon.Add(time.Hour), DecidedBy: human,
		DenialReason: "no", Position: 6,
	}
	if diff := cmp.Diff(denied, request(s.db.Request(t.Context(), acme, "r1"))); diff != "" {
		t.Errorf("a denied one (-want +got):\n%s", diff)
	}
	if r := request(s.db.Request(t.Context(), acme, "r3")); r.Status != "pending" || !r.DecidedAt.IsZero() ||
		r.DecidedBy != none {
		t.Errorf("a pending one: %+v", r)
	}
	if r := request(s.db.Request(t.Context(), acme, "r5")); r.Status != "withdrawn" || r.ToolName != "Gone" {
		t.Errorf("one for a tool that was removed: %+v", r)
	}
	for _, id := range []string{"", "r6"} {
		if _, err := s.db.Request(t.Context(), acme, id); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("request %q: %v", id, err)
		}
	}
}

func testGrants(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.tool(acme, "t1", "GitHub")
	s.grant(acme, "a1", "t1", "approved", noon.Add(2*time.Hour))
	s.write(func(tx *readmodels.Tx) error {
		return tx.CountFetches(
			t.Context(),
			readmodels.CountFetchesParams{
				AgentID: "a1", ToolID: "t1", Fetches: 7, LastFetchedAt: readmodels.Micros(noon),
			},
		)
	})
	grant := must[readmodels.Grant](t)
	want := readmodels.Grant{
		AgentID: "a1", AgentName: "One", ToolID: "t1", ToolName: "GitHub", Status: "approved", Origin: "request",
		RequestID: "a1 t1", Reason: "why", DecidedAt: noon.Add(time.Hour), DecidedBy: human,
		ApprovedAt: noon.Add(time.Hour), ApprovedBy: human,
		ExpiresAt: noon.Add(2 * time.Hour), FetchCount: 7, LastFetchedAt: noon, Position: 3, DecidedPosition: 4,
	}
	if diff := cmp.Diff(want, grant(s.db.Grant(t.Context(), acme, "a1", "t1", noon))); diff != "" {
		t.Errorf("approved (-want +got):\n%s", diff)
	}
	s.write(func(tx *readmodels.Tx) error {
		return tx.AssignGrant(
			t.Context(),
			readmodels.AssignGrantParams{
				AgentID: "a1", ToolID: "t1", Origin: "assignment", OrganizationID: acme, Position: s.next(),
				DecidedAt: readmodels.Micros(noon), DecidedByType: "human", DecidedByID: "bob",
			},
		)
	})
	want = readmodels.Grant{
		AgentID: "a1", AgentName: "One", ToolID: "t1", ToolName: "GitHub", Status: "approved", Origin: "assignment",
		DecidedAt: noon, DecidedBy: domain.Actor{Type: domain.ActorHuman, ID: "bob"}, Position: 3, DecidedPosition: 5,
		ApprovedAt: noon, ApprovedBy: domain.Actor{Type: domain.ActorHuman, ID: "bob"},
	}
	if diff := cmp.Diff(want, grant(s.db.Grant(t.Context(), acme, "a1", "t1", noon))); diff != "" {
		t.Errorf("assigned after that (-want +got):\n%s", diff)
	}
	for _, pair := range [][2]string{{"a1", "t2"}, {"a2", "t1"}, {"", "t1"}, {"a1", ""}, {"", ""}} {
		if _, err := s.db.Grant(t.Context(), acme, pair[0], pair[1], noon); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("grant %v: %v", pair, err)
		}
	}
}

func grantNames(list readmodels.List[readmodels.Grant]) []string {
	return names(list.Items, func(g readmodels.Grant) string { return g.AgentID + " " + g.ToolID + " " + g.Status })
}

func testGrantFilters(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.agent(acme, "a2", "Two")
	for _, status := range []string{"pending", "approved", "denied", "withdrawn", "revoked", "expired"} {
		s.tool(acme, status, status)
		s.grant(acme, "a1", status, status, time.Time{})
	}
	s.grant(acme, "a2", "approved", "approved", noon.Add(time.Hour))
	for _, c := range []struct {
		filter readmodels.GrantFilter
		want   []string
	}{
		{
			readmodels.GrantFilter{},
			[]string{
				"a2 approved approved", "a1 expired expired", "a1 revoked revoked", "a1 denied denied",
				"a1 approved approved", "a1 pending pending",
			},
		},
		{readmodels.GrantFilter{Status: "pending"}, []string{"a1 pending pending"}},
		{readmodels.GrantFilter{Status: "approved"}, []string{"a2 approved approved", "a1 approved approved"}},
		{readmodels.GrantFilter{Status: "denied"}, []string{"a1 denied denied"}},
		{readmodels.GrantFilter{Status: "revoked"}, []string{"a1 revoked revoked"}},
		{readmodels.GrantFilter{Status: "expired"}, []string{"a1 expired expired"}},
		{readmodels.GrantFilter{Status: "withdrawn"}, []string{}},
		{readmodels.GrantFilter{AgentID: "a2"}, []string{"a2 approved approved"}},
		{readmodels.GrantFilter{ToolID: "approved"}, []string{"a2 approved approved", "a1 approved approved"}},
		{
			readmodels.GrantFilter{AgentID: "a1", ToolID: "approved", Status: "approved"},
			[]string{"a1 approved approved"},
		},
		{readmodels.GrantFilter{AgentID: "a1", Status: "none"}, []string{}},
	} {
		list := must[readmodels.List[readmodels.Grant]](t)(s.db.Grants(t.Context(), acme, c.filter, noon, all))
		if diff := cmp.Diff(c.want, grantNames(list)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
}

// Nothing here needs the event that says so: neither grant.expired nor grant.revoked was applied.
func testEnds(t *testing.T, s *shelf) {
	ends := noon.Add(time.Hour)
	s.agent(acme, "a1", "One")
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	s.grant(acme, "a1", "t1", "approved", ends)
	s.grant(acme, "a1", "t2", "pending", time.Time{})
	list := must[readmodels.List[readmodels.Grant]](t)
	count := func(now time.Time) string {
		t.Helper()
		a := must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, "a1", now))
		out := fmt.Sprintf("agent %d+%d", a.Approved, a.Pending)
		for _, tool := range must[readmodels.List[readmodels.Tool]](t)(
			s.db.Tools(t.Context(), acme, readmodels.ToolFilter{}, now, all),
		).Items {
			out += fmt.Sprintf(", %s %d+%d", tool.ID, tool.Approved, tool.Pending)
		}
		for _, status := range []string{"approved", "expired", "revoked", "pending"} {
			n := len(list(s.db.Grants(t.Context(), acme, readmodels.GrantFilter{Status: status}, now, all)).Items)
			out += fmt.Sprintf(", %d %s", n, status)
		}
		for _, g := range list(s.db.Grants(t.Context(), acme, readmodels.GrantFilter{}, now, all)).Items {
			out += ", " + g.Status
		}
		return out
	}
	for _, c := range []struct {
		when string
		do   func()
		now  time.Time
		want string
	}{
		{
			"a moment before", func() {}, ends.Add(-time.Microsecond),
			"agent 1+1, t2 0+1, t1 1+0, 1 approved, 0 expired, 0 revoked, 1 pending, pending, approved",
		},
		{
			"the instant", func() {}, ends,
			"agent 0+1, t2 0+1, t1 0+0, 0 approved, 1 expired, 0 revoked, 1 pending, pending, expired",
		},
		{
			"after the tool of the pending one is gone", func() { s.remove("t2") }, ends.Add(-time.Microsecond),
			"agent 1+0, t1 1+0, 1 approved, 0 expired, 1 revoked, 0 pending, revoked, approved",
		},
		{
			"after the other is gone too", func() { s.remove("t1") }, ends.Add(-time.Microsecond),
			"agent 0+0, 0 approved, 0 expired, 2 revoked, 0 pending, revoked, revoked",
		},
		{
			"removal counts, not the time", func() {}, ends,
			"agent 0+0, 0 approved, 0 expired, 2 revoked, 0 pending, revoked, revoked",
		},
	} {
		c.do()
		if diff := cmp.Diff(strings.Split(c.want, ", "), strings.Split(count(c.now), ", ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.when, diff)
		}
	}
	s.write(func(tx *readmodels.Tx) error {
		return tx.EndKey(t.Context(), readmodels.EndKeyParams{
			AgentID: "a1", Number: 1, ExpiresAt: readmodels.Micros(ends.Add(time.Hour)),
		})
	})
	fresh := func(organization string, now time.Time) string {
		t.Helper()
		return must[string](t)(s.db.Freshness(t.Context(), organization, now))
	}
	states := []string{
		fresh(acme, noon), fresh(acme, ends.Add(-time.Microsecond)), fresh(acme, ends), fresh(acme, ends.Add(time.Minute)),
		fresh(acme, ends.Add(time.Hour)),
	}
	s.audit(readmodels.AuditEntry{Organization: globex})
	states = append(states, fresh(acme, ends.Add(time.Hour)))
	s.audit(readmodels.AuditEntry{})
	states = append(states, fresh(acme, ends.Add(time.Hour)))
	var changed []int
	for i := range states[1:] {
		if states[i] != states[i+1] {
			changed = append(changed, i+1)
		}
	}
	if diff := cmp.Diff([]int{2, 4, 6}, changed); diff != "" {
		t.Errorf("a list is another one after access ends, a key ends and an event (-want +got):\n%s\n%q", diff, states)
	}
}
