package main

import (
	"testing"

	"agentkey/api/door/limits"
)

// TestReadsNeverUseUpWhatStopsAnAgent reads as a dashboard does until it is refused, also with
// mistakes in the query. Suspending, revoking, rotating, freezing and retiring still work.
func TestReadsNeverUseUpWhatStopsAnAgent(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_ADMIN=10/24h", "AGENTKEY_LIMIT_ADMIN_READS=20/24h")
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, _ := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	for i, path := range []string{"/api/admin/requests", "/api/admin/agents?limit=0", "/api/admin/me"} {
		for range 6 {
			if a := admin.call("GET", path, nil); a.Status == 429 || a.Header.Get("X-RateLimit-Limit") != "20" {
				t.Errorf("read %d: %d %v", i, a.Status, a.Header)
			}
		}
	}
	for range 2 {
		admin.must(404, "GET", "/api/admin/tools/"+unknownID, nil)
	}
	a := admin.refused(429, "rate_limited", "GET", "/api/admin/requests", nil)
	if a.Header.Get("Retry-After") == "" || left(a) != 0 {
		t.Errorf("the 21st read: %v", a.Header)
	}
	path := "/api/admin/agents/" + id
	for i, stop := range []answer{
		admin.must(204, "DELETE", path+"/grants/"+tool, nil),
		admin.must(200, "PUT", "/api/admin/tools/"+tool+"/credential", object{"credential": "ghp_other"}),
		admin.must(200, "POST", path+"/rotate-key", nil),
		admin.must(200, "POST", path+"/suspend", nil),
		admin.must(200, "POST", "/api/admin/freeze", object{"tool_id": tool}),
		admin.must(204, "DELETE", path, nil),
	} {
		if left(stop) != 10-3-(i+1) || stop.Header.Get("X-RateLimit-Limit") != "10" {
			t.Errorf("command %d: %v", i, stop.Header)
		}
	}
	admin.refused(429, "rate_limited", "GET", "/api/admin/requests", nil)
}

// TestTheLimitOfAdminReadsFollowsThatOfCommands reads configurations with and without each of the
// two.
func TestTheLimitOfAdminReadsFollowsThatOfCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{nil, "600/1m"},
		{[]string{"AGENTKEY_LIMIT_ADMIN=7/1m"}, "600/1m"},
		{[]string{"AGENTKEY_LIMIT_ADMIN=off"}, "off"},
		{[]string{"AGENTKEY_LIMIT_ADMIN_READS=off"}, "off"},
		{[]string{"AGENTKEY_LIMIT_ADMIN=off", "AGENTKEY_LIMIT_ADMIN_READS=9/1m"}, "9/1m"},
	} {
		c, err := LoadConfig(append(tt.environ, "AGENTKEY_DATA_DIR=/data"))
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := limits.ParseRule(tt.want); c.Limits.AdminReads != want {
			t.Errorf("%v: %v", tt.environ, c.Limits.AdminReads)
		}
	}
}
