package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestADecisionIsAboutWhatWasSeen: what changed after a human read it is neither approved, denied,
// accepted nor dismissed under the tag of what they read, and nobody who came later gets access.
func TestADecisionIsAboutWhatWasSeen(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, one := admin.mustAgent("One")
	two, twoKey := admin.mustAgent("Two")
	id := p.with(one).suggest("Linear", "https://linear.app", "to file issues")
	path := "/api/admin/suggestions/" + id

	hint := admin.refused(428, "precondition_required", "POST", path+"/accept", object{"tool": linear}).Text("hint")
	if !strings.Contains(hint, "GET "+path) || !strings.Contains(hint, "If-Match") {
		t.Errorf("how to say what was seen: %q", hint)
	}
	admin.refused(428, "precondition_required", "POST", path+"/accept", object{"tool": linear}, "If-Match", "*")
	before := admin.read(path)
	p.with(twoKey).suggest("Linear", "", "to come too late")
	for action, body := range map[string]any{"/accept": object{"tool": linear}, "/dismiss": nil} {
		admin.refused(412, "revision_stale", "POST", path+action, body, before...)
		admin.refused(412, "revision_stale", "POST", path+action, body, "If-Match", `"1", W/"2"`)
		admin.refused(412, "revision_stale", "POST", path+action, body, "If-Match", "nonsense")
	}
	accepted := admin.must(
		201, "POST", path+"/accept", object{"tool": linear}, "If-Match", before[1]+", W/"+admin.read(path)[1],
	)
	if outcomes(accepted)[two] != "granted" {
		t.Errorf("seen: %s", accepted.Body)
	}
	tool := accepted.Text("tool.id")

	// A request names agent and tool as they were when it was read.
	own := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Sandbox", "auth_type": "api_key", "credential_mode": "shared", "credential": "x"},
	).Text("id")
	for i, change := range []func(){
		func() { admin.must(200, "PATCH", "/api/admin/agents/"+two, object{"name": "Payments"}) },
		func() { admin.must(200, "PATCH", "/api/admin/tools/"+own, object{"name": "Production"}) },
	} {
		request := "/api/admin/requests/" + p.with(twoKey).mustRequest(own)
		seen := admin.read(request)
		change()
		admin.refused(412, "revision_stale", "POST", request+"/approve", nil, seen...)
		admin.refused(412, "revision_stale", "POST", request+"/deny", nil, seen...)
		action := []string{"/deny", "/approve"}[i]
		if a := admin.must(200, "POST", request+action, nil, admin.read(request)...); a.Header.Get("ETag") == "" ||
			a.Header.Get("ETag") == seen[1] {
			t.Errorf("%s: its tag is %s", action, a.Header.Get("ETag"))
		}
		if a := admin.must(200, "GET", request, nil); a.Text("status") == "pending" {
			t.Errorf("%s: %s", action, a.Body)
		}
	}
	if a := p.with(twoKey).fetch(own); a.Status != 200 {
		t.Errorf("what was approved: %s", a.Body)
	}

	note := "/api/admin/instruction-suggestions/" + p.with(one).noteOn(tool, learned, "It failed.")
	seen := admin.read(note)
	p.with(twoKey).noteOn(tool, learned, "It failed here, too.")
	admin.refused(412, "revision_stale", "POST", note+"/accept", object{"instructions": "Use it."}, seen...)
	admin.refused(412, "revision_stale", "POST", note+"/dismiss", object{"reason": "It is known."}, seen...)
	admin.must(200, "POST", note+"/accept", object{"instructions": "Use it."}, admin.read(note)...)

	for action, want := range map[string]int{
		"grant.approved": 1, "grant.denied": 1, "suggestion.accepted": 1, "instruction_suggestion.accepted": 1,
	} {
		found := admin.must(200, "GET", "/api/admin/audit?action="+action, nil).Items()
		if len(found) != want {
			t.Fatalf("%d of %s", len(found), action)
		}
		data, _ := found[0]["data"].(map[string]any)
		if digest, _ := data["decided_on"].(string); len(digest) != 64 {
			t.Errorf("%s was decided on %q", action, digest)
		}
	}
	p.stop()
	p.verify()
}

// TestTheReadModelCantChangeWhatIsDecidedOn writes other names into the read model: what a human
// reads before they decide comes from the log.
func TestTheReadModelCantChangeWhatIsDecidedOn(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 1, 1)
	admin := p.admin()
	tool := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Vault", "auth_type": "api_key", "credential_mode": "shared", "credential": "x"},
	).Text("id")
	paths := map[string]string{
		"/api/admin/requests/" + p.with(f.keys[0]).mustRequest(tool):                                        "to ",
		"/api/admin/suggestions/" + p.with(f.keys[0]).suggest("Linear", "", "to file issues"):               "Linear",
		"/api/admin/instruction-suggestions/" + p.with(f.keys[0]).noteOn(f.tools[0], learned, "It failed."): learned,
	}
	before := map[string]answer{}
	for path := range paths {
		before[path] = admin.must(200, "GET", path, nil)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, readModelFile)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range []string{
		"UPDATE agents SET name = 'Somebody else'", "UPDATE tools SET name = 'Sandbox'",
		"UPDATE requests SET reason = 'forged'", "UPDATE suggestions SET name = 'Forged'",
		"UPDATE suggestion_backers SET latest_reason = 'forged'", "UPDATE notes SET learned = 'forged'",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for path, says := range paths {
		after := admin.must(200, "GET", path, nil)
		if string(after.Body) != string(before[path].Body) ||
			after.Header.Get("ETag") != before[path].Header.Get("ETag") || !strings.Contains(string(after.Body), says) {
			t.Errorf("%s was %s and is %s", path, before[path].Body, after.Body)
		}
	}

	// Without what the read model adds, there is still all that is decided on.
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE past_grants RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	for path := range paths {
		was, after := before[path], admin.must(200, "GET", path, nil)
		delete(was.JSON, "context")
		if diff := cmp.Diff(was.JSON, after.JSON); diff != "" || after.Header.Get("ETag") != was.Header.Get("ETag") {
			t.Errorf("%s without the read model: %s", path, diff)
		}
	}
}
