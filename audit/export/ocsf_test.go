package export_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agentkey/audit/export"
	"agentkey/audit/export/ocsftest"
	"agentkey/domain"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

func schema(t *testing.T) *ocsftest.Schema {
	t.Helper()
	s, err := ocsftest.Read("testdata/ocsf.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// about is what the entries of an action are about, where it isn't what the action begins with.
var about = map[string]string{
	"credential": "tool", "grant": "tool", "log": "event_log", "agent": "agent",
}

// entries are one of each action: with everything, with as little as an erased person leaves, and
// by the program itself or its operator.
func entries(t *testing.T, action string) []export.Entry {
	t.Helper()
	files, err := filepath.Glob("../../eventstore/codec/testdata/" + action + ".v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no golden file of %s: %v", action, err)
	}
	data, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	thing, _, _ := strings.Cut(action, ".")
	if about[thing] != "" {
		thing = about[thing]
	}
	whole := export.Entry{
		AuditEntry: readmodels.AuditEntry{
			Organization: "org-1", ID: "0190b2c0-0000-7000-8000-000000000001", Position: 1 << 40, Stream: "agent-agent-1",
			Revision: 3, Action: action, Actor: domain.Actor{Type: domain.ActorService, ID: "token-1", Label: "ci <&> \u2028"},
			Target:  readmodels.Target{Type: thing, ID: thing + "-1", Label: "It"},
			AgentID: "agent-1", AgentName: "One", ToolID: "tool-1", ToolName: "GitHub", RequestID: "call-1",
			OccurredAt: time.Date(2026, 3, 4, 5, 6, 7, 891_234_000, time.UTC), Data: data,
			Current: readmodels.Current{Agent: "Another"},
		},
		Address: "::ffff:192.0.2.7", UserAgent: "curl/8", Version: "v1.0.0",
	}
	erased := whole
	erased.Actor = domain.Actor{Type: domain.ActorHuman, ID: "person-1"}
	erased.RequestID, erased.Address, erased.UserAgent, erased.Version = "", "", "", ""
	erased.AgentName, erased.ToolName, erased.Target.Label = "", "", ""
	system := whole
	system.Actor = domain.Actor{Type: domain.ActorSystem, ID: "expiry", Label: "AgentKey: expiry"}
	system.OnBehalfOf = domain.Actor{Type: domain.ActorAgent, ID: "agent-2", Label: "Two"}
	system.RequestID, system.Address = "", ""
	nobody := system
	nobody.Actor.Label, nobody.OnBehalfOf = "", domain.Actor{}
	nobody.Target.ID, nobody.AgentID, nobody.ToolID, nobody.ToolName = "", "", "", ""
	byOperator := system
	byOperator.Actor = domain.Actor{Type: domain.ActorSystem, ID: "operator", Label: "root@host"}
	byOperator.OnBehalfOf = domain.Actor{Type: domain.ActorSystem, ID: "expiry"}
	forPart := system
	forPart.OnBehalfOf = domain.Actor{Type: domain.ActorSystem, ID: "privacy", Label: "AgentKey: privacy"}
	return []export.Entry{whole, erased, system, nobody, byOperator, forPart}
}

// TestEveryActionIsAnEventOfOCSF makes events of every action, so one that isn't mapped fails.
func TestEveryActionIsAnEventOfOCSF(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, action := range codec.Actions() {
		for _, e := range entries(t, action) {
			line, err := export.AppendOCSF([]byte("before\n"), e)
			if err != nil {
				t.Error(err)
				continue
			}
			line, kept := bytes.CutPrefix(line, []byte("before\n"))
			if !kept || bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) {
				t.Errorf("%s isn't a line of its own: %q", action, line)
			}
			if faults := s.Faults(line); faults != nil {
				t.Errorf("%s: %s\n%s", action, strings.Join(faults, "\n"), line)
			}
			event := decode(t, line)
			metadata := event["metadata"].(map[string]any)
			if metadata["uid"] != e.ID || metadata["sequence"] != float64(e.Position) || metadata["event_code"] != action ||
				event["time"] != float64(e.OccurredAt.UnixMilli()) {
				t.Errorf("%s: the event has lost which one it is: %s", action, line)
			}
			var data any
			if err := json.Unmarshal(e.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data, want := quoted(event["unmapped"].(map[string]any)["data"]), quoted(data); data != want {
				t.Errorf("%s: the data is %s, not %s", action, data, want)
			}
		}
	}
	if _, err := export.AppendOCSF(nil, export.Entry{AuditEntry: readmodels.AuditEntry{Action: "tool.sung"}}); err == nil {
		t.Error("an action that nobody knows is exported")
	}
}

// TestWhatOCSFSays has lines of each class, and what a reader looks for in them.
func TestWhatOCSFSays(t *testing.T) {
	t.Parallel()
	for action, want := range map[string][]string{
		"credential.vended": {
			`"type_uid":600302`, `"status":"Success"`, `"operation":"fetchCredential"`, `"src_endpoint":{"ip":"192.0.2.7"}`,
			`"http_request":{"uid":"call-1","user_agent":"curl/8"}`, `"resources":[{"uid":"tool-1","name":"It","type":"tool"}]`,
			`"correlation_uid":"call-1"`,
			`"user":{"uid":"token-1","name":"ci \u003c\u0026\u003e \u2028","type_id":99,"type":"service"}`,
		},
		"credential.refused": {
			`"type_uid":600302`, `"status":"Failure"`, `"status_code":"access_not_approved"`, `"count":5`, `"severity":"Low"`,
			`"end_time":1772600767891`, `"response":{"error":"access_not_approved"}`,
		},
		"agent.suspended":       {`"type_uid":300105`, `"user":{"uid":"agent-1","name":"One","type_id":99,"type":"agent"}`},
		"service_token.revoked": {`"type_uid":300106`, `"user":{"uid":"service_token-1"`},
		"grant.approved":        {`"type_uid":300107`, `"policy":{"uid":"tool-1","name":"GitHub"}`, `"uid":"agent-1"`},
		"grant.requested": {
			`"type_uid":300401`, `"entity":{"uid":"request-1","name":"It","type_id":99,"type":"grant"}`, `"comment":"to deploy"`,
		},
		"organization.created": {`"type_uid":300401`, `"type_id":4`, `"org":{"uid":"organization-1"`},
		"delivery.failed":      {`"status_detail":"it answered 500"`, `"status":"Failure"`},
	} {
		line, err := export.AppendOCSF(nil, entries(t, action)[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !bytes.Contains(line, []byte(part)) {
				t.Errorf("%s: %s isn't in %s", action, part, line)
			}
		}
	}
	line, err := export.AppendOCSF(nil, entries(t, "grant.expired")[2])
	want := `"actor":{"user":{"uid":"agent-2","name":"Two","type_id":99,"type":"agent"},"app_uid":"expiry"`
	if err != nil || !bytes.Contains(line, []byte(want)) {
		t.Errorf("%s isn't in %s: %v", want, line, err)
	}
	line, err = export.AppendOCSF(nil, entries(t, "organization.created")[4])
	want = `"actor":{"user":{"uid":"operator","name":"root@host","type_id":2,"type":"Admin"}}`
	if err != nil || !bytes.Contains(line, []byte(want)) {
		t.Errorf("%s isn't in %s: %v", want, line, err)
	}
}

// TestABrokenEventIsFound breaks a good event in every way that the check of the others must see.
func TestABrokenEventIsFound(t *testing.T) {
	t.Parallel()
	s := schema(t)
	good, err := export.AppendOCSF(nil, entries(t, "credential.refused")[0])
	if err != nil || s.Faults(good) != nil {
		t.Fatal(err, s.Faults(good))
	}
	for _, name := range slices.Sorted(maps.Keys(decode(t, good))) {
		event := decode(t, good)
		required := slices.Contains(s.BaseEvent.Required, name) || slices.Contains(s.Classes["6003"].Required, name)
		delete(event, name)
		if found := s.Faults([]byte(quoted(event))) != nil; found != required && name != "class_name" {
			t.Errorf("without %s: a fault is %v", name, found)
		}
		event[name] = []any{}
		if s.Faults([]byte(quoted(event))) == nil {
			t.Errorf("%s can be a list", name)
		}
	}
	for _, change := range [][2]string{
		{`"severity_id":2`, `"severity_id":7`},
		{`"status":"Failure"`, `"status":"Success"`},
		{`"activity_id":2`, `"activity_id":3`},
		{`"activity_name":"Read"`, `"activity_name":"Fetch"`},
		{`"category_uid":6`, `"category_uid":3`},
		{`"type_uid":600302`, `"type_uid":600301`},
		{`"class_uid":6003`, `"class_uid":6002`},
		{`"time":1772600767891`, `"time":1.5`},
		{`"ip":"192.0.2.7"`, `"ip":"somewhere"`},
		{`"ip":"192.0.2.7"`, `"port_name":"x"`},
		{`{"ip":"192.0.2.7"}`, `{}`},
		{`"version":"1.3.0"`, `"version":"1.2.0"`},
		{`"vendor_name":"AgentKey",`, ``},
		{`"operation":"fetchCredential",`, ``},
		{`"request":{"uid":"call-1"}`, `"request":{}`},
		{`"log_name"`, `"log_named"`},
		{`"type_id":99`, `"type_id":4`},
		{`"type":"service"`, `"type":""`},
		{`"count":5`, `"count":"5"`},
		{`"message"`, `"entity":{"name":"x"},"message"`},
		{`"log_name":"audit"`, `"log_name":"audit","profiles":["host"]`},
		{"}\n", "}{}\n"},
		{`"status"`, `"tool_id":"x","status"`},
	} {
		broken := strings.Replace(string(good), change[0], change[1], 1)
		if broken == string(good) || s.Faults([]byte(broken)) == nil {
			t.Errorf("%s instead of %s isn't found: %s", change[1], change[0], broken)
		}
	}
	managed, err := export.AppendOCSF(nil, entries(t, "tool.added")[0])
	broken := bytes.Replace(managed, []byte(`,"profiles":["host"]`), nil, 1)
	if err != nil || s.Faults(managed) != nil || s.Faults(broken) == nil {
		t.Errorf("an actor without its profile isn't found: %s: %v", broken, err)
	}
}

func decode(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var event map[string]any
	if err := json.Unmarshal(line, &event); err != nil {
		t.Fatal(err)
	}
	return event
}

func quoted(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
