package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// without drops members that the past doesn't have from all objects of an answer.
func without(v any, names ...string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			out[name] = without(member, names...)
		}
		for _, name := range names {
			delete(out, name)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = without(v[i], names...)
		}
		return out
	}
	return v
}

// pictures are the answers on some paths, which have a query already, as of a moment; "" is now.
func pictures(c client, paths []string, asOf string) map[string]any {
	c.t.Helper()
	out := map[string]any{}
	for _, path := range paths {
		if asOf != "" {
			path += "&as_of=" + url.QueryEscape(asOf)
		}
		a := c.call("GET", path, nil)
		path, _, _ = strings.Cut(path, "&as_of")
		if a.Status == 404 {
			out[path] = "404"
			continue
		}
		if a.Status != 200 {
			c.t.Fatalf("GET %s: %d %s", path, a.Status, a.Body)
		}
		if _, list := a.JSON["items"]; asOf != "" && list &&
			fmt.Sprintf("%.0f", a.JSON["position"]) != a.Header.Get("X-Event-Position") {
			c.t.Errorf("GET %s: position is %v, the header says %s", path, a.JSON["position"], a.Header.Get("X-Event-Position"))
		}
		out[path] = without(a.JSON, "position", "context", "fetch_count", "last_fetched_at", "last_seen_at", "last_used_at")
	}
	return out
}

// TestThePastIsAnsweredAsItWas takes pictures of everything after each step of a story, and
// compares each with what is answered later about that moment, by its position and by its time.
func TestThePastIsAnsweredAsItWas(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		thePast(t, start(t, unlimited...))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		thePast(t, start(t, append(slices.Clone(unlimited), "AGENTKEY_DATABASE_URL="+readmodelstest.Postgres(t))...))
	})
}

func thePast(t *testing.T, p *program) {
	t.Helper()
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	own := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Jira", "auth_type": "other", "credential_mode": "per_agent",
	}).Text("id")
	bot, key := admin.mustAgent("Bot")
	second, secondKey := admin.mustAgent("Second")
	agent, other := p.with(key), p.with(secondKey)
	request := agent.mustRequest(tool)
	wish := agent.suggest("Linear", "", "to plan")
	paths := []string{
		"/api/admin/agents?limit=200", "/api/admin/tools?limit=200", "/api/admin/grants?limit=200",
		"/api/admin/requests?limit=200", "/api/admin/suggestions?limit=200", "/api/admin/grants?status=approved",
		"/api/admin/requests?status=pending", "/api/admin/agents?status=active&q=bot", "/api/admin/tools?q=git",
		"/api/admin/suggestions?status=pending", "/api/admin/agents/" + bot + "?", "/api/admin/tools/" + tool + "?",
		"/api/admin/requests/" + request + "?", "/api/admin/suggestions/" + wish + "?",
	}
	type picture struct {
		position, time string
		shows          map[string]any
	}
	var album []picture
	take := func() {
		t.Helper()
		newest := admin.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0]
		album = append(album, picture{
			position: fmt.Sprintf("%.0f", newest["position"]), time: fmt.Sprint(newest["occurred_at"]),
			shows: pictures(admin, paths, ""),
		})
	}
	take()
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	take()
	agent.fetch(tool)
	take()
	admin.must(201, "POST", "/api/admin/agents/"+bot+"/grants", object{"tool_id": own, "credential": "first"})
	other.suggest("Linear", "", "me too")
	take()
	admin.must(200, "PATCH", "/api/admin/agents/"+bot, object{"name": "Robot", "owner": "Kim"})
	admin.must(200, "PATCH", "/api/admin/tools/"+tool, object{"name": "Forge", "instructions": "be kind"})
	take()
	admin.must(200, "POST", "/api/admin/agents/"+bot+"/rotate-key", object{"overlap_seconds": 600})
	admin.must(200, "PUT", "/api/admin/tools/"+tool+"/credential", object{"credential": "ghp_second"})
	take()
	linked := admin.accept(wish, object{"tool": linear}).Text("tool.id")
	wait.Until(t, "its backers have it", func() bool {
		return len(admin.must(200, "GET", "/api/admin/grants?status=approved&tool_id="+linked, nil).Items()) == 2
	})
	take()
	other.mustRequest(tool)
	take()
	admin.must(200, "POST", freezePath, object{"tool_id": tool})
	wait.Until(t, "the freeze is written down for both", func() bool {
		return len(audited(admin, "action=grant.revoked&tool_id="+tool)) == 2
	})
	take()
	admin.must(200, "POST", "/api/admin/tools/"+tool+"/unfreeze", nil)
	other.mustRequest(tool)
	take()
	admin.must(200, "POST", "/api/admin/agents/"+second+"/suspend", nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+bot+"/grants/"+tool, nil)
	take()
	admin.must(204, "DELETE", "/api/admin/tools/"+linked, nil)
	wait.Until(t, "the reaction has revoked what it was for", func() bool {
		return len(audited(admin, "action=grant.revoked&tool_id="+linked)) == 2 // the suspension has revoked one
	})
	take()
	admin.must(204, "DELETE", "/api/admin/agents/"+bot, nil)
	take()

	compare := func(when string) {
		t.Helper()
		for i, then := range album {
			for _, asOf := range []string{then.position, then.time} {
				if diff := cmp.Diff(then.shows, pictures(admin, paths, asOf)); diff != "" {
					t.Errorf("%s, picture %d as of %s (-then +as of then):\n%s", when, i, asOf, diff)
				}
			}
		}
	}
	compare("later")
	first := audited(admin, "")[0]
	for text, want := range map[string]string{
		"yesterday": "RFC 3339", "2026-04-01": "RFC 3339", "2026-04-01T09:00:00,5Z": "RFC 3339",
		"-1": "RFC 3339", "1.5": "RFC 3339",
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339): "future", "9999-01-01T00:00:00Z": "future",
		"0":                         "nothing had happened",
		"2019-04-01T09:00:00+02:00": "at position " + fmt.Sprintf("%.0f", first.JSON["position"]),
		"0001-01-01T00:00:00Z":      "nothing had happened", "9223372036854775807": "up to position",
		"18446744073709551615": "up to position", "99999999999999999999": "RFC 3339",
	} {
		for _, path := range paths {
			a := admin.refused(400, "validation_failed", "GET", path+"&as_of="+url.QueryEscape(text), nil)
			if !strings.Contains(string(a.Body), want) || !strings.Contains(string(a.Body), `"field":"as_of"`) {
				t.Errorf("as_of=%s is refused with %s", text, a.Body)
			}
		}
	}
	before := "?as_of=" + fmt.Sprintf("%.0f", first.JSON["position"])
	admin.refused(404, "not_found", "GET", "/api/admin/suggestions/"+wish+before, nil)
	stranger := p.organization("Another", "owner")
	stranger.refused(400, "validation_failed", "GET", "/api/admin/agents?as_of="+album[3].position, nil)
	stranger.mustAgent("Theirs")
	theirs := audited(stranger, "")
	newest := fmt.Sprintf("%.0f", theirs[len(theirs)-1].JSON["position"])
	if n := len(stranger.must(200, "GET", "/api/admin/agents?as_of="+newest, nil).Items()); n != 1 {
		t.Errorf("another organization sees %d agents as of %s", n, newest)
	}
	stranger.refused(404, "not_found", "GET", "/api/admin/agents/"+second+"?as_of="+newest, nil)
	part := "/api/admin/agents?limit=1&as_of=" + album[0].position
	page := admin.must(200, "GET", part, nil)
	rest := admin.must(200, "GET", part+"&cursor="+page.Text("next_cursor"), nil)
	if len(page.Items()) != 1 || len(rest.Items()) != 1 || page.Items()[0]["id"] != second ||
		rest.Items()[0]["id"] != bot {
		t.Errorf("two pages of the past: %s and %s", page.Body, rest.Body)
	}

	for i, from := range album {
		for _, to := range album[i:] {
			differs(admin, from.position, to.position)
			differs(admin, from.time, to.time)
		}
		differs(admin, "2020-01-01T00:00:00Z", from.time)
	}
	for query, field := range map[string]string{
		"from=" + album[2].time + "&to=" + album[1].time: "from", "from=1&to=9999-01-01T00:00:00Z": "to",
		"from=yesterday&to=" + album[1].time: "from", "from=" + album[1].time: "to",
		"from=1&to=2020-01-01T00:00:00Z": "to",
	} {
		a := admin.refused(400, "validation_failed", "GET", "/api/admin/audit/diff?"+query, nil)
		if !strings.Contains(string(a.Body), `"field":"`+field+`"`) {
			t.Errorf("%s is refused with %s", query, a.Body)
		}
	}

	p.stop()
	p.loseReadModel()
	p.run()
	admin = p.admin()
	compare("filled again")

	admin.mustBeCovered("filler")
	bundle := filepath.Join(t.TempDir(), "audit.zip")
	if code, out, failed := p.audit("export", bundle, "--url", p.URL); code != 0 {
		t.Fatalf("export: %d: %s%s", code, out, failed)
	}
	for i, then := range album {
		for _, asOf := range []string{then.position, then.time} {
			p.replays(0, "says the same", bundle, "--url", p.URL, "--as-of", asOf)
			out := p.replays(0, `"digests"`, bundle, "--offline", "--json", "--as-of", asOf)
			var was map[string]any
			if err := json.Unmarshal([]byte(out), &was); err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"agents", "tools", "grants", "requests", "suggestions"} {
				shown, _ := then.shows["/api/admin/"+kind+"?limit=200"].(map[string]any)
				items, _ := shown["items"].([]any)
				if folded, _ := was[kind].([]any); len(folded) != len(items) {
					t.Errorf("picture %d has %d %s, and the events make %d", i, len(items), kind, len(folded))
				}
			}
		}
	}
	p.replays(0, "says the same", "--url", p.URL, "--as-of", album[5].position)
	p.replays(1, "nothing had happened by then; the first event", "--url", p.URL, "--as-of", "2020-01-01T00:00:00Z")
	p.replays(1, "nothing had happened by then; the first event", "--url", p.URL, "--as-of", "0")
	p.replays(0, "says the same", "--url", p.URL, "--as-of", audited(admin, "")[0].Text("occurred_at"))
	p.replays(2, "RFC 3339", bundle, "--offline", "--as-of", "yesterday")
	p.replays(2, "before the first event", bundle, "--offline", "--as-of", "1")
	p.replays(2, "before the first event", bundle, "--offline", "--as-of", "2020-01-01T00:00:00Z")
	p.replays(2, "beyond the bundle", bundle, "--offline", "--as-of", "99999999999")
	p.replays(2, "needs a bundle", "--offline", "--as-of", album[0].position)
	p.replays(2, "RFC 3339", bundle, "--url", p.URL, "--as-of", "2026-04-01T09:00:00,5Z")
	p.replays(1, "future", bundle, "--url", p.URL, "--as-of", "9999-01-01T00:00:00Z")
	middle := filepath.Join(t.TempDir(), "middle.zip")
	if code, out, failed := p.audit("export", middle, "--url", p.URL, "--from", album[4].time); code != 0 {
		t.Fatalf("export: %d: %s%s", code, out, failed)
	}
	p.replays(2, "without --from", middle, "--offline", "--as-of", album[5].position)
	if code, out, failed := runCommand(
		t, []string{"AGENTKEY_ADMIN_TOKEN=" + stranger.key}, "audit", "replay", bundle, "--url", p.URL, "--as-of",
		album[5].time,
	); code != 1 {
		t.Errorf("of another organization: %d: %s%s", code, out, failed)
	}

	// A row that says something else about the past is found.
	if p.readsPostgres() {
		return
	}
	p.stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.Dir, readModelFile))
	if err == nil {
		_, err = db.ExecContext(t.Context(), "UPDATE past_grants SET status = 'approved' WHERE status = 'pending'")
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.run()
	out := p.replays(1, "something else", bundle, "--url", p.URL, "--as-of", album[0].position)
	if !strings.Contains(out, "+grants") || !strings.Contains(out, "-grants") {
		t.Errorf("it isn't named: %s", out)
	}
}

func (p *program) readsPostgres() bool {
	return slices.ContainsFunc(p.env, func(e string) bool { return strings.HasPrefix(e, "AGENTKEY_DATABASE_URL=") })
}

// differs compares the difference of two moments with what the lists say about each of them, and
// the events that it names with the audit.
func differs(c client, from, to string) {
	c.t.Helper()
	type pair struct{ agent, tool string }
	approved := func(asOf string) map[pair]string {
		out := map[pair]string{}
		a := c.call("GET", "/api/admin/grants?status=approved&limit=200&as_of="+asOf, nil)
		for _, g := range a.Items() {
			out[pair{fmt.Sprint(g["agent_id"]), fmt.Sprint(g["tool_id"])}] = fmt.Sprint(g["approved_at"], g["expires_at"])
		}
		return out
	}
	before, after, want, got := approved(from), approved(to), map[pair]string{}, map[pair]string{}
	all := maps.Clone(before)
	maps.Copy(all, after)
	for at := range all {
		if before[at] != after[at] {
			want[at] = before[at] + " " + after[at]
		}
	}
	diff := c.must(200, "GET", "/api/admin/audit/diff?limit=200&from="+from+"&to="+to, nil)
	changes, _ := diff.JSON["changes"].([]any)
	for _, change := range changes {
		change := answer{JSON: change.(object)} //nolint:forcetypeassert // the document says so
		shown := func(side string) string {
			if change.At(side) == nil {
				return ""
			}
			return fmt.Sprint(change.At(side+".approved_at"), change.At(side+".expires_at"))
		}
		at := pair{change.Text("agent.id"), change.Text("tool.id")}
		got[at] = shown("before") + " " + shown("after")
		events, _ := change.At("events").([]any)
		if len(events) == 0 {
			c.t.Errorf("from %s to %s no event changed %v", from, to, change.JSON)
		}
		entries := map[any]answer{}
		for _, e := range append(audited(c, "tool_id="+at.tool), audited(c, "agent_id="+at.agent)...) {
			entries[e.At("id")] = e
		}
		for _, id := range events {
			e := entries[id]
			position, _ := e.At("position").(float64)
			if position <= diff.At("from").(float64) || position > diff.At("to").(float64) || //nolint:forcetypeassert // as above
				e.Text("tool_id") != at.tool || e.Text("agent_id") != at.agent && e.Text("action") != "tool.removed" &&
				e.Text("action") != "tool.frozen" {
				c.t.Errorf("from %s to %s the event %v changed %v", from, to, e.JSON, change.JSON)
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		c.t.Errorf("from %s to %s (-lists +diff):\n%s", from, to, d)
	}
}

// replays runs agentkey audit replay, and returns what it prints.
func (p *program) replays(want int, says string, args ...string) string {
	p.t.Helper()
	code, out, failed := p.audit(append([]string{"replay"}, args...)...)
	if code != want || !strings.Contains(out+failed, says) {
		p.t.Errorf("agentkey audit replay %v: %d, want %d and %q: %s%s", args, code, want, says, out, failed)
	}
	return out + failed
}
