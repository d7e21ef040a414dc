package readmodels_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/readmodels"
)

// heap is an audit in which each value of each filter has many entries, and many pairs of them have
// none: a query that reads the entries of one value and drops those without the other reads far.
func (s *shelf) heap(entries int) (all []readmodels.AuditEntry) {
	s.t.Helper()
	for i := range 4 {
		s.agent(acme, fmt.Sprint("a", i), fmt.Sprint("Bot ", i))
		s.tool(acme, fmt.Sprint("t", i), fmt.Sprint("Tool ", i))
	}
	actors := []domain.Actor{
		{Type: domain.ActorHuman, ID: "ann"},
		{Type: domain.ActorHuman, ID: "bob"},
		{Type: domain.ActorService, ID: "ci"},
		{Type: domain.ActorSystem, ID: "agentkey"},
	}
	for i := range entries {
		agent := i % 4
		e := readmodels.AuditEntry{
			Organization: acme, ID: fmt.Sprint("e", i), Position: uint64(s.next()),
			AgentID: fmt.Sprint("a", agent), OccurredAt: noon.Add(time.Duration(i) * time.Second),
			Data: json.RawMessage("{}"),
		}
		switch i / 4 % 4 {
		case 0, 1: // an agent fetches one of the tools of its own
			e.Action, e.ToolID = "credential.vended", fmt.Sprint("t", agent/2*2+i/16%2)
			e.Actor = domain.Actor{Type: domain.ActorAgent, ID: e.AgentID}
		case 2: // others do something about it, each with some agents
			e.Action, e.Actor, e.Text = "agent.updated", actors[agent], fmt.Sprint("Reads café no. ", i/16%3)
			if i/16%2 == 0 { // and some of that is nothing new
				e.Action, e.Retry, e.Text = "delivery.failed", i/32%4 != 0, "it's 2 busy"
			}
		case 3: // or about a tool and no agent
			e.Action, e.Actor, e.ToolID, e.AgentID = "tool.updated", actors[(agent+1)%4], fmt.Sprint("t", agent), ""
		}
		if i%7 == 0 { // clocks differ
			e.OccurredAt = e.OccurredAt.Add(-30 * time.Second)
		}
		all = append(all, e)
	}
	other := slices.Clone(all)
	for i := range other {
		other[i].Organization, other[i].ID, other[i].Position = globex, "o"+other[i].ID, uint64(s.next())
	}
	s.write(func(tx *readmodels.Tx) error {
		for part := range slices.Chunk(slices.Concat(all, other), 100) {
			if err := tx.InsertAudit(s.t.Context(), part); err != nil {
				return err
			}
		}
		return nil
	})
	return all
}

// combinations is every combination of filters, each with values that have many entries together,
// and with values that have none.
func combinations() (out []readmodels.AuditFilter) {
	for _, times := range [][2]time.Time{
		{},
		{noon.Add(20 * time.Minute)},
		{{}, noon.Add(10 * time.Minute)},
		{noon.Add(10*time.Minute + 30*time.Second), noon.Add(14*time.Minute + 5*time.Second)},
	} {
		for _, actor := range []string{"", "a0", "ann", "nobody"} {
			for _, kind := range []string{"", "agent", "human"} {
				for _, agent := range []string{"", "a0", "a3"} {
					for _, tool := range []string{"", "t0", "t3"} {
						for _, what := range []readmodels.AuditFilter{
							{},
							{NoRetries: true},
							{Actions: []string{"credential.vended"}},
							{Actions: []string{"tool.updated", "delivery.failed"}, NoRetries: true},
							{Actions: []string{"agent.updated", "delivery.failed", "grant.denied", "many"}},
						} {
							what.ActorType, what.ActorID, what.AgentID, what.ToolID = kind, actor, agent, tool
							what.From, what.To = times[0], times[1]
							out = append(out, what)
						}
					}
				}
			}
		}
	}
	for _, wanted := range []string{"bot 1", "tool", "CAFE", "busy it's", "2", "no", "nothing of this"} {
		for _, what := range []readmodels.AuditFilter{
			{},
			{NoRetries: true},
			{AgentID: "a1"},
			{ActorType: "human", ToolID: "t1", From: noon.Add(10 * time.Minute)},
			{Actions: []string{"delivery.failed"}},
			{Actions: []string{"agent.updated", "tool.updated", "grant.denied", "credential.vended"}, NoRetries: true},
		} {
			what.Text = wanted
			out = append(out, what)
		}
	}
	return out
}

func matches(f readmodels.AuditFilter, e readmodels.AuditEntry) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.ActorType, string(e.Actor.Type)) && is(f.ActorID, e.Actor.ID) && is(f.AgentID, e.AgentID) &&
		is(f.ToolID, e.ToolID) && (f.Actions == nil || slices.Contains(f.Actions, e.Action)) &&
		(!f.NoRetries || !e.Retry) && found(f.Text, e) && !e.OccurredAt.Before(f.From) &&
		(f.To.IsZero() || e.OccurredAt.Before(f.To))
}

// found reports whether the agent, the tool or the text of an entry of the heap has a text.
func found(text string, e readmodels.AuditEntry) bool {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "é", "e") }
	agent, tool := strings.Replace(e.AgentID, "a", "bot ", 1), strings.Replace(e.ToolID, "t", "tool ", 1)
	if text = plain(text); strings.Contains(agent, text) || strings.Contains(tool, text) {
		return true
	}
	words := func(s string) []string {
		return strings.Fields(strings.NewReplacer("'", " ", ".", " ").Replace(plain(s)))
	}
	for _, word := range words(text) {
		if !slices.Contains(words(e.Text), word) {
			return false
		}
	}
	return true
}

// testAuditCombinations compares every combination of filters, page by page, with a plain search.
func testAuditCombinations(t *testing.T, s *shelf) {
	entries := s.heap(2000)
	for _, f := range combinations() {
		var want []string
		for _, e := range slices.Backward(entries) {
			if matches(f, e) {
				want = append(want, e.ID)
			}
		}
		extent := must[readmodels.Extent](t)(s.db.AuditExtent(t.Context(), acme, f, 0, 0))
		if extent.Entries != int64(len(want)) {
			t.Errorf("%+v: %d of %d entries", f, extent.Entries, len(want))
		}
		list := must[readmodels.List[readmodels.AuditEntry]](t)(
			s.db.Audit(t.Context(), acme, f, readmodels.Page{Limit: 20}),
		)
		if diff := cmp.Diff(want[:min(20, len(want))], auditNames(list), equalNone); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", f, diff)
		}
		slices.Reverse(want)
		list = must[readmodels.List[readmodels.AuditEntry]](t)(
			s.db.AuditFrom(t.Context(), acme, f, 0, readmodels.Page{Limit: 20}),
		)
		if diff := cmp.Diff(want[:min(20, len(want))], auditNames(list), equalNone); diff != "" {
			t.Errorf("%+v from its beginning (-want +got):\n%s", f, diff)
		}
		slices.Reverse(want)
		if len(want) < 30 {
			continue
		}
		before := must[[]readmodels.AuditEntry](t)(s.db.AuditAfter(t.Context(), acme, f, 0, 0, 1000, false))
		list = must[readmodels.List[readmodels.AuditEntry]](t)(
			s.db.Audit(t.Context(), acme, f, readmodels.Page{Limit: 20, Before: before[10].Position}),
		)
		if diff := cmp.Diff(want[len(want)-10:], auditNames(list)); diff != "" {
			t.Errorf("the last page of %+v (-want +got):\n%s", f, diff)
		}
		if len(before) != min(len(want), 1000) || before[0].ID != want[len(want)-1] {
			t.Errorf("%+v: an export has %d of %d", f, len(before), len(want))
		}
	}
}

// equalNone takes no entries for no entries.
var equalNone = cmp.Transformer("none", func(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
})

// walksIndex is how SQLite says that it goes along an index in the order of the log.
var walksIndex = regexp.MustCompile(
	`^SEARCH (x USING INDEX sqlite_autoindex_audit_words_1 \(in_word=\? AND position>\? AND position<\?\)|` +
		`e USING INDEX sqlite_autoindex_audit_entries_1 \(organization_id=\? AND position=\?\)|` +
		`e USING INDEX audit_entries_in_\w+ \(in_\w+=\? AND position>\? AND position<\?\)|` +
		`e USING INDEX sqlite_autoindex_audit_entries_1 \(organization_id=\? AND position>\? AND position<\?\))$`,
)

// testAuditPlans has every combination of filters explained. SQLite goes along an index for each.
// Postgres says how many rows it read: it may take a short list as a whole, and what is in the same
// minute as the end of a time; all other lists here are several times as long.
func testAuditPlans(t *testing.T, s *shelf) {
	const most = 200
	s.heap(8000)
	for i, f := range combinations() {
		order := []string{" DESC", ""}[i%2]
		for _, plan := range must[[]string](t)(s.db.ExplainAudit(t.Context(), acme, f, readmodels.Page{Limit: 20}, order)) {
			if !strings.HasPrefix(plan, "[") {
				checkWalks(t, f, plan)
				continue
			}
			if f.ActorID != "" && f.AgentID != "" && f.ToolID != "" {
				continue // it reads all that this actor did about this agent, which no machine does
			}
			if f.Text != "" && f.AgentID+f.ToolID != "" {
				continue // it reads the entries with the word, which people and agents wrote
			}
			var explained []struct{ Plan planned }
			if err := json.Unmarshal([]byte(plan), &explained); err != nil {
				t.Fatal(err)
			}
			for _, n := range append(explained[0].Plan.reads("audit_entries"), explained[0].Plan.reads("audit_words")...) {
				if n.Rows+n.Removed > most || n.Type == "Seq Scan" {
					t.Errorf("%+v reads %.0f rows and drops %.0f: %+v", f, n.Rows, n.Removed, n)
				}
			}
		}
	}
}

func checkWalks(t *testing.T, f readmodels.AuditFilter, plan string) {
	t.Helper()
	walking := false
	for line := range strings.Lines(plan) {
		line = strings.TrimSpace(line)
		if walking && strings.HasPrefix(line, "USE TEMP B-TREE") {
			t.Errorf("%+v: what is read is sorted:\n%s", f, plan)
		}
		walking = strings.Contains(line, " e ") || strings.Contains(line, " x ")
		if walking && !walksIndex.MatchString(line) {
			t.Errorf("%+v: %s", f, line)
		}
	}
}

// planned is a step of a plan of Postgres.
type planned struct {
	Type    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Removed float64 `json:"Rows Removed by Filter"`
	Plans   []planned
}

// reads are the steps that read a table.
func (p planned) reads(table string) (out []planned) {
	if p.Table == table {
		out = append(out, p)
	}
	for _, below := range p.Plans {
		out = append(out, below.reads(table)...)
	}
	return out
}
