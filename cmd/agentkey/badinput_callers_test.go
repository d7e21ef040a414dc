package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/integrations/oidc/oidctest"
)

// route is one call of the API as the served document describes it.
type route struct{ method, path, caller, permission, tier string }

func (r route) String() string { return r.method + " " + r.path }

// routes reads the document that the program serves.
func (p *program) routes() []route {
	p.t.Helper()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(p.anyone().must(200, "GET", "/openapi.json", nil).Body, &doc); err != nil {
		p.t.Fatal(err)
	}
	var out []route
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for method, raw := range doc.Paths[path] {
			var operation struct {
				Rules struct{ Caller, Permission, Tier string } `json:"x-agentkey"`
			}
			if method == "parameters" {
				continue
			}
			if err := json.Unmarshal(raw, &operation); err != nil {
				p.t.Fatal(err)
			}
			rules := operation.Rules
			out = append(out, route{strings.ToUpper(method), path, rules.Caller, rules.Permission, rules.Tier})
		}
	}
	if len(out) < 30 {
		p.t.Fatalf("the document has %d calls", len(out))
	}
	return out
}

// at fills in a path.
func (r route) at(id, toolID string) string {
	return strings.NewReplacer(
		"{id}", id, "{tool_id}", toolID, "{event_id}", id, "{version}", "1", "/docs/{path}", "/docs/page.css",
	).Replace(r.path)
}

// organization makes a further one and returns a client with a token of it.
func (p *program) organization(name, role string) client {
	p.t.Helper()
	return p.with(
		p.shell(
			"token", "create", "--organization", p.shell("organization", "create", name), "--name", "ci", "--role",
			role,
		),
	)
}

func TestAKeyThatDoesNotWorkIsToldWhy(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, key := admin.mustAgent("Onboarding")
	random := func(kind keys.Kind, id uuid.UUID, number int) string {
		text, _, err := keys.New(kind, id, number)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	last := map[bool]string{true: "1", false: "0"}[strings.HasSuffix(key, "0")]
	for _, tt := range []struct{ name, header, code string }{
		{"no header", "", "credentials_missing"},
		{"another scheme", "Basic " + key, "credentials_malformed"},
		{"a key without a scheme", key, "credentials_malformed"},
		{"a scheme without a key", "Bearer", "credentials_malformed"},
		{"a scheme and white space", "Bearer ", "credentials_malformed"},
		{"two keys", "Bearer " + key + " " + key, "credentials_malformed"},
		{"two keys with a comma", "Bearer " + key + ", Bearer " + key, "credentials_malformed"},
		{"another checksum", "Bearer " + key[:len(key)-1] + last, "credentials_malformed"},
		{"a letter in another case", "Bearer " + strings.ToUpper(key[:9]) + key[9:], "credentials_malformed"},
		{"a key that was cut", "Bearer " + key[:len(key)-3], "credentials_malformed"},
		{"a key of somebody else", "Bearer ghp_16C7e42F292c6912E7710c838347Ae178B4a", "credentials_malformed"},
		{"a very long key", "Bearer sk_agent_" + strings.Repeat("x", 8000), "credentials_malformed"},
		{
			"a random key of an agent that there is not", "Bearer " + random(keys.Agent, newID(), 1),
			"credentials_unknown",
		},
		{"a random key of this agent", "Bearer " + random(keys.Agent, uuid.MustParse(id), 1), "credentials_unknown"},
		{
			"a random key of this agent with a number that it has not",
			"Bearer " + random(keys.Agent, uuid.MustParse(id), 7), "credentials_unknown",
		},
		{
			"a random token of an organization that there is not", "Bearer " + random(keys.Service, newID(), 1),
			"credentials_unknown",
		},
		{
			"a random token of the first organization", "Bearer " + random(keys.Service, uuid.Nil, 0),
			"credentials_unknown",
		},
		{"an agent's id on a token", "Bearer " + random(keys.Service, uuid.MustParse(id), 1), "credentials_unknown"},
	} {
		for _, path := range []string{
			"/api/me", "/api/tools", "/api/tools/" + id + "/credentials", "/api/admin/me", "/api/admin/tools",
		} {
			a := p.anyone().refused(401, tt.code, "GET", path, nil, "Authorization", tt.header)
			if a.Header.Get("WWW-Authenticate") != "Bearer" || a.Header.Get("X-Request-Id") == "" ||
				a.Header.Get("X-RateLimit-Limit") != "" {
				t.Errorf("%s: %v", tt.name, a.Header)
			}
			if strings.Contains(string(a.Body), key[10:]) {
				t.Errorf("%s: the answer shows the key", tt.name)
			}
		}
	}
	twice := p.raw(
		1, "GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+key+"\r\nAuthorization: Bearer "+key+"\r\n\r\n",
		false,
	)
	if len(twice) != 1 || twice[0].Status != 401 || twice[0].Code() != "credentials_malformed" {
		t.Errorf("two headers: %+v", twice)
	}
	p.anyone().must(200, "GET", "/api/me", nil, "Authorization", "bearer "+key)
}

func TestARotatedKeyEndsWhenItWasTold(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, first := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	rotate := func(overlap int) string {
		return admin.must(
			200, "POST", "/api/admin/agents/"+id+"/rotate-key", object{"overlap_seconds": overlap, "force": true},
		).Text("api_key")
	}
	works := func(which, key string, yes bool) {
		t.Helper()
		for _, path := range []string{
			"/api/me", "/api/tools", "/api/tools/" + tool, "/api/tools/" + tool + "/credentials",
			"/api/tools/" + tool + "/request",
		} {
			if a := p.with(key).call("GET", path, nil); yes && a.Status != 200 ||
				!yes && (a.Status != 401 || a.Code() != "credentials_expired") {
				t.Errorf("%s on %s: %d %s", which, path, a.Status, a.Body)
			}
		}
	}
	second := rotate(3600)
	works("the first key within the overlap", first, true)
	works("the second key", second, true)
	third := rotate(3600)
	works("the first key after two rotations", first, false)
	works("the second key within the overlap", second, true)
	works("the third key", third, true)
	fourth := rotate(0)
	works("the second key after a rotation without overlap", second, false)
	works("the third key after a rotation without overlap", third, false)
	works("the fourth key", fourth, true)
	fifth := rotate(1)
	wait.Until(t, "expired", func() bool { return p.with(fourth).call("GET", "/api/me", nil).Status == 401 })
	works("the fourth key after the overlap", fourth, false)
	works("the fifth key", fifth, true)
	admin.must(204, "DELETE", "/api/admin/agents/"+id, nil)
	for _, key := range []string{first, fourth, fifth} {
		if a := p.with(key).fetch(tool); a.Status != 401 {
			t.Errorf("a key of a retired agent: %d %s", a.Status, a.Body)
		}
	}
}

// permitted says which permission each role has. It is written here a second time on purpose.
var permitted = map[string][]string{
	"owner": {"read", "audit", "approve", "manage", "own"}, "admin": {"read", "audit", "approve", "manage"},
	"approver": {"read", "audit", "approve"}, "auditor": {"read", "audit"}, "viewer": {"read"},
}

// needed is what each admin's call asks of a role, written here a second time: what reads or says
// what was read, what decides about access, what can't be undone for a person, and everything else.
func needed(r route) string {
	switch {
	case strings.HasPrefix(r.path, "/api/admin/audit"), strings.HasPrefix(r.path, "/api/admin/reports/"):
		return "audit"
	case r.method == "GET", r.String() == "DELETE /api/admin/sessions/{id}":
		return "read"
	case strings.HasSuffix(r.path, "/approve"), strings.HasSuffix(r.path, "/deny"), r.path == decidePath,
		r.String() == "DELETE /api/admin/agents/{id}/grants/{tool_id}":
		return "approve"
	case r.String() == "DELETE /api/admin/people/{id}", r.String() == "POST /api/admin/organizations":
		return "own"
	}
	return "manage"
}

// TestEachRouteIsForItsCallers calls every route of the document with every kind of caller. Each
// names things that do not exist, so a caller with permission gets another answer than 401 and 403.
func TestEachRouteIsForItsCallers(t *testing.T) {
	t.Parallel()
	p := start(t, append([]string{"AGENTKEY_SECURITY_CONTACT=security@example.com"}, unlimited...)...)
	organization := p.admin().must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	agentID, agentKey := p.admin().mustAgent("Onboarding")
	suspendedID, suspendedKey := p.admin().mustAgent("Suspended")
	p.admin().must(200, "POST", "/api/admin/agents/"+suspendedID+"/suspend", nil)
	roles := map[string]client{}
	for role := range permitted {
		roles[role] = p.with(p.shell("token", "create", "--organization", organization, "--name", role, "--role", role))
		if a := roles[role].must(200, "GET", "/api/admin/me", nil); a.Text("role") != role ||
			a.Text("actor.type") != "service" {
			t.Errorf("an %s: %s", role, a.Body)
		}
	}
	nothing := newID().String()
	for _, r := range p.routes() {
		path := r.at(nothing, nothing)
		body := any(nil)
		if r.method != "GET" && r.method != "DELETE" {
			body = object{}
		}
		if r.caller == "anyone" {
			for _, key := range []string{"", agentKey} {
				a := p.with(key).call(r.method, path, body)
				signsIn := strings.HasPrefix(path, "/auth/") // and says what it lacks
				if a.Status != 200 && (!signsIn || a.Status >= 500 || a.Code() == "credentials_missing") {
					t.Errorf("%s by anyone: %d %s", r, a.Status, a.Body)
				}
			}
			continue
		}
		p.with("").refused(401, "credentials_missing", r.method, path, body)
		p.with(suspendedKey).refused(403, "agent_suspended", r.method, path, body)
		if r.caller == "agent" {
			p.admin().refused(403, "wrong_caller", r.method, path, body)
			if a := p.with(agentKey).call(r.method, path, body); a.Status == 401 || a.Status == 403 || a.Status >= 500 {
				t.Errorf("%s by an agent: %d %s", r, a.Status, a.Body)
			}
			continue
		}
		p.with(agentKey).refused(403, "wrong_caller", r.method, path, body)
		if r.permission != needed(r) {
			t.Errorf("%s asks for %q, not %q", r, r.permission, needed(r))
		}
		for role, c := range roles {
			may := slices.Contains(permitted[role], needed(r))
			a := c.call(r.method, path, body)
			if refused := a.Status == 403 && a.Code() == "role_insufficient"; refused == may || a.Status == 401 ||
				a.Status >= 500 {
				t.Errorf("%s by an %s: %d %s", r, role, a.Status, a.Body)
			}
		}
	}
	if a := p.with(agentKey).must(200, "GET", "/api/me", nil); a.Text("agent_id") != agentID {
		t.Errorf("me: %s", a.Body)
	}
}

func TestAFetchOfASuspendedAgentIsRecorded(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	p.with(key).refused(403, "agent_suspended", "GET", "/api/tools/"+tool+"/credentials", nil)
	var refused []map[string]any
	wait.Until(t, "recorded", func() bool {
		refused = admin.must(200, "GET", "/api/admin/audit?action=credential.refused&agent_id="+id, nil).Items()
		return len(refused) > 0
	})
	if refused[0]["tool_id"] != tool || refused[0]["data"].(object)["reason"] != "agent_suspended" {
		t.Errorf("the record: %v", refused[0])
	}
}

// TestInventedToolsFillNoLog lets an agent ask for a new tool each time, and again while suspended.
func TestInventedToolsFillNoLog(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	removed := admin.mustTool("Linear", "lin_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.must(204, "DELETE", "/api/admin/tools/"+removed, nil)
	fetch := func(code string, status int, tools ...string) {
		t.Helper()
		for _, tool := range tools {
			p.with(key).refused(status, code, "GET", "/api/tools/"+tool+"/credentials", nil)
		}
	}
	invented := make([]string, 40)
	for i := range invented {
		invented[i] = newID().String()
	}
	fetch("not_found", 404, append(invented, removed)...)
	fetch("access_not_approved", 403, tool, tool)
	var probes []object
	wait.Until(t, "an admin sees it at once", func() bool {
		probes = admin.must(200, "GET", "/api/admin/audit?action=credential.refused&agent_id="+id, nil).Items()
		return len(probes) >= 2
	})
	if probe := probes[len(probes)-1]; probe["tool_id"] != invented[0] ||
		probe["data"].(object)["reason"] != "not_found" {
		t.Errorf("the first is recorded as %v", probe)
	}
	admin.must(200, "POST", "/api/admin/agents/"+id+"/suspend", nil)
	fetch("agent_suspended", 403, invented...)
	fetch("agent_suspended", 403, tool)
	p.stop() // what was counted is written
	events, counts := map[string]int{}, map[string]int{}
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(e eventstore.Recorded) error {
			if e.Stream != codec.Refusals.Stream(id) || e.Type == codec.Snapshot {
				return nil
			}
			event, err := codec.Decode(e.Type, e.Data)
			refused, is := event.(codec.CredentialRefused)
			if err != nil || !is {
				t.Errorf("%s is %v: %v", e.Type, event, err)
			}
			what := refused.Reason
			if refused.ToolID == tool {
				what += " of the tool"
			}
			events[what]++
			counts[what] += refused.Count
			return nil
		})
	})
	if diff := cmp.Diff(map[string]int{
		"not_found": 41, "access_not_approved of the tool": 2, "agent_suspended": 40, "agent_suspended of the tool": 1,
	}, counts); diff != "" {
		t.Error(diff)
	}
	for what, n := range events {
		if n > 4 { // two a minute, and a busy machine may take more than one
			t.Errorf("%s is %d events", what, n)
		}
	}
}

// TestAnotherOrganizationsIDsLookLikeNone calls every route that names something with the ids of
// another organization, and with ids of nothing. The answers differ in nothing but the id of the
// request and the ids that were sent.
func TestAnotherOrganizationsIDsLookLikeNone(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	own, ownKey := admin.mustAgent("With access")
	admin.mustAssign(own, tool)
	request := p.with(key).mustRequest(tool)
	suggestion, note := p.with(key).suggest("Linear", "", "to file issues"), p.with(ownKey).noteOn(
		tool, "It answers in JSON.", "I expected XML.",
	)
	invitation := func(email string) string {
		return admin.must(201, "POST", "/api/admin/invitations", object{"email": email, "role": "admin"}).Text("id")
	}
	invitation("ada@example.com")
	member := p.with(someone(provider, "ada", "ada@example.com")).must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	token, secret := admin.newToken("CI", "admin")
	p.page().must(204, "POST", "/auth/session", object{"token": secret})
	things := map[string]string{
		"tools": tool, "requests": request, "suggestions": suggestion, "instruction-suggestions": note,
		"members": member, "people": member, "invitations": invitation("bob@example.com"), "service-tokens": token,
		"sessions": admin.must(200, "GET", "/api/admin/sessions", nil).Items()[0]["id"].(string), //nolint:forcetypeassert // an id
		"audit":    admin.must(200, "GET", "/api/admin/audit", nil).Items()[0]["id"].(string),    //nolint:forcetypeassert // an id
		"rules":    admin.must(201, "POST", rulesPath, unused).Text("id"),
		"notification-channels": admin.must(201, "POST", "/api/admin/notification-channels", object{
			"kind": "webhook", "name": "Ops", "url": "https://ops.example/hook", "topics": []string{"access_requested"},
		}).Text("id"),
	}
	other := p.organization("Another", "owner")
	otherTool := other.mustTool("GitHub", "ghp_other") // names are unique within an organization alone
	otherID, otherKey := other.mustAgent("Onboarding")
	other.mustAssign(otherID, otherTool)
	before := len(admin.must(200, "GET", "/api/admin/audit?limit=200", nil).Items())

	bodies := map[string]object{
		"POST /api/admin/agents/{id}/grants":                     {"tool_id": otherTool},
		"PUT /api/admin/agents/{id}/grants/{tool_id}/credential": {"credential": "x"},
		"PUT /api/admin/tools/{id}/credential":                   {"credential": "x"},
		"PATCH /api/admin/agents/{id}":                           {"name": "Taken"},
		"PUT /api/admin/agents/{id}/identity": {
			"issuer": "https://issuer.example", "audience": "agentkey", "claims": object{"sub": "a"},
		},
		"PATCH /api/admin/tools/{id}":                 {"name": "Taken"},
		"PATCH /api/admin/members/{id}":               {"role": "viewer"},
		"PATCH /api/admin/rules/{id}":                 {"name": "Taken"},
		"PATCH /api/admin/notification-channels/{id}": {"name": "Taken"},
		"POST /api/tools/{id}/request":                {"reason": "to open pull requests"},
		"POST /api/tools/{id}/instructions/suggest": {
			"learned": "It answers in JSON.", "why": "I expected XML.",
		},
		"POST /api/admin/suggestions/{id}/accept": {
			"tool":          object{"name": "Taken", "auth_type": "other", "credential_mode": "per_agent"},
			"grant_backers": false,
		},
		"POST /api/admin/instruction-suggestions/{id}/accept":  {"instructions": "Taken"},
		"POST /api/admin/instruction-suggestions/{id}/dismiss": {"reason": "Taken"},
	}
	for _, r := range p.routes() {
		if !strings.Contains(r.path, "{id}") ||
			r.method == "GET" && (strings.HasSuffix(r.path, "/request") || strings.HasSuffix(r.path, "/suggest")) {
			continue
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.path, "/api/admin/"), "/")
		theirs, caller := things[kind], other
		if theirs == "" {
			theirs = id
		}
		if r.caller == "agent" {
			theirs, caller = tool, p.with(otherKey)
		}
		body := any(nil)
		if b, needs := bodies[r.String()]; needs {
			body = b
		}
		nothing := newID().String()
		for _, also := range []string{tool, otherTool} {
			got, want := caller.call(r.method, r.at(theirs, also), body), caller.call(
				r.method, r.at(nothing, also), body,
			)
			if got.Status != 404 || got.Code() != "not_found" || got.Text("detail") != want.Text("detail") ||
				want.Status != 404 {
				t.Errorf("%s: with theirs %d %s, with nothing %d %s", r, got.Status, got.Body, want.Status, want.Body)
			}
		}
	}
	// One id is ours and the other theirs.
	for method, path := range map[string]string{
		"POST":   "/api/admin/agents/" + otherID + "/grants",
		"DELETE": "/api/admin/agents/" + otherID + "/grants/" + tool,
		"PUT":    "/api/admin/agents/" + otherID + "/grants/" + tool + "/credential",
	} {
		body := map[string]any{"POST": object{"tool_id": tool}, "PUT": object{"credential": "x"}}[method]
		if a := other.call(method, path, body); a.Status != 404 && (method != "DELETE" || a.Status != 204) {
			t.Errorf("%s %s: %d %s", method, path, a.Status, a.Body)
		}
	}
	lists := append(
		slices.Collect(maps.Keys(things)), "agents", "grants", "notification-deliveries", "organization", "me",
		"reports/access-review", "reports/decisions", "reports/exposure?tool_id="+otherTool, "summary",
		"usage?group_by=agent", "usage?group_by=tool",
	)
	for _, list := range lists {
		if list == "people" {
			continue
		}
		a := other.call("GET", "/api/admin/"+list, nil)
		if a.Status != 200 {
			t.Errorf("GET %s: %d %s", list, a.Status, a.Body)
		}
		if list == "audit" {
			continue // below
		}
		for kind, thing := range things {
			if strings.Contains(string(a.Body), thing) {
				t.Errorf("GET %s shows a thing of %s: %s", list, kind, a.Body)
			}
		}
	}
	for _, list := range []string{"agents", "tools", "requests", "grants", "audit"} {
		for _, item := range other.must(200, "GET", "/api/admin/"+list+"?limit=200", nil).Items() {
			if item["action"] == "credential.refused" {
				continue // it has the id that their agent sent
			}
			text := fmt.Sprint(item)
			if strings.Contains(text, id) || strings.Contains(text, own) || strings.Contains(text, tool) ||
				strings.Contains(text, request) {
				t.Errorf("their %s: %s", list, text)
			}
		}
	}
	for _, filter := range []string{
		"grants?agent_id=" + own, "grants?tool_id=" + tool, "requests?agent_id=" + id, "audit?agent_id=" + id,
		"audit?action=grant.requested&tool_id=" + tool,
	} {
		if items := other.must(200, "GET", "/api/admin/"+filter, nil).Items(); len(items) > 0 {
			t.Errorf("%s: %v", filter, items)
		}
	}
	if after := len(admin.must(200, "GET", "/api/admin/audit?limit=200", nil).Items()); after != before {
		t.Errorf("%d events came to the organization", after-before)
	}
}

func TestAPathIsExactlyARoute(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	agent := p.with(key)
	for _, wrong := range []string{
		"x", "1", "undefined", strings.ToUpper(tool), strings.ReplaceAll(tool, "-", ""), "urn:uuid:" + tool,
		"{" + tool + "}", "%7B" + tool + "%7D", tool + "0", tool[:35], tool + "%00", tool + "%20", "%20" + tool, "..",
		"%2e%2e", tool + "%2F..", "GitHub", "ä",
	} {
		agent.refused(404, "not_found", "GET", "/api/tools/"+wrong+"/credentials", nil)
		admin.refused(404, "not_found", "GET", "/api/admin/tools/"+wrong, nil)
		admin.refused(404, "not_found", "DELETE", "/api/admin/agents/"+id+"/grants/"+wrong, nil)
	}
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"instructions": "Send it."})
	for _, version := range []string{"0", "-1", "x", "1.0", "01", "+1", "2", "99999999999999999999", "%20"} {
		admin.refused(404, "not_found", "POST", "/api/admin/tools/"+tool+"/instructions/"+version+"/restore", nil)
	}
	for _, path := range []string{
		"/api", "/api/", "/api/tools/", "/api/tool", "/API/tools", "//api/tools", "/api//tools", "/api/tools/./",
		"/api/admin", "/api/admin/", "/api/admin/tools/", "/api/admin/suggestion",
		"/api/tools/" + tool + "/credentials/", "/openapi.yaml", "/debug/pprof/", "/metrics",
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "HEAD", "OPTIONS"} {
			a := admin.call(method, path, nil)
			if a.Status != 404 || a.Header.Get("X-Request-Id") == "" || (method != "HEAD" && a.Code() != "not_found") {
				t.Errorf("%s %s: %d %s", method, path, a.Status, a.Body)
			}
		}
	}
	for wrong, right := range map[string]string{
		"/api/tools/": "/api/tools", "//api/tools": "/api/tools", "/api//tools": "/api/tools",
		"/api/tools/./": "/api/tools", "/API/Tools": "/api/tools",
		"//api//tools///": "/api/tools", "/api/tools//?x=1": "/api/tools",
		"/api/tools/" + tool + "/credentials/": "/api/tools/" + tool + "/credentials",
		"/api/admin/tools/" + tool + "/":       "/api/admin/tools/" + tool, "/api/tools/a b/": "/api/tools/a%20b",
		"/healthz/": "/healthz", "/api": "", "/api/": "", "/api/tool": "",
		"/api/tools/" + tool + "/credentials/x": "", "/metrics": "",
	} {
		a := agent.call("GET", strings.ReplaceAll(wrong, " ", "%20"), nil)
		if hint := a.Text("hint"); a.Status != 404 || (right == "") != !strings.Contains(hint, "Use the path") ||
			!strings.Contains(hint, right) {
			t.Errorf("%s: %d %s", wrong, a.Status, a.Body)
		}
		if right != "" && !strings.Contains(a.Text("hint"), "Use the path "+right+".") {
			t.Errorf("%s is not said to be %s: %s", wrong, right, a.Body)
		}
	}
	methods := map[string][]string{}
	for _, r := range p.routes() {
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		withEffect := []string{"/api/tools/{id}/credentials", "/auth/callback", "/auth/link"}
		if slices.Contains(allowed, "GET") && !slices.Contains(withEffect, path) {
			allowed = append(allowed, "HEAD")
		}
		at := route{path: path}.at(id, tool)
		slices.Sort(allowed)
		for _, method := range []string{
			"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
		} {
			if slices.Contains(allowed, method) {
				continue
			}
			a := admin.call(method, at, nil)
			if a.Status != http.StatusMethodNotAllowed ||
				a.Header.Get("Allow") != strings.Join(allowed, ", ") ||
				method != "HEAD" && a.Code() != "method_not_allowed" {
				t.Errorf(
					"%s %s: %d, Allow %q, not %v: %s", method, path, a.Status, a.Header.Get("Allow"), allowed, a.Body,
				)
			}
		}
	}
	if a := agent.call("HEAD", "/api/tools/"+tool+"/credentials", nil); a.Status != 405 ||
		a.Header.Get("Allow") != "GET" || len(a.Body) > 0 {
		t.Errorf("HEAD on credentials: %d %v", a.Status, a.Header)
	}
	agent.refused(
		405, "method_not_allowed", "POST", "/api/tools/"+tool+"/credentials", object{}, "X-HTTP-Method-Override", "GET",
	)
	if a := agent.fetch(tool); a.At("receipt.revision") != 2.0 {
		t.Errorf("the first fetch, after HEAD: %s", a.Body)
	}
}
