package readmodels_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

func TestEmbedded(t *testing.T) {
	suite(t, func(t *testing.T) *readmodels.DB {
		db, err := readmodels.OpenEmbedded(
			t.Context(), filepath.Join(t.TempDir(), "read.db"), slog.New(slog.DiscardHandler),
		)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return db
	})
}

func TestPostgres(t *testing.T) {
	suite(t, func(t *testing.T) *readmodels.DB { return postgres(t, readmodelstest.Postgres(t)) })
}

func TestPostgresThroughAPooler(t *testing.T) {
	suite(t, func(t *testing.T) *readmodels.DB {
		return postgres(t, readmodelstest.Pooled(t, readmodelstest.Postgres(t)))
	})
}

// postgres opens a database as one process does.
func postgres(t *testing.T, url string) *readmodels.DB {
	t.Helper()
	db, err := readmodels.OpenPostgres(t.Context(), readmodels.Database{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// suite is what every engine passes. open returns empty tables of the test's own.
func suite(t *testing.T, open func(*testing.T) *readmodels.DB) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *shelf)
	}{
		{"agents", testAgents},
		{"agents are found by name and status", testAgentFilters},
		{"tools", testTools},
		{"instructions", testInstructions},
		{"the catalog of an agent", testCatalog},
		{"requests", testRequests},
		{"grants", testGrants},
		{"grants are found by status", testGrantFilters},
		{"lists are sorted and narrowed", testSorts},
		{"no query of grants or requests reads far", testListPlans},
		{"no query of agents with labels reads those of others", testTaggedPlans},
		{"access ends with its time, its tool and its agent", testEnds},
		{"the audit", testAudit},
		{"everything in the audit has its label", testLabels},
		{"everything keeps the names of its time", testFormerNames},
		{"the audit is found by all it says", testAuditFilters},
		{"the audit is found by every combination", testAuditCombinations},
		{"no query of the audit reads far", testAuditPlans},
		{"decisions", testDecisions},
		{"exposures", testExposures},
		{"freezes", testFreezes},
		{"suggestions, by demand", testSuggestions},
		{"notes", testNotes},
		{"notification channels", testChannels},
		{"notifications", testDeliveries},
		{"due deliveries", testDueDeliveries},
		{"what ends soon", testEndings},
		{"the summary", testSummary},
		{"what helps to decide", testContexts},
		{"usage", testUsage},
		{"another organization sees nothing", testOrganizations},
		{"pages stay what they are while rows come", testPages},
		{"strange text", testText},
		{"a write leaves all or nothing", testWrite},
		{"the checkpoint", testCheckpoint},
		{"tables are replaced", testReplace},
		{"everybody sees whole tables while they are replaced", testReplaceUnderReaders},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &shelf{t: t, db: open(t)}) })
	}
}

func testOrganizations(t *testing.T, s *shelf) {
	s.agent(acme, "a1", "One")
	s.tool(acme, "t1", "GitHub")
	s.guide(acme, "t1", 1, "be kind")
	s.grant(acme, "a1", "t1", "approved", time.Time{})
	s.audit(readmodels.AuditEntry{ID: "e1", AgentID: "a1", ToolID: "t1", Actor: human})
	s.agent(globex, "b1", "Other")

	ctx, db := t.Context(), s.db
	errs := map[string]error{}
	_, errs["agent"] = db.Agent(ctx, globex, "a1", noon)
	_, errs["tool"] = db.Tool(ctx, globex, "t1", noon)
	_, errs["instructions"] = db.Instructions(ctx, globex, "t1", all)
	_, errs["version"] = db.InstructionsVersion(ctx, globex, "t1", 1)
	_, errs["offer"] = db.CatalogTool(ctx, globex, "a1", "t1", noon)
	_, errs["me"] = db.Me(ctx, globex, "a1", noon)
	_, errs["request"] = db.Request(ctx, globex, "a1 t1")
	_, errs["grant"] = db.Grant(ctx, globex, "a1", "t1", noon)
	s.agent(acme, "a2", "Gone")
	s.status("a2", "retired")
	_, errs["retired agent"] = db.Agent(ctx, globex, "a2", noon)
	s.tool(acme, "t2", "Gone")
	s.remove("t2")
	_, errs["removed tool"] = db.Tool(ctx, globex, "t2", noon)
	for what, err := range errs {
		if !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("%s of another organization: %v", what, err)
		}
	}
	counts := map[string]int{
		"agents": len(
			must[readmodels.List[readmodels.Agent]](t)(
				db.Agents(ctx, globex, readmodels.AgentFilter{Query: "one"}, noon, all),
			).Items,
		),
		"tools": len(
			must[readmodels.List[readmodels.Tool]](t)(db.Tools(ctx, globex, readmodels.ToolFilter{}, noon, all)).Items,
		),
		"catalog": len(must[[]readmodels.Offer](t)(db.Catalog(ctx, globex, "a1", readmodels.OfferFilter{}, noon))),
		"requests": len(
			must[readmodels.List[readmodels.Request]](t)(
				db.Requests(ctx, globex, readmodels.RequestFilter{AgentID: "a1", ToolID: "t1"}, all),
			).Items,
		),
		"grants": len(
			must[readmodels.List[readmodels.Grant]](t)(
				db.Grants(ctx, globex, readmodels.GrantFilter{AgentID: "a1", ToolID: "t1"}, noon, all),
			).Items,
		),
	}
	for _, f := range []readmodels.AuditFilter{{}, {AgentID: "a1"}, {ToolID: "t1"}, {ActorID: "ann"}} {
		counts["audit"] += len(must[readmodels.List[readmodels.AuditEntry]](t)(db.Audit(ctx, globex, f, all)).Items)
	}
	for what, n := range counts {
		if n != 0 {
			t.Errorf("%d %s of another organization", n, what)
		}
	}
	if own := must[readmodels.List[readmodels.Agent]](t)(
		db.Agents(ctx, globex, readmodels.AgentFilter{}, noon, all),
	); len(own.Items) != 1 {
		t.Errorf("its own agents are %+v", own)
	}
}

// testPages reads each list page by page while newer rows come before every page: each row that was
// there at the beginning is seen once, in order, and no newer one.
func testPages(t *testing.T, s *shelf) {
	const rows = 7
	n := 0
	add := func() {
		id := fmt.Sprintf("%03d", n)
		n++
		s.agent(acme, id, id)
		s.tool(acme, id, id)
		s.grant(acme, id, id, "pending", time.Time{})
		s.audit(readmodels.AuditEntry{ID: id, Action: "a"})
	}
	for range rows {
		add()
	}
	ctx, db := t.Context(), s.db
	for _, c := range []struct {
		name string
		page func(readmodels.Page) ([]string, uint64)
	}{
		{"agents", func(p readmodels.Page) ([]string, uint64) {
			l := must[readmodels.List[readmodels.Agent]](t)(db.Agents(ctx, acme, readmodels.AgentFilter{}, noon, p))
			return names(l.Items, func(a readmodels.Agent) string { return a.ID }), l.Next
		}},
		{"tools", func(p readmodels.Page) ([]string, uint64) {
			l := must[readmodels.List[readmodels.Tool]](t)(db.Tools(ctx, acme, readmodels.ToolFilter{}, noon, p))
			return names(l.Items, func(a readmodels.Tool) string { return a.ID }), l.Next
		}},
		{"requests", func(p readmodels.Page) ([]string, uint64) {
			l := must[readmodels.List[readmodels.Request]](t)(
				db.Requests(ctx, acme, readmodels.RequestFilter{Status: "pending"}, p),
			)
			return names(l.Items, func(a readmodels.Request) string { return a.AgentID }), l.Next
		}},
		{"grants", func(p readmodels.Page) ([]string, uint64) {
			l := must[readmodels.List[readmodels.Grant]](t)(
				db.Grants(ctx, acme, readmodels.GrantFilter{Status: "pending"}, noon, p),
			)
			return names(l.Items, func(a readmodels.Grant) string { return a.AgentID }), l.Next
		}},
		{"audit", func(p readmodels.Page) ([]string, uint64) {
			l := must[readmodels.List[readmodels.AuditEntry]](t)(
				db.Audit(ctx, acme, readmodels.AuditFilter{Actions: []string{"a"}}, p),
			)
			return auditNames(l), l.Next
		}},
	} {
		for _, limit := range []int{1, 2, 3, 6, 7, 8, 200} {
			var got, want []string
			for i := n - 1; i >= 0; i-- {
				want = append(want, fmt.Sprintf("%03d", i))
			}
			for p := (readmodels.Page{Limit: limit}); ; {
				items, next := c.page(p)
				if len(items) == 0 || len(items) > limit {
					t.Errorf("%s: a page of %d has %d items", c.name, limit, len(items))
				}
				got = append(got, items...)
				if p.Before = next; next == 0 {
					break
				}
				if limit == 3 {
					add()
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s in pages of %d (-want +got):\n%s", c.name, limit, diff)
			}
		}
		if items, _ := c.page(readmodels.Page{}); len(items) != 1 {
			t.Errorf("%s: a page without a limit has %d items", c.name, len(items))
		}
		if items, next := c.page(readmodels.Page{Limit: 1 << 40, Before: 1 << 63}); len(items) > 1000 || next != 0 {
			t.Errorf("%s: a page without bounds has %d items and %d next", c.name, len(items), next)
		}
	}
}

func testText(t *testing.T, s *shelf) {
	for i, name := range []string{
		"tab\tnewline\n", "emoji 🦫", "' OR '1'='1", "$1 :name ? %s", strings.Repeat("ü", 120), "nul\x00byte",
		"broken \xff utf8",
	} {
		id := fmt.Sprint("a", i)
		s.agent(acme, id, name)
		s.audit(readmodels.AuditEntry{ID: id, Action: name})
		got := must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, id, noon))
		// what Postgres makes of what it can't hold
		clean := strings.ReplaceAll(strings.ToValidUTF8(name, "\ufffd"), "\x00", "\ufffd")
		if got.Name != name && got.Name != clean {
			t.Errorf("%q came back as %q", name, got.Name)
		}
		if list, err := s.db.Agents(t.Context(), acme, readmodels.AgentFilter{Query: name}, noon, all); err != nil ||
			len(list.Items) != 1 {
			t.Errorf("%d agents are called %q: %v", len(list.Items), name, err)
		}
		if list, err := s.db.Audit(t.Context(), acme, readmodels.AuditFilter{Actions: []string{name}}, all); err != nil ||
			len(list.Items) != 1 {
			t.Errorf("%d entries name %q: %v", len(list.Items), name, err)
		}
	}
}

func testWrite(t *testing.T, s *shelf) {
	boom := errors.New("boom")
	insert := func(tx *readmodels.Tx) error {
		return tx.InsertAgent(
			t.Context(), readmodels.InsertAgentParams{ID: "a1", OrganizationID: acme, Position: 1, Name: "One"},
		)
	}
	gone := func(what string) {
		t.Helper()
		if _, err := s.db.Agent(t.Context(), acme, "a1", noon); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("after %s: %v", what, err)
		}
	}
	if err := s.db.Write(
		t.Context(), func(tx *readmodels.Tx) error { return errors.Join(insert(tx), boom) },
	); !errors.Is(err, boom) {
		t.Errorf("an error came out as %v", err)
	}
	gone("an error")
	if err := s.db.Write(
		t.Context(), func(tx *readmodels.Tx) error { return errors.Join(insert(tx), insert(tx)) },
	); err == nil {
		t.Error("the same row twice is not an error")
	}
	gone("a conflict")
	func() {
		defer func() {
			if r := recover(); r != boom { //nolint:errorlint // the very value
				t.Errorf("a panic came out as %v", r)
			}
		}()
		_ = s.db.Write(t.Context(), func(tx *readmodels.Tx) error {
			if err := insert(tx); err != nil {
				t.Error(err)
			}
			panic(boom)
		})
	}()
	gone("a panic")
	cancelled, cancel := context.WithCancel(t.Context())
	err := s.db.Write(cancelled, func(tx *readmodels.Tx) error {
		err := insert(tx)
		cancel()
		return err
	})
	if err == nil {
		t.Error("a write whose caller left was committed")
	}
	gone("its caller left")
	s.write(insert)
	if a := must[readmodels.Agent](t)(s.db.Agent(t.Context(), acme, "a1", noon)); a.Name != "One" {
		t.Errorf("at last: %+v", a)
	}
}
