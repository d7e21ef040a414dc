package readmodels_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testFreezes(t *testing.T, s *shelf) {
	s.tool(acme, "t1", "GitHub")
	s.credential("t1", "s1", 1)
	s.tool(acme, "t2", "Jira")
	for i, status := range []string{"approved", "pending", "ended", "denied"} {
		s.agent(acme, status, status)
		expires := time.Time{}
		if status == "ended" {
			expires = noon.Add(90 * time.Minute)
		}
		s.grant(acme, status, "t1", map[bool]string{true: "approved", false: status}[status == "ended"], expires)
		s.fetched(status, "s1", int64(i+1))
	}
	s.grant(acme, "denied", "t2", "approved", time.Time{})
	s.agent("globex", "theirs", "theirs")
	s.tool("globex", "t9", "GitHub")
	s.grant("globex", "theirs", "t9", "approved", time.Time{})
	at := noon.Add(2 * time.Hour)
	check := func(what string, found []readmodels.EndedGrant, want ...string) {
		t.Helper()
		got := names(found, func(e readmodels.EndedGrant) string {
			return fmt.Sprint(e.AgentName, " ", e.ToolName, " ", e.Was)
		})
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	ended := func() []readmodels.EndedGrant {
		return must[[]readmodels.EndedGrant](t)(s.db.EndedByFreeze(t.Context(), acme, "t1"))
	}
	open := func(tool string, now time.Time) []readmodels.EndedGrant {
		return must[[]readmodels.EndedGrant](t)(s.db.OpenGrants(t.Context(), acme, tool, now))
	}
	approved := func(by string, since time.Time, all bool) []readmodels.EndedGrant {
		return must[[]readmodels.EndedGrant](t)(s.db.ApprovedBy(
			t.Context(), acme, readmodels.Approvals{By: by, Since: since}, at, all,
		))
	}
	known := func(k readmodels.Known) []string {
		return names(must[[]readmodels.Exposure](t)(s.db.KnownCredentials(t.Context(), acme, k)),
			func(e readmodels.Exposure) string { return fmt.Sprint(e.AgentName, " ", e.ToolName, " ", e.FetchCount) })
	}
	given := noon.Add(time.Hour)
	check("open at noon", open("t1", noon), "approved GitHub approved", "pending GitHub pending", "ended GitHub approved")
	check("open later", open("t1", at), "approved GitHub approved", "pending GitHub pending")
	check("open of another organization", open("t9", noon))
	check("approved", approved("ann", given, false), "approved GitHub approved", "denied Jira approved")
	check(
		"ever approved", approved("ann", given, true), "approved GitHub approved", "ended GitHub approved",
		"denied Jira approved",
	)
	check("approved later", approved("ann", given.Add(time.Microsecond), true))
	check("approved by another", approved("bob", given, true))
	s.write(func(tx *readmodels.Tx) error {
		return tx.AddApproval(t.Context(), readmodels.AddApprovalParams{
			RequestID: "approved t1", ByID: "carl", At: readmodels.Micros(noon),
		})
	})
	check("approved before the last one", approved("carl", noon, false), "approved GitHub approved")
	check("approved before the last one, but later", approved("carl", given, true))
	check("not frozen", ended())
	ann, later := readmodels.Approvals{By: "ann", Since: given}, given.Add(time.Microsecond)
	for k, want := range map[readmodels.Known][]string{
		{ToolID: "t1"}: {"denied GitHub 4", "ended GitHub 3", "pending GitHub 2", "approved GitHub 1"},
		{ToolID: "t2"}: {}, {AgentID: "pending"}: {"pending GitHub 2"},
		{Approvals: ann}: {"ended GitHub 3", "approved GitHub 1"},
		{Approvals: readmodels.Approvals{By: "carl", Since: noon}}: {"approved GitHub 1"},
		{Approvals: readmodels.Approvals{By: "ann", Since: later}}: {},
	} {
		if diff := cmp.Diff(want, known(k)); diff != "" {
			t.Errorf("known by %+v (-want +got):\n%s", k, diff)
		}
	}
	position := s.next()
	s.write(func(tx *readmodels.Tx) error {
		if err := tx.FreezeTool(t.Context(), readmodels.FreezeToolParams{
			ID: "t1", At: readmodels.Micros(at), Position: position, Freezes: 1, ByType: "human", ByID: "eve",
		}); err != nil {
			return err
		}
		return tx.EndGrantsOfTool(t.Context(), readmodels.EndGrantsOfToolParams{
			ToolID: "t1", At: readmodels.Micros(at), Position: position, ByType: "human", ByID: "eve",
		})
	})
	check("frozen", ended(), "approved GitHub approved", "pending GitHub pending")
	check("open of a frozen tool", open("t1", noon))
	check("approved, not frozen", approved("ann", given, false), "denied Jira approved")
	if tool := must[readmodels.Tool](t)(s.db.Tool(t.Context(), acme, "t1", at)); !tool.FrozenAt.Equal(at) ||
		tool.Approved+tool.Pending != 0 {
		t.Errorf("the tool: %+v", tool)
	}
	s.write(func(tx *readmodels.Tx) error {
		return tx.UnfreezeTool(t.Context(), readmodels.UnfreezeToolParams{ID: "t1", At: readmodels.Micros(at)})
	})
	check("unfrozen", ended())
	if tool := must[readmodels.Tool](t)(s.db.Tool(t.Context(), acme, "t1", at)); !tool.FrozenAt.IsZero() {
		t.Errorf("the tool is still frozen: %+v", tool)
	}
}
