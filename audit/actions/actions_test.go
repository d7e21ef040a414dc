package actions_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/audit/actions"
	"agentkey/domain"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

func TestEveryActionIsInTheTable(t *testing.T) {
	if diff := cmp.Diff(codec.Actions(), actions.Names()); diff != "" {
		t.Errorf("the actions (-written +told):\n%s", diff)
	}
	count := 0
	for _, c := range actions.Categories() {
		in := actions.In(c)
		if count += len(in); len(in) == 0 {
			t.Errorf("nothing is in the category %s", c)
		}
		for _, name := range in {
			if actions.Of(name) != c {
				t.Errorf("%s is not in %s", name, c)
			}
		}
	}
	if count != len(actions.Names()) {
		t.Errorf("%d of %d actions are in a category", count, len(actions.Names()))
	}
	for _, a := range actions.All() {
		if !strings.HasSuffix(a.Description, ".") {
			t.Errorf("%s: %q", a.Name, a.Description)
		}
		check(t, a.Name, a.Example)
	}
}

// TestNoTwoKindsShareANumber is what the lists of the audit rely on.
func TestNoTwoKindsShareANumber(t *testing.T) {
	kinds := map[uint64]string{}
	keep := func(action string, retry bool) {
		number := readmodels.KindOf(action, retry)
		if other, taken := kinds[number]; taken {
			t.Errorf("%s, retried %v, has the number of %s", action, retry, other)
		}
		kinds[number] = action
	}
	for _, action := range codec.Actions() {
		keep(action, false)
	}
	for _, action := range readmodels.Retried {
		keep(action, true)
	}
}

var (
	people = []domain.Actor{
		{Type: domain.ActorHuman, ID: "person-1", Label: "Ada Lovelace"},
		{Type: domain.ActorHuman, ID: "person-1"},
		{Type: domain.ActorService, ID: "token-1", Label: "nightly"},
		{Type: domain.ActorService, ID: "token-1"},
		{Type: domain.ActorAgent, ID: "agent-1", Label: "deploy-bot"},
		{Type: domain.ActorAgent, ID: "agent-9"},
		{Type: domain.ActorSystem, ID: "operator", Label: "AgentKey: operator"},
		{Type: domain.ActorSystem, ID: "tool_removal"},
	}
	// hidden finds what a sentence must not have: marks of formatting, ids, and what is sealed.
	hidden = regexp.MustCompile(`%|[{}<>_]|\b(agent|tool|token|secret|request|person|member|note|suggestion|channel|` +
		`session|invitation|org|store|key|change|event|delivery|digest|backup|rule)-\d|[0-9a-f]{8}-[0-9a-f]{4}|sealed|` +
		`\bhash\b|c2VhbGVk| {2}|<nil>`)
	sentence = regexp.MustCompile(`^(\p{Lu}|deploy-bot|nightly|#ops).*[^.]\.$`)
)

func check(t *testing.T, action, text string) {
	t.Helper()
	if found := hidden.FindString(text); found != "" || !sentence.MatchString(text) {
		t.Errorf("%s: %q %q", action, text, found)
	}
}

// TestEveryEventEverWrittenIsTold tells the stored event of every action with every kind of actor,
// with all labels and with none.
func TestEveryEventEverWrittenIsTold(t *testing.T) {
	told := map[string]bool{}
	stored, err := filepath.Glob("../../eventstore/codec/testdata/*.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stored {
		action := codec.Action(strings.TrimSuffix(filepath.Base(path), ".json"))
		if !slices.Contains(actions.Names(), action) {
			continue
		}
		told[action] = true
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, by := range people {
			kind, _, _ := strings.Cut(action, ".")
			e := readmodels.AuditEntry{
				ID: "event-1", Action: action, Actor: by, OnBehalfOf: people[(i+1)%len(people)], Data: data,
				Target: readmodels.Target{Type: kind, ID: kind + "-1"}, OccurredAt: time.Unix(0, 0),
			}
			for _, blank := range []string{"", "Unknown " + strings.ReplaceAll(kind, "_", " ")} {
				e.Target.Label, e.AgentName, e.ToolName = blank, "", ""
				tell(t, e)
			}
			e.Target.Label, e.AgentName, e.ToolName = "#ops: access requested", "deploy-bot", "GitHub"
			tell(t, e)
		}
	}
	if len(told) != len(actions.Names()) {
		t.Errorf("%d of %d actions were told", len(told), len(actions.Names()))
	}
}

func tell(t *testing.T, e readmodels.AuditEntry) {
	t.Helper()
	text, err := actions.Summary(e)
	if err != nil {
		t.Error(err)
	}
	check(t, e.Action, text)
}

func TestSummaries(t *testing.T) {
	ada, system := people[0], people[7]
	for _, c := range []struct {
		action string
		by     domain.Actor
		behalf domain.Actor
		data   string
		want   string
	}{
		{
			"credential.vended", people[4],
			domain.Actor{},
			`{"credential_version":3}`,
			"deploy-bot fetched the credential of GitHub (version 3).",
		},
		{
			"credential.refused", people[4],
			domain.Actor{},
			`{"reason":"agent_suspended","count":7}`,
			"deploy-bot was refused the credential of GitHub because it is suspended (7 times).",
		},
		{
			"grant.approved", ada,
			domain.Actor{},
			`{"expires_at":"2026-12-01T10:00:00+01:00"}`,
			"Ada Lovelace approved deploy-bot's request for GitHub until 2026-12-01 09:00 UTC.",
		},
		{
			"grant.approved", people[1],
			domain.Actor{},
			`{"required_approvals":2}`,
			"Someone who was erased approved deploy-bot's request for GitHub, as the last of 2 approvals.",
		},
		{
			"grant.revoked", system, ada, `{"cause":"tool_removed"}`,
			"AgentKey revoked deploy-bot's access to GitHub because the tool was removed, on behalf of Ada Lovelace.",
		},
		{
			"grant.revoked", system, people[3], `{"cause":"agent_retired"}`, "AgentKey revoked deploy-bot's access to GitHub " +
				"because the agent was retired, on behalf of a service token whose name was erased.",
		},
		{"grant.expired", system, domain.Actor{}, `{}`, "deploy-bot's access to GitHub expired."},
		{
			"agent.key_rotated", ada,
			domain.Actor{},
			`{"ended":[{"number":1,"at":"2026-12-01T09:00:00Z"}]}`,
			"Ada Lovelace rotated the key of the agent #ops: access requested; the former one works until 2026-12-01 09:00 UTC.",
		},
		{
			"tool.updated", ada,
			domain.Actor{},
			`{"name":"a","url":"b","description":"c"}`,
			"Ada Lovelace changed the name, the description and the address of the tool #ops: access requested.",
		},
		{
			"delivery.failed", system,
			domain.Actor{},
			`{"attempt":1,"problem":"it answered 500","next_at":"2026-12-01T09:00:00Z"}`,
			"AgentKey couldn't deliver the notification “access requested” to #ops, and tries again at " +
				"2026-12-01 09:00 UTC: it answered 500.",
		},
		{
			"delivery.succeeded", system,
			domain.Actor{},
			`{"attempt":3}`,
			"AgentKey delivered the notification “access requested” to #ops after 2 attempts that failed.",
		},
		{
			"log.restore_confirmed", people[6],
			domain.Actor{},
			`{"suspended_agents":1}`,
			"An operator confirmed the log as it is after one agent was suspended.",
		},
		{
			"member.updated", ada,
			domain.Actor{},
			`{"role":"auditor"}`,
			"Ada Lovelace made the member #ops: access requested an auditor.",
		},
		{
			"call.refused", ada,
			domain.Actor{},
			`{"operation":"exportAudit","role":"viewer","count":1}`,
			"Ada Lovelace was refused the call “export audit” because the role viewer doesn't allow it.",
		},
		{"member.joined", system, domain.Actor{}, `{"role":"viewer"}`, "#ops: access requested joined as a viewer."},
	} {
		kind, _, _ := strings.Cut(c.action, ".")
		got, err := actions.Summary(readmodels.AuditEntry{
			Action: c.action, Actor: c.by, OnBehalfOf: c.behalf, Data: []byte(c.data), AgentName: "deploy-bot",
			ToolName: "GitHub", Target: readmodels.Target{Type: kind, ID: "1", Label: "#ops: access requested"},
		})
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.action, got, err)
		}
	}
	if text, err := actions.Summary(readmodels.AuditEntry{Action: "grant.given"}); err == nil {
		t.Errorf("an unknown action is told: %q", text)
	}
}
