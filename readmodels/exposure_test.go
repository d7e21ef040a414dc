package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

func testExposures(t *testing.T, s *shelf) {
	s.write(func(tx *readmodels.Tx) error {
		return tx.InsertMasterKey(t.Context(), readmodels.InsertMasterKeyParams{ID: "m1", Position: s.next()})
	})
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
	s.write(func(tx *readmodels.Tx) error {
		return tx.RemoveCredential(t.Context(), readmodels.RemoveCredentialParams{
			SecretID: "s2", At: readmodels.Micros(noon), Position: s.next(),
		})
	})
	check := func(when string, now time.Time, want ...string) {
		t.Helper()
		for _, limit := range []int{1, 2, 3, 10} {
			var got []string
			for p := (readmodels.Page{Limit: limit}); ; {
				list := must[readmodels.List[readmodels.Exposure]](t)(
					s.db.Exposures(t.Context(), acme, readmodels.GrantFilter{}, now, p),
				)
				got = append(got, names(list.Items, func(e readmodels.Exposure) string {
					return fmt.Sprint(
						e.AgentName, " ", e.ToolName, " ", e.CredentialVersion, " ", e.FetchCount, " ", e.Ended, " ", e.CredentialStatus,
						" ", e.Replaced, " ", !e.CredentialRemovedAt.IsZero(),
					)
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
	const inUse, former = " in_use false false", " removed true true"
	gone := "approved Gone 1 9 true removed false true"
	check(
		"at noon", noon, gone, "denied GitHub 1 4 true"+inUse, "revoked GitHub 1 2 true"+inUse,
		"ending GitHub 1 3 false"+inUse, "approved GitHub 1 1 false"+inUse,
	)
	check(
		"when one has ended", noon.Add(2*time.Hour), gone, "denied GitHub 1 4 true"+inUse, "ending GitHub 1 3 true"+inUse,
		"revoked GitHub 1 2 true"+inUse, "approved GitHub 1 1 false"+inUse,
	)
	s.credential("t1", "s3", 2)
	check(
		"rotated", noon, gone, "denied GitHub 1 4 false"+former, "ending GitHub 1 3 false"+former,
		"revoked GitHub 1 2 false"+former, "approved GitHub 1 1 false"+former,
	)
	s.fetched("approved", "s3", 2)
	s.fetched("approved", "s1", 5) // by a process that is behind: nobody got it
	s.fetched("approved", "s3", 3)
	check(
		"fetched again", noon, gone, "approved GitHub 2 5 false"+inUse, "denied GitHub 1 4 false"+former,
		"ending GitHub 1 3 false"+former, "revoked GitHub 1 2 false"+former, "approved GitHub 1 6 false"+former,
	)
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(
			tx.InsertMasterKey(t.Context(), readmodels.InsertMasterKeyParams{ID: "m2", Position: s.next()}),
			tx.DestroyMasterKey(t.Context(), readmodels.DestroyMasterKeyParams{ID: "m1", Position: s.next()}),
		)
	})
	check(
		"when the first master key is destroyed", noon, "approved Gone 1 9 true destroyed false true",
		"approved GitHub 2 5 false"+inUse, "denied GitHub 1 4 false destroyed true true",
		"ending GitHub 1 3 false destroyed true true", "revoked GitHub 1 2 false destroyed true true",
		"approved GitHub 1 6 false destroyed true true",
	)
	s.credential("t1", "s4", 3)
	if list := must[readmodels.List[readmodels.Exposure]](t)(
		s.db.Exposures(t.Context(), acme, readmodels.GrantFilter{ToolID: "t1"}, noon, readmodels.Page{Limit: 1}),
	); len(list.Items) != 1 || list.Items[0].CredentialStatus != "removed" {
		t.Errorf("what the other master key may have wrapped: %+v", list.Items)
	}
	list := must[readmodels.List[readmodels.Exposure]](t)(
		s.db.Exposures(t.Context(), globex, readmodels.GrantFilter{}, noon, all),
	)
	if len(list.Items) > 0 {
		t.Errorf("another organization sees %v", list.Items)
	}
}
