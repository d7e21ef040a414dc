package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"agentkey/audit/export/ocsftest"
	"agentkey/audit/formats"
)

const auditExport = "/api/admin/audit/export?format="

// audited is every entry of the audit list that a query finds, oldest first.
func audited(c client, query string) []answer {
	var out []answer
	for cursor := ""; ; {
		a := c.must(200, "GET", "/api/admin/audit?limit=200&"+query+cursor, nil)
		for _, e := range a.Items() {
			out = append([]answer{{JSON: e}}, out...)
		}
		if a.Text("next_cursor") == "" {
			return out
		}
		cursor = "&cursor=" + a.Text("next_cursor")
	}
}

// TestTheAuditIsExported makes a story and compares each format with the list of the audit.
func TestTheAuditIsExported(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	admin.http.Transport = userAgent("=cmd|' /C calc'!A0", admin.http.Transport)
	tool := admin.mustTool("@GitHub", "ghp_secret")
	agent, key := admin.mustAgent(`=HYPERLINK("http://evil","x")`)
	request := p.with(key).mustRequest(tool)
	admin.must(200, "POST", "/api/admin/requests/"+request+"/approve", nil)
	for range 30 {
		p.with(key).fetch(tool)
	}
	other := p.organization("Another", "owner")
	other.mustAgent("Theirs")
	whole := audited(admin, "")
	middle := whole[len(whole)/2].Text("occurred_at")

	for _, query := range []string{
		"", "&agent_id=" + agent, "&tool_id=" + tool, "&action=credential.vended", "&actor_type=agent",
		"&from=" + middle, "&to=" + middle, "&action=agent.retired",
		"&agent_id=" + agent + "&action=grant.approved&to=" + middle, "&category=access,decision&action=grant.*",
		"&not_category=fetch&q=github", "&q=onboarding",
	} {
		want := audited(admin, strings.TrimPrefix(query, "&"))
		lines := exportedLines(t, admin.must(200, "GET", auditExport+"jsonl"+query, nil))
		rows := exportedRows(t, admin.must(200, "GET", auditExport+"csv"+query, nil))
		events := exportedEvents(t, admin.must(200, "GET", auditExport+"ocsf"+query, nil))
		if len(lines) != len(want) || len(rows) != len(want) || len(events) != len(want) {
			t.Fatalf(
				"%s: %d lines, %d rows and %d events of %d entries", query, len(lines), len(rows), len(events), len(want),
			)
		}
		for i, e := range want {
			l, row := lines[i], rows[i]
			if l.ID.String() != id(e.JSON) || l.Stream != e.Text("stream") ||
				!strings.HasPrefix(l.Type, e.Text("action")+".v") ||
				fmt.Sprint(l.Position, l.Revision) != fmt.Sprintf("%.0f %.0f", e.At("position"), e.At("revision")) {
				t.Errorf("%s: line %d isn't %v: %+v", query, i, e.JSON, l)
			}
			for column, path := range map[string]string{
				"id": "id", "stream": "stream", "action": "action", "occurred_at": "occurred_at", "actor_type": "actor.type",
				"actor_label": "actor.label", "target_label": "target.label", "agent_name": "agent.name", "tool_name": "tool.name",
				"summary": "summary", "category": "category",
				"ip": "request.ip", "user_agent": "request.user_agent", "request_id": "request.id", "agent_id": "agent_id",
			} {
				if got := strings.TrimPrefix(row[column], "'"); got != e.Text(path) {
					t.Errorf("%s: the cell %s of %s is %q, not %q", query, column, e.Text("action"), got, e.Text(path))
				}
				if row[column] != "" && strings.ContainsAny(row[column][:1], "=+-@\t\r") {
					t.Errorf("%s: a spreadsheet runs %q", query, row[column])
				}
			}
			for ours, theirs := range map[string]string{
				"id": "metadata.uid", "action": "metadata.event_code", "request.id": "http_request.uid",
				"request.ip": "src_endpoint.ip", "request.user_agent": "http_request.user_agent", "stream": "unmapped.stream",
				"actor.type": "unmapped.actor_type", "target.label": "unmapped.target.name", "tool.name": "unmapped.tool.name",
				"agent.name": "unmapped.agent.name", "summary": "message",
			} {
				if got := events[i].Text(theirs); got != e.Text(ours) {
					t.Errorf("%s: %s of %s is %q, not %q", query, theirs, e.Text("action"), got, e.Text(ours))
				}
			}
			if events[i].At("metadata.sequence") != e.At("position") {
				t.Errorf("%s: the event %d is at %v, not %v", query, i, events[i].At("metadata.sequence"), e.At("position"))
			}
		}
	}

	stored := map[string]formats.Event{}
	for _, l := range exportedLines(t, admin.must(200, "GET", auditExport+"jsonl", nil)) {
		stored[l.ID.String()] = l.Event
	}
	theirs := exportedLines(t, other.must(200, "GET", auditExport+"jsonl", nil))
	for _, l := range theirs {
		if _, ours := stored[l.ID.String()]; ours {
			t.Errorf("%s is in the exports of two organizations", l.Stream)
		}
	}
	if len(theirs) < 2 {
		t.Errorf("another organization has %d events", len(theirs))
	}

	for _, format := range []string{"jsonl", "csv", "ocsf"} {
		whole := audited(admin, "")
		first := admin.must(200, "GET", auditExport+format, nil)
		name := first.Header.Get("X-Export-Cursor")
		p.with(key).fetch(tool) // isn't in what continues the export
		body := first.Body
		if format == "csv" {
			body = body[bytes.Index(body, []byte("\r\n"))+2:]
		}
		for _, at := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			position := strconv.FormatFloat(whole[at].At("position").(float64), 'f', 0, 64)
			rest := admin.must(200, "GET", auditExport+format+"&cursor="+name+"."+position, nil)
			if !bytes.HasSuffix(body, rest.Body) || rest.Header.Get("X-Export-Entries") != strconv.Itoa(len(whole)-at-1) ||
				rest.Header.Get("X-Export-Cursor") != name {
				t.Errorf("%s: after %d of %d entries come %s: %v", format, at+1, len(whole), rest.Body, rest.Header)
			}
		}
		for _, bad := range []string{
			"&agent_id=" + agent + "&cursor=" + name + ".1", "&cursor=" + name + ".99999999999", "&cursor=" + name + "z.1",
			"&cursor=" + name, "&cursor=x.1", "&cursor=", "&from=x", "&action=nothing", "&limit=3",
			"&from=" + url.QueryEscape(whole[len(whole)-1].Text("occurred_at")) + "&to=2020-01-01T00:00:00Z",
		} {
			admin.refused(400, "validation_failed", "GET", auditExport+format+bad, nil)
		}
		other.refused(400, "validation_failed", "GET", auditExport+format+"&cursor="+name+".1", nil)
	}
	admin.refused(400, "validation_failed", "GET", auditExport+"xlsx", nil)
	p.with(key).refused(403, "wrong_caller", "GET", auditExport+"csv", nil)
	head := admin.must(200, "HEAD", auditExport+"csv", nil)
	if len(head.Body) > 0 || head.Header.Get("X-Export-Entries") == "" {
		t.Errorf("HEAD answers %d bytes with %v", len(head.Body), head.Header)
	}
	for _, format := range []string{"jsonl", "csv", "ocsf"} {
		if bytes.Contains(admin.must(200, "GET", auditExport+format, nil).Body, []byte("ghp_secret")) {
			t.Errorf("%s shows a credential", format)
		}
	}
}

func exportedLines(t *testing.T, a answer) []formats.Line {
	t.Helper()
	var out []formats.Line
	for text := range bytes.Lines(a.Body) {
		l, err := formats.ParseLine(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, l)
	}
	if a.Header.Get("X-Export-Entries") != strconv.Itoa(len(out)) {
		t.Errorf("the answer has %d lines, and says %s", len(out), a.Header.Get("X-Export-Entries"))
	}
	return out
}

// exportedEvents also checks each event against the published schema.
func exportedEvents(t *testing.T, a answer) []answer {
	t.Helper()
	schema, err := ocsftest.Read("../../audit/export/testdata/ocsf.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []answer
	for text := range bytes.Lines(a.Body) {
		if faults := schema.Faults(text); faults != nil {
			t.Errorf("%s: %s", strings.Join(faults, ", "), text)
		}
		var event answer
		if err := json.Unmarshal(text, &event.JSON); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, event)
	}
	if a.Header.Get("X-Export-Entries") != strconv.Itoa(len(out)) ||
		a.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the answer has %d events, and says %v", len(out), a.Header)
	}
	return out
}

func exportedRows(t *testing.T, a answer) []map[string]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(a.Body)).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%v: %s", err, a.Body)
	}
	out := make([]map[string]string, 0, len(rows))
	for _, row := range rows[1:] {
		named := map[string]string{}
		for i, cell := range row {
			named[rows[0][i]] = cell
		}
		out = append(out, named)
	}
	return out
}
