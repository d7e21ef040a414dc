package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentkey/eventstore/eventstoretest"
)

// operation is one call of the document, with what it takes.
type operation struct {
	route
	params []object // of the query
	body   object   // schema; nil when it takes none
	needs  bool     // a body
}

// operations reads the document once more, with what each call takes.
func (p *program) operations() []operation {
	p.t.Helper()
	doc := p.apiDocument()
	paths, _ := doc.JSON["paths"].(object)
	var out []operation
	for _, r := range p.routes() {
		item, _ := paths[r.path].(object)
		o, _ := item[strings.ToLower(r.method)].(object)
		op := operation{route: r}
		params, _ := o["parameters"].([]any)
		for _, v := range params {
			if param := resolve(doc, v); param["in"] == "query" {
				param["schema"] = whole(doc, param["schema"])
				op.params = append(op.params, param)
			}
		}
		if body, _ := o["requestBody"].(object); body != nil {
			content, _ := body["content"].(object)["application/json"].(object)
			op.body, op.needs = whole(doc, content["schema"]), body["required"] == true
		}
		out = append(out, op)
	}
	return out
}

// whole is a schema without references.
func whole(doc answer, v any) object {
	schema := resolve(doc, v)
	properties, _ := schema["properties"].(object)
	for name, of := range properties {
		properties[name] = whole(doc, of)
	}
	if schema["items"] != nil {
		schema["items"] = whole(doc, schema["items"])
	}
	choices, _ := schema["anyOf"].([]any)
	for i := range choices {
		choices[i] = whole(doc, choices[i])
	}
	return schema
}

// world is what the drawn calls may name. What they make is added, and what is old or dead leaves.
type world struct {
	agents, tools, requests, suggestions, keys []string
	admins                                     []string
}

func (w *world) learn(d drawn, a answer) {
	add := func(list *[]string, id string) {
		if id != "" && !slices.Contains(*list, id) {
			*list = append(*list, id)
			*list = (*list)[max(0, len(*list)-8):]
		}
	}
	if i := slices.Index(w.keys, d.key); a.Status == 401 && i >= 0 && len(w.keys) > 1 {
		w.keys = slices.Delete(w.keys, i, i+1)
	}
	add(&w.agents, a.Text("agent.id"))
	add(&w.keys, a.Text("api_key"))
	add(&w.requests, a.Text("request_id"))
	add(&w.suggestions, a.Text("suggestion_id"))
	if a.Status == 201 && a.Text("auth_type") != "" {
		add(&w.tools, a.Text("id"))
	}
}

// drawn is one request, and whether the document takes it.
type drawn struct {
	method, path, key string
	body              any
	headers           []string
	valid             bool
	mutations         []string
}

// spoil makes a request invalid, and remembers how.
func (d *drawn) spoil(how string) { d.valid, d.mutations = false, append(d.mutations, how) }

func pick[T any](rt *rapid.T, what string, list []T) T { return rapid.SampledFrom(list).Draw(rt, what) }

func seldom(rt *rapid.T, what string) bool { return rapid.IntRange(0, 19).Draw(rt, what) == 0 }

// text draws a string of so many code points that is the same when it is trimmed.
func text(rt *rapid.T, what string, least, most int) string {
	n := rapid.IntRange(
		least, min(most, least+rapid.SampledFrom([]int{3, 40, most}).Draw(rt, "most")),
	).Draw(rt, "length")
	return strings.Join(
		rapid.SliceOfN(
			rapid.SampledFrom([]string{"a", "Z", "0", "ß", "й", "漢", "😀", "\u0301", "'", `"`, "\\", "<", "%", "-"}), n,
			n,
		).Draw(rt, what),
		"",
	)
}

// clearable takes null out of what a schema takes, and reports whether it was there.
func clearable(schema object) (object, bool) {
	if choices, _ := schema["anyOf"].([]any); len(choices) == 2 {
		return choices[0].(object), true
	}
	types, _ := schema["type"].([]any)
	if len(types) != 2 {
		return schema, false
	}
	schema = maps.Clone(schema)
	schema["type"] = types[0]
	return schema, true
}

// value draws what a schema takes, or now and then what it does not.
func (w *world) value(rt *rapid.T, d *drawn, name string, schema object) any {
	schema, clears := clearable(schema)
	if clears && seldom(rt, "cleared "+name) {
		return pick(rt, name, []any{nil, "", " "})
	}
	if seldom(rt, "wrong type of "+name) {
		d.spoil(name + " has another type")
		others := []any{1.5}
		if schema["type"] != "boolean" {
			others = append(others, true)
		}
		if !clears {
			others = append(others, nil)
		}
		if schema["type"] != "array" {
			others = append(others, []any{"x"}, []any{})
		}
		return pick(rt, name, others)
	}
	least, most := 0, 60
	if n, is := schema["minLength"].(float64); is {
		least = int(n)
	}
	if n, is := schema["maxLength"].(float64); is {
		most = int(n)
	}
	switch {
	case schema["properties"] != nil:
		return w.fields(rt, d, schema)
	case name == "labels":
		return labelled(rt, d)
	case schema["type"] == "array":
		list := []any{}
		fewest, _ := schema["minItems"].(float64)
		for range rapid.IntRange(int(fewest), 2).Draw(rt, "length of "+name) {
			list = append(list, w.value(rt, d, name+"[]", schema["items"].(object)))
		}
		return list
	case schema["type"] == "boolean":
		return rapid.Bool().Draw(rt, name)
	case name == "id":
		return newID().String()
	case name == "credential":
		switch rapid.IntRange(0, 5).Draw(rt, "credential") {
		case 0:
			return object{"user": text(rt, "user", 1, 20), "password": " " + text(rt, "password", 1, 2000)}
		case 1:
			d.spoil("a credential without a value")
			return object{"user": ""}
		}
		return " " + text(rt, "credential", 1, 4000)
	case schema["enum"] != nil:
		if seldom(rt, "unknown "+name) {
			d.spoil("an unknown " + name)
			return "unknown"
		}
		return pick(rt, name, schema["enum"].([]any))
	case schema["type"] == "integer":
		lowest, highest := int64(schema["minimum"].(float64)), int64(schema["maximum"].(float64))
		if seldom(rt, "range of "+name) {
			d.spoil(name + " is out of range")
			return pick(rt, name, []int64{lowest - 1, highest + 1})
		}
		return rapid.Int64Range(lowest, highest).Draw(rt, name)
	case schema["format"] == "date-time":
		if seldom(rt, "time of "+name) {
			d.spoil(name + " is not a time")
			return pick(rt, name, []any{"tomorrow", "2030-01-01", "2030-02-30T00:00:00Z"})
		}
		return time.Now().UTC().Add(
			time.Duration(rapid.IntRange(1, 1000).Draw(rt, name)) * time.Hour,
		).Format(time.RFC3339)
	case strings.HasSuffix(name, "tool_id"):
		return pick(rt, name, append([]string{newID().String()}, w.tools...))
	case name == "channel_id", name == "also[]", name == "owner_id", name == "organization",
		name == "tools[]" && schema["properties"] == nil && strings.Contains(fmt.Sprint(schema["pattern"]), "0-9a-f"):
		return newID().String()
	case strings.HasSuffix(name, "agent_id"):
		return pick(rt, name, append([]string{newID().String()}, w.agents...))
	case strings.HasSuffix(name, "url"):
		if seldom(rt, "scheme of "+name) {
			d.spoil(name + " is not a web address")
			return "javascript:alert(1)"
		}
		path := strings.ReplaceAll(text(rt, name, 0, 40), "%", "%25") // in ASCII it is twelve times as long
		if strings.Contains(d.path, "/notification-channels") {
			return "https://127.0.0.1/" + path // which is never called
		}
		return "https://example.com/" + path
	case seldom(rt, "too long "+name):
		d.spoil(name + " is too long")
		return strings.Repeat("漢", most+1)
	case least > 1 && seldom(rt, "too short "+name):
		d.spoil(name + " is too short")
		return strings.Repeat("漢", least-1)
	}
	value := text(rt, name, least, most)
	if rapid.IntRange(0, 5).Draw(rt, "white space") == 0 {
		return " \t" + value + "\n"
	}
	return value
}

// labelled draws labels.
func labelled(rt *rapid.T, d *drawn) object {
	all := object{}
	for range rapid.IntRange(0, 3).Draw(rt, "labels") {
		all[pick(rt, "key", []string{"team", "a", "k8s.io/name", strings.Repeat("a", 63)})] = text(rt, "value", 0, 63)
	}
	if seldom(rt, "a bad label") {
		d.spoil("a bad label")
		all[pick(rt, "key", []string{"Team", "", "-a", "a b", strings.Repeat("a", 64)})] = "x"
	}
	if seldom(rt, "a bad value") {
		d.spoil("a bad value")
		all["team"] = pick(rt, "value", []any{1, nil, true, strings.Repeat("漢", 64), "a\nb", object{}})
	}
	return all
}

// query draws parameters.
func (w *world) query(rt *rapid.T, d *drawn, op operation) string {
	var out []string
	given := map[string]string{}
	for _, param := range op.params {
		if rapid.IntRange(0, 3).Draw(rt, "more parameters") > 0 {
			if param["required"] == true {
				d.spoil(fmt.Sprint("without ", param["name"]))
			}
			continue
		}
		name, schema := fmt.Sprint(param["name"]), param["schema"].(object)
		if strings.HasSuffix(op.path, "/audit/diff") && (name == "from" || name == "to") {
			name = "as_of" // it takes the same
		}
		switch name {
		case "as_of":
			at := time.Now().UTC().Format(time.RFC3339Nano)
			if seldom(rt, "moment") {
				d.spoil("a moment that is not of the past")
				at = pick(rt, name, []string{"yesterday", "-1", "9999-01-01T00:00:00Z"})
			}
			given[fmt.Sprint(param["name"])] = at
			out = append(out, fmt.Sprint(param["name"], "=", at))
		case "cursor":
			d.spoil("a cursor of nobody's")
			out = append(out, "cursor=x")
		case "q":
			out = append(out, "q="+pick(rt, "q", []string{"a", "%25", "", "Z", "%F0%9F%98%80"}))
		case "action":
			action := pick(rt, "action", []string{"credential.vended", "grant.*,agent.retired", "no.such"})
			if action == "no.such" {
				d.spoil("an unknown action")
			}
			out = append(out, "action="+action)
		case "expiring_within":
			within := pick(rt, "expiring_within", []string{"1h", "999d", "1y"})
			if within == "1y" {
				d.spoil("a duration in years")
			}
			out = append(out, "expiring_within="+within)
		case "tz":
			zone := pick(rt, "tz", []string{"Europe/Berlin", "Asia/Kolkata", "Mars/Olympus"})
			if zone == "Mars/Olympus" {
				d.spoil("an unknown time zone")
			}
			out = append(out, "tz="+zone)
		case "category", "not_category":
			category := pick(rt, name, []string{"access", "fetch,notification", "no_such"})
			if category == "no_such" {
				d.spoil("an unknown category")
			}
			out = append(out, name+"="+category)
		case "tag":
			for range rapid.IntRange(1, 2).Draw(rt, "tags") {
				tag := pick(rt, "tag", []string{"team", "team:a", "env:", "a:b:c", "a/b:%F0%9F%98%80", "Team", "", "a:%0A"})
				if tag == "Team" || tag == "" || tag == "a:%0A" {
					d.spoil("a tag that no label has")
				}
				out = append(out, "tag="+tag)
			}
		case "actor_id":
			out = append(out, "actor_id="+pick(rt, "actor_id", w.agents))
		default:
			scratch := drawn{valid: true}
			value := w.value(rt, &scratch, name, schema)
			if !scratch.valid && value == nil {
				continue
			}
			if !scratch.valid {
				d.spoil("query: " + scratch.mutations[0])
			}
			if list, is := value.([]any); is {
				value = strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
			}
			given[name] = fmt.Sprint(value)
			out = append(out, name+"="+url.QueryEscape(given[name]))
		}
	}
	if given["as_of"] != "" && (given["unused_since"]+given["last_seen_before"] != "" ||
		strings.Contains(given["sort"], "fetch") || strings.Contains(given["sort"], "seen")) {
		d.spoil("fetches of the past")
	}
	if from, to := given["from"], given["to"]; from != "" && to != "" && from > to {
		d.spoil("from is after to")
	}
	if op.caller != "anyone" && seldom(rt, "unknown parameter") { // probes may add what they like
		d.spoil("an unknown parameter")
		out = append(out, "unknown=1")
	}
	if len(out) == 0 {
		return ""
	}
	return "?" + strings.Join(out, "&")
}

// draw draws a request that is mostly valid.
func (w *world) draw(rt *rapid.T, ops []operation) drawn {
	op := pick(rt, "operation", ops)
	d := drawn{method: op.method, valid: true}
	of := func(list []string) string {
		if seldom(rt, "nobody's id") {
			return newID().String()
		}
		return pick(rt, "id", list)
	}
	ids := w.agents
	switch {
	case strings.Contains(op.path, "/requests/"):
		ids = w.requests
	case strings.Contains(op.path, "suggestions/"):
		ids = w.suggestions
	case strings.Contains(op.path, "/tools/"):
		ids = w.tools
	}
	d.path = op.at(of(ids), of(w.tools)) + w.query(rt, &d, op)
	switch op.caller {
	case "agent":
		d.key = pick(rt, "key", w.keys)
	case "admin":
		d.key = pick(rt, "token", w.admins)
	}
	if seldom(rt, "another caller") {
		d.key = pick(rt, "key", append([]string{"", "sk_admin_x"}, append(w.keys, w.admins...)...))
	}
	if op.body != nil && (op.needs || rapid.Bool().Draw(rt, "a body")) {
		d.body = w.draft(rt, &d, op.body)
	}
	for name, values := range map[string][]string{
		"If-Match": {"*", `"1"`, `"2"`, `W/"1"`, "x"}, "Idempotency-Key": {"a", "b", newID().String()},
		"Accept": {"text/html"}, "Origin": {"https://example.com"},
		"X-Wait-For-Position": {"1"},
	} {
		if seldom(rt, name) {
			d.headers = append(d.headers, name, pick(rt, name, values))
		}
	}
	return d
}

// draft draws a body as text.
func (w *world) draft(rt *rapid.T, d *drawn, schema object) any {
	raw, err := json.Marshal(w.fields(rt, d, schema))
	if err != nil {
		rt.Fatal(err)
	}
	if seldom(rt, "cut") {
		d.spoil("cut")
		return string(raw[:len(raw)-1])
	}
	return string(raw)
}

// fields draws an object.
func (w *world) fields(rt *rapid.T, d *drawn, schema object) object {
	required, _ := schema["required"].([]any)
	properties, _ := schema["properties"].(object)
	out := object{}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		must := slices.Contains(required, any(name))
		switch {
		case must && seldom(rt, "without "+name):
			d.spoil("without " + name)
		case must || rapid.Bool().Draw(rt, "with "+name):
			out[name] = w.value(rt, d, name, properties[name].(object))
		}
	}
	if seldom(rt, "unknown field") {
		d.spoil("an unknown field")
		out[pick(rt, "unknown", []string{"unknown", "Name", "credential ", "__proto__", ""})] = "x"
	}
	return out
}

// TestNoDrawnRequestIsAFault draws requests from the document, mostly valid ones. None is a fault,
// none that the document does not take is accepted, none that it takes is refused for its form, and
// every answer is one that the document knows.
func TestNoDrawnRequestIsAFault(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	w := &world{admins: []string{p.Token}}
	for i := range 3 {
		w.tools = append(w.tools, admin.mustTool(fmt.Sprint("Tool ", i), "x"))
		agentID, key := admin.mustAgent(fmt.Sprint("Agent ", i))
		w.agents, w.keys = append(w.agents, agentID), append(w.keys, key)
		w.requests = append(w.requests, p.with(key).mustRequest(w.tools[i]))
		w.suggestions = append(w.suggestions, p.with(key).suggest(fmt.Sprint("Miss ", i), "", "to fill the list"))
	}
	ops, c := p.operations(), p.anyone()
	statuses := map[int]int{}
	missing := func() (out []int) {
		for _, status := range []int{200, 201, 204, 400, 401, 403, 404, 409, 412} {
			if statuses[status] == 0 {
				out = append(out, status)
			}
		}
		return out
	}
	const most = 60 // checks, until each of these has been drawn
	for n := 0; n < eventstoretest.Rounds(30) || n < most && len(missing()) > 0; n++ {
		rapid.Check(t, func(rt *rapid.T) {
			d := w.draw(rt, ops)
			headers := d.headers
			if d.key != "" {
				headers = append(headers, "Authorization", "Bearer "+d.key)
			}
			a, err := c.try(d.method, d.path, d.body, append([]string{"X-Wait-For-Position", ""}, headers...)...)
			if err != nil {
				rt.Fatalf("%s %s with %.500v: %v", d.method, d.path, d.body, err)
			}
			told := fmt.Sprintf(
				"%s %s %v with %.500v, spoilt by %v: %d %s", d.method, d.path, d.headers, d.body, d.mutations, a.Status,
				a.Body,
			)
			switch {
			case a.Status >= 500 && a.Code() != "ai_not_configured": // it is not
				rt.Fatalf("a fault: %s", told)
			case !d.valid && a.Status < 400:
				rt.Fatalf("accepted: %s", told)
			case d.valid && a.Code() == "malformed_json", d.valid && a.Code() == "validation_failed" &&
				!namesField(a, "credential") && !namesField(a, "tool.credential") && !namesField(a, "expires_at") &&
				!namesField(a, "email") && !namesField(a, "return_to") && !namesField(a, "external_id") &&
				!namesField(a, "issuer") && !namesField(a, "code") &&
				!namesField(a, "q") && // which may be part of too many names
				!namesField(a, "expand") && // which doesn't go with as_of
				!namesField(a, "as_of") && // a moment before the first event of an organization
				!strings.Contains(a.Text("hint"), "?dry_run=true") && // tools of the file that contradict each other
				!strings.Contains(d.path, "/notification-channels") && // where the kind says what else there must be
				!strings.HasPrefix(d.path, rulesPath) && // whose conditions are in a language of their own
				!strings.HasSuffix(d.path, "/identity") && // which must say who the workload is
				d.path != "/api/admin/freeze" && // where one of several must be named
				// where values must fit each other, or what is there
				d.path != decidePath &&
				!strings.HasPrefix(d.path, "/api/admin/audit/") && !strings.HasPrefix(d.path, "/api/admin/reports/") &&
				!strings.HasPrefix(d.path, "/api/admin/usage"):
				rt.Fatalf("refused for its form: %s", told)
			}
			statuses[a.Status]++
			w.learn(d, a)
		})
	}
	t.Logf("answers by status: %v", statuses)
	if none := missing(); len(none) > 0 {
		t.Errorf("no answer was %v: %v", none, statuses)
	}
	admin.must(200, "GET", "/api/admin/audit?limit=200", nil) // the read model still follows
}
