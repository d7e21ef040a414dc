package readmodels_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testExposures(t *testing.T, s *shelf) {
	fetched := func(agent, tool string, version, count int64) {
		s.write(func(tx *readmodels.Tx) error {
			return tx.CountFetches(t.Context(), readmodels.CountFetchesParams{
				AgentID: agent, ToolID: tool, Version: version, Fetches: count,
				FirstFetchedAt: readmodels.Micros(noon), LastFetchedAt: readmodels.Micros(noon.Add(time.Minute)),
			})
		})
	}
	s.agent(acme, "never", "Never")
	s.tool(acme, "t1", "GitHub")
	s.grant(acme, "never", "t1", "approved", time.Time{})
	for i, status := range []string{"approved", "revoked", "ending", "denied"} {
		s.agent(acme, status, status)
		expires := time.Time{}
		if status == "ending" {
			expires = noon.Add(2 * time.Hour)
		}
		s.grant(acme, status, "t1", map[bool]string{true: "approved", false: status}[status == "ending"], expires)
		fetched(status, "t1", 1, int64(i+1))
	}
	s.tool(acme, "t2", "Gone")
	s.grant(acme, "approved", "t2", "approved", time.Time{})
	fetched("approved", "t2", 1, 9)
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
	s.write(func(tx *readmodels.Tx) error {
		return tx.RotateToolCredential(t.Context(), readmodels.RotateToolCredentialParams{
			ID: "t1", CredentialVersion: 2, At: readmodels.Micros(noon),
		})
	})
	check("rotated", noon)
	fetched("approved", "t1", 2, 5)
	fetched("approved", "t1", 1, 5) // by a process that is behind: nobody got it
	fetched("ending", "t1", 1, 5)
	check("fetched again", noon, "approved GitHub 2 5 false")
	list := must[readmodels.List[readmodels.Exposure]](t)(
		s.db.Exposures(t.Context(), globex, readmodels.GrantFilter{}, noon, all),
	)
	if len(list.Items) > 0 {
		t.Errorf("another organization sees %v", list.Items)
	}
}
