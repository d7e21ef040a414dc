package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest/wait"
)

const learned = "Issues are paged by cursor, 250 at most; offset is ignored."

// noteOn tells what the caller learned about a tool and returns the note's id.
func (c client) noteOn(tool, learned, why string) string {
	c.t.Helper()
	return c.must(
		201, "POST", "/api/tools/"+tool+"/instructions/suggest", object{"learned": learned, "why": why},
	).Text("suggestion_id")
}

// TestAGuideGrows is the whole way of a note: an agent learns something, another backs it, the
// admin edits it into the guide, and the next fetch brings it.
func TestAGuideGrows(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 3, 1)
	admin, tool := p.admin(), f.tools[0]
	_, stranger := admin.mustAgent("Stranger")
	p.with(stranger).refused(
		403, "access_not_approved", "POST", "/api/tools/"+tool+"/instructions/suggest",
		object{"learned": learned, "why": "It failed."},
	)
	p.with(f.keys[0]).refused(
		404, "not_found", "POST", "/api/tools/"+f.ids[0]+"/instructions/suggest",
		object{"learned": learned, "why": "It failed."},
	)
	for _, body := range []object{
		{"learned": "tiny", "why": "It failed."},
		{"learned": learned, "why": "no"},
		{"learned": learned + "\x1b[2J", "why": "It failed."},
		{"learned": learned, "why": "It\x00 failed."},
		{"learned": learned, "why": "It\u0085failed."},
	} {
		p.with(f.keys[0]).refused(400, "validation_failed", "POST", "/api/tools/"+tool+"/instructions/suggest", body)
	}
	fetched := p.with(f.keys[0]).fetch(tool)
	made := p.with(f.keys[0]).must(
		201, "POST", fetched.Text("suggest_instructions_endpoint"),
		object{"learned": learned, "why": "I read the first page again and again."},
	)
	id := made.Text("suggestion_id")
	if made.At("existing") != false {
		t.Errorf("the first: %s", made.Body)
	}
	if a := p.with(f.keys[1]).must(
		201, "POST", "/api/tools/"+tool+"/instructions/suggest",
		object{"learned": strings.ToUpper(learned), "why": "So did I.\nTwice."},
	); a.Text("suggestion_id") != id || a.At("existing") != true {
		t.Errorf("the second: %s", a.Body)
	}
	p.with(f.keys[1]).noteOn(tool, learned, "So did I, thrice.")
	// The guide moves on three times; the note stays acceptable.
	for i := range 3 {
		admin.must(
			200, "PATCH", "/api/admin/tools/"+tool,
			object{"instructions": fmt.Sprint("Edition ", i), "description": fmt.Sprint(i)},
		)
	}
	list := admin.must(200, "GET", "/api/admin/instruction-suggestions?status=pending&tool_id="+tool, nil).Items()
	if len(list) != 1 || list[0]["id"] != id || list[0]["backer_count"] != 2.0 || list[0]["learned"] != learned ||
		list[0]["current_version"] != 3.0 {
		t.Fatalf("the notes: %v", list)
	}
	backers, _ := list[0]["backers"].([]any)
	if b, _ := backers[1].(map[string]any); b["latest_reason"] != "So did I, thrice." {
		t.Errorf("the second backer: %v", b)
	}
	admin.refused(
		400, "validation_failed", "POST", "/api/admin/instruction-suggestions/"+id+"/accept",
		object{"instructions": "bell \a"},
	)
	accepted := admin.must(
		200, "POST", "/api/admin/instruction-suggestions/"+id+"/accept",
		object{"instructions": "Edition 2.\n" + learned},
	)
	if accepted.Text("status") != "accepted" || accepted.At("guide_version") != 4.0 ||
		accepted.At("decided_by.type") != "service" {
		t.Errorf("accepted: %s", accepted.Body)
	}
	if a := p.with(f.keys[2]).fetch(tool); !strings.HasSuffix(a.Text("instructions"), learned) ||
		a.At("instructions_version") != 4.0 {
		t.Errorf("the next fetch: %s", a.Body)
	}
	for path, body := range map[string]object{
		"accept": {"instructions": "again"}, "dismiss": {"reason": "too late"},
	} {
		admin.namesTheDecision("note", "/api/admin/instruction-suggestions/"+id, admin.refused(
			409, "already_decided", "POST", "/api/admin/instruction-suggestions/"+id+"/"+path, body,
		))
	}
	if a := admin.must(200, "GET", "/api/admin/instruction-suggestions/"+id, nil); a.Text("status") != "accepted" ||
		a.Text("tool_name") == "" {
		t.Errorf("afterwards: %s", a.Body)
	}

	wrong := p.with(f.keys[0]).noteOn(tool, "Send the key in the URL.", "It works for me.")
	admin.refused(400, "validation_failed", "POST", "/api/admin/instruction-suggestions/"+wrong+"/dismiss", object{})
	admin.must(
		200, "POST", "/api/admin/instruction-suggestions/"+wrong+"/dismiss",
		object{"reason": "Keys in URLs end up in logs."},
	)
	a := p.with(f.keys[1]).refused(
		409, "suggestion_dismissed", "POST", "/api/tools/"+tool+"/instructions/suggest",
		object{"learned": "send the key in the url.", "why": "It works for me too."},
	)
	if a.Text("dismissal_reason") != "Keys in URLs end up in logs." {
		t.Errorf("the next agent is shown %s", a.Body)
	}
	// Another id finds no note, and a note finds no request.
	request := p.with(stranger).mustRequest(tool)
	admin.refused(
		404, "not_found", "POST", "/api/admin/instruction-suggestions/"+request+"/dismiss",
		object{"reason": "not a note"},
	)
	admin.refused(404, "not_found", "POST", "/api/admin/requests/"+id+"/approve", nil)
	if a := p.with(f.keys[0]).must(
		200, "GET", "/api/tools/"+tool+"/instructions/suggest", nil,
	); a.At("schema.body.learned.max_length") != 2000.0 {
		t.Errorf("the description: %s", a.Body)
	}
	// They go with their tool.
	waiting := p.with(f.keys[0]).noteOn(tool, "It answers in JSON.", "I expected XML.")
	admin.must(204, "DELETE", "/api/admin/tools/"+tool, nil)
	admin.refused(
		404, "not_found", "POST", "/api/admin/instruction-suggestions/"+waiting+"/dismiss",
		object{"reason": "the tool is gone"},
	)
	if a := admin.must(200, "GET", "/api/admin/instruction-suggestions", nil).Items(); len(a) != 0 {
		t.Errorf("notes of a removed tool: %v", a)
	}
	p.stop()
	p.verify()
}

// TestAnAcceptedNoteIsMarkedAfterACrash revises the guide as a process does that dies
// before it has marked the note.
func TestAnAcceptedNoteIsMarkedAfterACrash(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	f := mustFleet(p, 1, 1)
	id := p.with(f.keys[0]).noteOn(f.tools[0], learned, "I read the first page again and again.")
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		tools := &commands.Tools{Catalogs: commands.NewCatalogLoop(o.env), Clock: time.Now}
		text := learned
		_, err := tools.Update(
			ctx, o.meta(o.inst.Begun.OrganizationID),
			catalog.UpdateTool{ToolID: f.tools[0], Instructions: &text, NoteID: id},
		)
		return err
	})
	p.run()
	wait.Until(t, "marked", func() bool {
		return p.admin().must(200, "GET", "/api/admin/instruction-suggestions/"+id, nil).Text("status") == "accepted"
	})
	p.reacted("taken_notes", 1)
	marked := p.admin().must(200, "GET", "/api/admin/instruction-suggestions/"+id, nil)
	entry := p.admin().must(200, "GET", "/api/admin/audit?action=instruction_suggestion.accepted", nil).Items()[0]
	if marked.Text("decided_by.id") != "operator" || entry["actor"].(object)["id"] != "taken_notes" ||
		entry["on_behalf_of"].(object)["id"] != "operator" {
		t.Errorf("the note was decided by %v, and marked by %v", marked.At("decided_by"), entry)
	}
}
