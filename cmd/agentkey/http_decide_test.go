package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/integrations/oidc/oidctest"
)

const decidePath = "/api/admin/requests/decide"

func approves(request string, more ...any) object { return decides(request, "approve", more...) }

func decides(request, decision string, more ...any) object {
	o := object{"request_id": request, "decision": decision}
	for i := 0; i+1 < len(more); i += 2 {
		o[more[i].(string)] = more[i+1] //nolint:forcetypeassert // a name
	}
	return o
}

// decided sends decisions and returns what became of them, each in a few words.
func (c client) decided(all []object, headers ...string) (a answer, words []string) {
	c.t.Helper()
	a = c.must(200, "POST", decidePath, object{"decisions": all}, headers...)
	results, _ := a.JSON["results"].([]any)
	for i, r := range results {
		one := answer{JSON: r.(map[string]any)} //nolint:forcetypeassert // the document says so
		if one.Text("request_id") != all[i]["request_id"] {
			c.t.Errorf("result %d is of %v", i, one.JSON)
		}
		words = append(words, strings.TrimSpace(fmt.Sprint(
			one.At("status"), " ", one.Text("request.status"), one.Text("problem.code"),
		)))
	}
	return a, words
}

// TestManyDecisionsAreMadeInOneCall gives one that succeeds and one that fails of each kind.
func TestManyDecisionsAreMadeInOneCall(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	p := start(t, append(signsInAt(provider), unlimited...)...)
	admin := p.admin()
	github := admin.mustTool("GitHub", "ghp_1")
	linear := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Linear", "auth_type": "api_key", "credential_mode": "per_agent",
	}).Text("id")
	vault, jira := admin.mustTool("Vault", "v_1"), admin.mustTool("Jira", "j_1")
	admin.mustRules(vault, object{"separation_of_duties": true})
	admin.mustRules(jira, object{"required_approvals": 2})
	_, key := admin.mustAgent("Builder")
	_, otherKey := admin.mustAgent("Other")
	builder, other := p.with(key), p.with(otherKey)
	stale, slow := other.mustRequest(github), builder.mustRequest(jira)
	seen := admin.must(200, "GET", "/api/admin/requests/"+slow, nil).Header.Get("ETag")
	late := other.mustRequest(jira)
	admin.must(200, "POST", "/api/admin/requests/"+late+"/deny", nil)
	all := []object{
		approves(builder.mustRequest(github), "expires_at", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
		approves(builder.mustRequest(linear), "credential", " lin_secret "),
		approves(slow, "etag", seen),
		approves(stale, "etag", `"other"`),
		approves(newID().String()),
		approves(other.mustRequest(linear)),
		decides(late, "deny", "reason", "Not now."),
		approves(builder.mustRequest(vault)),
		decides(other.mustRequest(vault), "deny", "reason", "Ask for Jira."),
	}
	first, got := admin.decided(all, "Idempotency-Key", "monday")
	if diff := cmp.Diff([]string{
		"200 approved", "200 approved", "200 pending", "412 revision_stale", "404 not_found", "400 validation_failed",
		"409 already_decided", "403 own_agent", "200 denied",
	}, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{
		`"field":"decisions[5].credential"`, `"denial_reason":"Ask for Jira."`, `"access_request":{"decided_at"`,
	} {
		if !bytes.Contains(first.Body, []byte(text)) {
			t.Errorf("%s isn't in %s", text, first.Body)
		}
	}
	if bytes.Contains(first.Body, []byte("lin_secret")) {
		t.Errorf("it shows a credential: %s", first.Body)
	}
	if a := builder.fetch(linear); a.Text("credential") != " lin_secret " {
		t.Errorf("the credential is %s", a.Body)
	}
	builder.must(200, "GET", "/api/tools/"+github+"/credentials", nil)
	if a := admin.must(200, "GET", "/api/admin/requests/"+stale, nil); a.Text("status") != "pending" {
		t.Errorf("a decision about what it doesn't say: %s", a.Body)
	}
	last := p.entries()
	again, _ := admin.decided(all, "Idempotency-Key", "monday")
	if !bytes.Equal(again.Body, first.Body) || again.Header.Get("Idempotency-Replayed") != "true" || p.entries() != last {
		t.Errorf("a repeat is answered %v %s", again.Header, again.Body)
	}
	if _, got := p.mustToken(admin, "Second", "approver").decided([]object{approves(slow)}); got[0] != "200 approved" {
		t.Errorf("the last of two is answered %s", got)
	}

	// What is wrong with the body is told before anything is decided.
	for _, wrong := range []struct {
		decisions []object
		fields    []string
	}{
		{nil, []string{"decisions"}},
		{slices.Repeat([]object{approves(stale)}, 101), []string{"decisions"}},
		{[]object{approves(stale), decides(stale, "deny")}, []string{"decisions[0].request_id", "decisions[1].request_id"}},
		{[]object{approves(stale), decides(newID().String(), "postpone")}, []string{"decisions[1].decision"}},
		{[]object{approves(stale), approves("x")}, []string{"decisions[1].request_id"}},
		{[]object{approves(stale, "reason", "Fine.")}, []string{"decisions[0].reason"}},
		{
			[]object{approves(newID().String()), decides(stale, "deny", "credential", "x")},
			[]string{"decisions[1].credential"},
		},
		{[]object{decides(stale, "deny", "expires_at", "2040-01-01T00:00:00Z")}, []string{"decisions[0].expires_at"}},
	} {
		decisions := wrong.decisions
		if decisions == nil {
			decisions = []object{}
		}
		a := admin.refused(400, "validation_failed", "POST", decidePath, object{"decisions": decisions})
		for _, field := range wrong.fields {
			if !namesField(a, field) {
				t.Errorf("%s isn't named: %s", field, a.Body)
			}
		}
	}

	// Each decision is for those who may make it.
	path := "/api/admin/members/" + p.mustMember(provider, "ada", "approver").must(200, "GET", "/api/admin/me", nil).
		Text("actor.id")
	admin.must(200, "PATCH", path, object{"role": "approver", "tools": []string{github}})
	ada := p.with(someone(provider, "ada", "ada@example.com"))
	_, got = ada.decided([]object{approves(all[5]["request_id"].(string), "credential", "x"), approves(stale)}) //nolint:forcetypeassert // an id
	if diff := cmp.Diff([]string{"403 role_insufficient", "200 approved"}, got); diff != "" {
		t.Errorf("an approver of one tool: %s", diff)
	}
	refused := func() int { return len(admin.must(200, "GET", "/api/admin/audit?action=call.refused", nil).Items()) }
	wait.Until(t, "the audit has the refused call", func() bool { return refused() > 0 })
	if n := refused(); n != 1 {
		t.Errorf("the audit has %d refused calls", n)
	}
	if _, got := p.organization("Globex", "owner").decided(all[5:6]); got[0] != "404 not_found" {
		t.Errorf("another organization: %s", got)
	}

	// A process dies between two decisions, and the caller repeats the call.
	_, key = admin.mustAgent("Third")
	builder = p.with(key)
	half := []object{approves(builder.mustRequest(github)), decides(builder.mustRequest(jira), "deny")}
	me := admin.must(200, "GET", "/api/admin/me", nil).Text("actor.id")
	p.office(func(ctx context.Context, o *office) error {
		m := o.meta(o.inst.Begun.OrganizationID)
		m.Actor = domain.Actor{Type: domain.ActorService, ID: me}
		once := &commands.Once{Log: o.inst.Log, MACKey: o.inst.MACKey, NewID: newID, Clock: func() time.Time {
			return time.Now().Add(-loop.Takeover)
		}}
		ticket, err := once.Begin(ctx, m, "half", digestOf(t, "POST", decidePath, object{"decisions": half}))
		if err != nil {
			return err
		}
		grants := &commands.Grants{
			Agents: commands.NewAgentLoop(o.env), Catalogs: commands.NewCatalogLoop(o.env), Secrets: o.inst.Secrets,
			Log: o.inst.Log, Clock: time.Now,
		}
		request := half[0]["request_id"].(string) //nolint:forcetypeassert // an id
		m.CommandID = loop.DerivedID(ticket.CommandID, "decision about "+request)
		_, err = grants.Approve(ctx, m, request, commands.Terms{})
		return err
	})
	_, got = admin.decided(half, "Idempotency-Key", "half")
	if diff := cmp.Diff([]string{"200 approved", "200 denied"}, got); diff != "" {
		t.Errorf("after a crash: %s", diff)
	}
}

// digestOf is what an idempotency key remembers of a call without a query and If-Match.
func digestOf(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	var sent bytes.Buffer
	encoder := json.NewEncoder(&sent)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		t.Fatal(err)
	}
	digest := sha256.New()
	for _, piece := range [][]byte{[]byte(method), []byte(path), nil, nil, sent.Bytes()} {
		sum := sha256.Sum256(piece)
		digest.Write(sum[:])
	}
	return digest.Sum(nil)
}
