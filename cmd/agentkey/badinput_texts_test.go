package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/api/contract"
)

// unreadable are characters that no text may have, with what a refusal calls them.
var unreadable = map[string]string{
	"\x00": "U+0000", "\x1b[31m": "U+001B", "\u202e": "U+202E", "\u200b\u200b": "U+200B", "\u0085": "U+0085",
	"\u00ad": "U+00AD", "\u2066": "U+2066", "\ufeff": "U+FEFF", "\ue000": "U+E000", "\ufffe": "U+FFFE",
	"\ufdd0": "U+FDD0", "\U000e0041": "U+E0041", "\x7f": "U+007F",
}

// textFields calls found with the path and the schema of each text of a body that people read, and
// with a body of nothing but a text there.
func textFields(
	s *jsonschema.Schema, at string, wrap func(any) any, found func(string, *jsonschema.Schema, func(any) any),
) {
	for s.Ref != nil {
		s = s.Ref
	}
	for name, member := range s.Properties {
		within := name
		if at != "" {
			within = at + "." + name
		}
		textFields(member, within, func(v any) any { return wrap(object{name: v}) }, found)
	}
	if s.Items2020 != nil {
		textFields(s.Items2020, at+"[0]", func(v any) any { return wrap([]any{v}) }, found)
	}
	if s.Types != nil && s.Enum == nil && s.Pattern == nil && strings.Contains(s.Types.String(), "string") {
		found(at, s, wrap)
	}
}

// TestNoTextTakesWhatNobodySees sends unreadable characters in each text of each call.
func TestNoTextTakesWhatNobodySees(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	_, key := p.admin().mustAgent("Onboarding")
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, op := range c.Operations {
		if op.Body == nil {
			continue
		}
		caller := p.admin()
		if op.Caller == "agent" {
			caller = p.with(key)
		}
		path := route{path: op.Path}.at(unknownID, unknownID)
		textFields(op.Body, "", func(v any) any { return v }, func(at string, s *jsonschema.Schema, body func(any) any) {
			format := ""
			if s.Format != nil {
				format = s.Format.Name
			}
			bad := map[string]string{}
			switch {
			case format == "date-time" || at == "signing_secret" || at == "simulation" ||
				strings.HasSuffix(at, ".etag"):
				return
			case format == "name":
				bad["one\ntwo"], bad["one\u2028two"] = "U+000A", "U+2028"
				bad["\u3164\u2800\u200d"] = "U+3164"
			case format == "text":
				bad["\u200d\u200d\u200d\u200d\u200d\u200d"] = "U+200D"
			case format != "web-address":
				t.Errorf("%s: any character may be in %s", op.ID, at)
			}
			for characters, named := range unreadable {
				bad["https://x.example/"+characters+"/a"] = named
			}
			for text, named := range bad {
				a := caller.refused(400, "validation_failed", op.Method, path, body(text))
				told := ""
				details, _ := a.JSON["details"].([]any)
				for _, d := range details {
					if d := d.(object); d["field"] == at {
						told += fmt.Sprint(d["message"])
					}
				}
				if !strings.Contains(told, named) || !strings.Contains(told, "character ") {
					t.Errorf("%s: %+q in %s: %s", op.ID, text, at, a.Body)
				}
			}
			fields++
		})
	}
	if fields < 30 {
		t.Errorf("only %d texts", fields)
	}
	for characters, named := range unreadable {
		for _, list := range []string{"agents?q=", "tools?q=", "audit?actor_id="} {
			a := p.admin().refused(400, "validation_failed", "GET", "/api/admin/"+list+url.QueryEscape(characters), nil)
			if !strings.Contains(string(a.Body), named) {
				t.Errorf("%s%+q: %s", list, characters, a.Body)
			}
		}
		a := p.admin().refused(400, "validation_failed", "POST", "/api/admin/tools", object{
			"name": "Parts", "auth_type": "other", "credential_mode": "shared",
			"credential": object{"user" + characters: characters, "password": characters},
		})
		if !namesField(a, "credential") || !strings.Contains(string(a.Body), named) {
			t.Errorf("the name of a part with %+q: %s", characters, a.Body)
		}
		if strings.Contains(characters, "\x00") { // which no command line can have
			continue
		}
		for _, args := range [][]string{
			{"organization", "create", "Acme" + characters + "x"},
			{"token", "create", "--organization", unknownID, "--role", "owner", "--name", "CI" + characters + "x"},
		} {
			if code, _, said := runCommand(t, p.env, args...); code != exitUsage || !strings.Contains(said, named) {
				t.Errorf("%+q: exit %d: %s", args, code, said)
			}
		}
	}
	p.admin().refused(400, "validation_failed", "GET", "/api/admin/agents?q=%ff", nil)
}

// TestNamesOfEveryScriptComeBackAsTheyAre writes the names that people have.
func TestNamesOfEveryScriptComeBackAsTheyAre(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	for _, name := range []string{
		"👩\u200d💻 bots", "❤\ufe0f tools", "🇩🇪 Steuern", "می\u200cخواهم", "क्\u200dष और ज्ञ", "العربية",
		"עִבְרִית", "学習ツール", "한국어 도구",
		"Café", "Cafe\u0301 au lait", "Việt Nam", "ไทยแลนด์", "naïve & Co. <b>™</b>",
	} {
		made := admin.must(201, "POST", "/api/admin/agents", object{"name": name, "description": name + "\r\n\t" + name})
		if made.Text("agent.name") != name || made.Text("agent.description") != name+"\r\n\t"+name {
			t.Errorf("%+q is %s", name, made.Body)
		}
		tool := admin.must(201, "POST", "/api/admin/tools", object{
			"name": name, "auth_type": "other", "credential_mode": "per_agent", "instructions": "# " + name + "\n\n- " + name,
		})
		if tool.Text("name") != name {
			t.Errorf("%+q is %s", name, tool.Body)
		}
		p.with(key).must(201, "POST", "/api/tools/"+tool.Text("id")+"/request", object{"reason": "for " + name + "\n" + name})
		p.shell("organization", "create", name)
	}
}

// TestAURLIsStoredAsItIsUnderstood reads back the URLs that were written in another form.
func TestAURLIsStoredAsItIsUnderstood(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	const sent, kept = " HTTPS://Bücher.Example/Straße?q=Ä ", "https://xn--bcher-kva.example/Stra%C3%9Fe?q=Ä"
	tool := admin.must(201, "POST", "/api/admin/tools", object{
		"name": "Books", "auth_type": "other", "credential_mode": "per_agent", "url": sent, "docs_url": "HTTP://ｇｉｔｈｕｂ.COM",
	})
	path := "/api/admin/tools/" + tool.Text("id")
	for _, a := range []answer{tool, admin.must(200, "GET", path, nil)} {
		if a.Text("url") != kept || a.Text("docs_url") != "http://github.com" {
			t.Errorf("the tool: %s", a.Body)
		}
	}
	changed := admin.must(200, "PATCH", path, object{"url": "HTTPS://API.Example:8443/V1", "docs_url": nil})
	if changed.Text("url") != "https://api.example:8443/V1" || changed.Text("docs_url") != "" {
		t.Errorf("the changed tool: %s", changed.Body)
	}
	suggestion := p.with(key).must(
		201, "POST", "/api/tools/suggest",
		object{"name": "Library", "url": "HTTPS://Library.Example/A", "reason": "to look something up"},
	).Text("suggestion_id")
	a := admin.must(200, "GET", "/api/admin/suggestions/"+suggestion, nil)
	if a.Text("url") != "https://library.example/A" {
		t.Errorf("the suggestion: %s", a.Body)
	}
	file := object{"agentkey_catalog": 1, "tools": []object{{
		"name": "Imported", "auth_type": "other", "credential_mode": "per_agent", "url": "HTTPS://Imported.Example/A",
	}}}
	plan := admin.must(200, "PUT", importPath, file)
	again := admin.must(200, "PUT", importPath, file)
	if !strings.Contains(string(plan.Body), "https://imported.example/A") && len(plan.At("changes").([]any)) != 1 ||
		len(again.At("changes").([]any)) != 0 {
		t.Errorf("the import: %s, and again: %s", plan.Body, again.Body)
	}
	channel := admin.must(201, "POST", "/api/admin/notification-channels", object{
		"kind": "webhook", "name": "Hook", "topics": []string{"access_requested"}, "url": "HTTPS://Hooks.Example/A",
	})
	if channel.Text("channel.host") != "hooks.example" && channel.Text("host") != "hooks.example" {
		t.Errorf("the channel: %s", channel.Body)
	}
	for _, bad := range []string{
		"https://user:password@x.example", "https://x.example/a b", "https://x.example:99999", "https://x.example/%zz",
		"https://x\u200d\u200d.example\u202e", "ftp://x.example", "https://",
	} {
		refused := admin.refused(400, "validation_failed", "PATCH", path, object{"url": bad})
		if !namesField(refused, "url") {
			t.Errorf("%+q: %s", bad, refused.Body)
		}
	}
	long := "https://x.example/" + strings.Repeat("漢", 100)
	if a := admin.refused(400, "validation_failed", "PATCH", path, object{"url": long}); !namesField(a, "url") {
		t.Errorf("a URL that is longer in ASCII: %s", a.Body)
	}
}
