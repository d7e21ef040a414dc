package readmodels_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testExposures(t *testing.T, s *shelf) {
	s.agent(acme, "never", "Never")
	s.tool(acme, "t1", "GitHub")
	s.credential("t1", "s1", 1)
	s.grant(acme, "never", "t1", "approved", time.Time{})
	for i, status := range []string{"approved", "revoked", "ending", "denied"} {
		s.agent(acme, status, status)
		expires := time.Time{}
		if status == "ending" {
			expires = noon.Add(2 * time.Hour)
		}
		s.grant(acme, status, "t1", map[bool]string{true: "approved", false: status}[status == "ending"], expires)
		s.fetched(status, "s1", int64(i+1))
	}
	s.tool(acme, "t2", "Gone")
	s.credential("t2", "s2", 1)
	s.grant(acme, "approved", "t2", "approved", time.Time{})
	s.fetched("approved", "s2", 9)
	s.remove("t2")
	check := func(when string, now time.Time, want ...string) {
		t.Helper()
		for _, limit := range []int{1, 2, 3, 10} {
			var got []string
			for p := (readmodels.Page{Limit: limit}); ; {
				list := must[readmodels.List[readmodels.Exposure]](t)(
					s.db.Exposures(t.Context(), acme, readmodels.GrantFilter{}, now, p),
				)
				got = append(got, names(list.Items, func(e readmodels.Exposure) string {
					return fmt.Sprint(e.AgentName, " ", e.ToolName, " ", e.CredentialVersion, " ", e.FetchCount, " ", e.Ended)
				})...)
				if p.Before = list.Next; p.Before == 0 || len(got) > 20 {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %d at a time (-want +got):\n%s", when, limit, diff)
			}
		}
	}
	check(
		"at noon", noon,
		"denied GitHub 1 4 true", "revoked GitHub 1 2 true", "ending GitHub 1 3 false", "approved GitHub 1 1 false",
	)
	check(
		"when one has ended", noon.Add(2*time.Hour),
		"denied GitHub 1 4 true", "ending GitHub 1 3 true", "revoked GitHub 1 2 true", "approved GitHub 1 1 false",
	)
	s.credential("t1", "s3", 2)
	check("rotated", noon)
	s.fetched("approved", "s3", 2)
	s.fetched("approved", "s1", 5) // by a process that is behind: nobody got it
	s.fetched("approved", "s3", 3)
	check("fetched again", noon, "approved GitHub 2 5 false")
	list := must[readmodels.List[readmodels.Exposure]](t)(
		s.db.Exposures(t.Context(), globex, readmodels.GrantFilter{}, noon, all),
	)
	if len(list.Items) > 0 {
		t.Errorf("another organization sees %v", list.Items)
	}
}
