package readmodels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

// One process fills the tables again while another writes to them and everybody asks. A write is in
// the old tables or in the new, whole; the new ones begin where the old ones ended; nobody goes
// back or sees half of anything.
func TestEveryProcessSeesTheSwitch(t *testing.T) {
	everyWay(t, func(t *testing.T, url, way string) {
		here, there := postgres(t, way), postgres(t, way)
		s := &shelf{t: t, db: here}
		for _, id := range []string{"a1", "a2"} {
			s.agent(acme, id, "0")
		}
		s.write(func(tx *readmodels.Tx) error { return tx.Claim(t.Context(), "s1", noon, time.Time{}) })
		ctx, stop := context.WithCancel(t.Context())
		defer stop()

		// The name of both agents is the position.
		step := func(db *readmodels.DB, to uint64) error {
			return db.Write(t.Context(), func(tx *readmodels.Tx) error {
				err := tx.Move(t.Context(), "s1", to-1, to, "")
				for _, id := range []string{"a1", "a2"} {
					err = errors.Join(
						err,
						tx.UpdateAgent(
							t.Context(),
							readmodels.UpdateAgentParams{ID: id, Name: readmodels.Optional(new(fmt.Sprint(to)))},
						),
					)
				}
				return err
			})
		}
		var writer, askers sync.WaitGroup
		writer.Go(func() {
			for to := uint64(1); ctx.Err() == nil; to++ {
				if err := step(there, to); err != nil {
					t.Errorf("write %d: %v", to, err)
					return
				}
			}
		})
		for _, db := range []*readmodels.DB{here, there} {
			askers.Go(func() {
				for seen := 0; ctx.Err() == nil; {
					list, err := db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all)
					if err != nil || len(list.Items) != 2 || list.Items[0].Name != list.Items[1].Name {
						t.Errorf("after position %d: %+v %v", seen, list.Items, err)
						return
					}
					before := seen
					if _, err := fmt.Sscan(list.Items[0].Name, &seen); err != nil || seen < before {
						t.Errorf("after position %d: %+v %v", before, list.Items, err)
						return
					}
				}
			})
		}
		for range 3 {
			beside, err := here.Beside(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := there.Beside(t.Context()); err == nil {
				t.Error("two processes fill the tables at once")
			}
			err = here.Replace(t.Context(), beside, func(ctx context.Context, was readmodels.Checkpoint) error {
				return beside.Write(ctx, func(tx *readmodels.Tx) error {
					err := errors.Join(
						tx.Claim(ctx, was.StoreID, was.StoreCreated, was.Confirmed), tx.Move(ctx, was.StoreID, 0, was.Position, ""),
					)
					for i, id := range []string{"a1", "a2"} {
						err = errors.Join(
							err,
							tx.InsertAgent(
								ctx,
								readmodels.InsertAgentParams{
									ID: id, OrganizationID: acme, Position: int64(i + 1),
									Name: fmt.Sprint(was.Position),
								},
							),
						)
					}
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		stop()
		writer.Wait()
		askers.Wait()
		c := conn(t, url)
		if left := scan[int](t, c, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^agentkey_'"); left != 1 {
			t.Errorf("%d schemas are there", left)
		}
		do(t, c, "SET search_path = "+scan[string](t, c, liveSchema))
		if n := scan[int](
			t, c,
			"SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND indexname = "+
				"'audit_entries_in_agent'",
		); n != 1 {
			t.Error("the new tables have no indexes")
		}
	})
}

func TestASwitchThatFailsLeavesTheLiveTables(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db := postgres(t, url)
	(&shelf{t: t, db: db}).agent(acme, "a1", "One")
	beside, err := db.Beside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	if err := db.Replace(
		t.Context(), beside, func(context.Context, readmodels.Checkpoint) error { return no },
	); !errors.Is(err, no) {
		t.Errorf("replaced: %v", err)
	}
	if a, err := db.Agent(t.Context(), acme, "a1", noon); err != nil || a.Name != "One" {
		t.Errorf("the live tables hold %+v: %v", a, err)
	}
	c := conn(t, url)
	if left := scan[int](t, c, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^agentkey_'"); left != 1 {
		t.Errorf("%d schemas are there", left)
	}
	// What a process left that was killed in the middle of it is in nobody's way.
	do(
		t, c,
		"CREATE SCHEMA "+scan[string](t, c, liveSchema)+"_next; CREATE SCHEMA "+scan[string](t, c, liveSchema)+"_old",
	)
	if err := db.Reset(t.Context()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestUnusedTablesOfOtherVersionsAreDropped(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db, c := postgres(t, url), conn(t, url)
	for _, name := range []string{
		"agentkey_0123456789ab", "agentkey_0123456789ab_next", "agentkey_ba9876543210", "agentkey_mine",
	} {
		do(t, c, "CREATE SCHEMA "+name+" CREATE TABLE agents (id TEXT)")
	}
	do(t, c, "INSERT INTO agentkey.leases (name, holder, installation, ends_at) "+
		"VALUES ('lead agentkey_ba9876543210', 'a process of that version', '', now())")
	schemas := func() string {
		t.Helper()
		return scan[string](
			t, c, "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname ~ '^agentkey_'",
		)
	}
	live := scan[string](t, c, liveSchema+" AND nspname NOT IN ('agentkey_0123456789ab', 'agentkey_ba9876543210')")
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	sorted := func(names ...string) string {
		return scan[string](t, c, "SELECT string_agg(n, ' ' ORDER BY n) FROM unnest($1::text[]) AS n", names)
	}
	if diff := cmp.Diff(sorted(live, "agentkey_ba9876543210", "agentkey_mine"), schemas()); diff != "" {
		t.Errorf("while one is used (-want +got):\n%s", diff)
	}
	do(t, c, "UPDATE agentkey.leases SET ends_at = now() - interval '2 minutes'")
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(live, "agentkey_mine"), schemas()); diff != "" {
		t.Errorf("at last (-want +got):\n%s", diff)
	}
}

const (
	botID    = "0198c0de-0000-7000-9000-000000000001"
	githubID = "0198c0de-0000-7000-9000-000000000002"
	asked    = "0198c0de-0000-7000-9000-000000000003"
	vended   = "0198c0de-0000-7000-9000-000000000004"
)

// reports fills tables with one of everything, and answers what the reporting schema shows.
func reports(t *testing.T, db *readmodels.DB) {
	t.Helper()
	s := &shelf{t: t, db: db}
	s.agent(acme, botID, "bot")
	s.write(func(tx *readmodels.Tx) error {
		return errors.Join(tx.ForgetKeys(t.Context(), readmodels.ForgetKeysParams{AgentID: botID, Upto: 1}),
			tx.InsertKey(t.Context(), readmodels.InsertKeyParams{
				AgentID: botID, Number: 2, ID: vended,
				CreatedAt: readmodels.Micros(noon),
			}))
	})
	s.tool(acme, githubID, "GitHub")
	s.credential(githubID, vended, 1)
	s.fetched(botID, vended, 3)
	s.guide(acme, githubID, 1, "be kind")
	s.ask(acme, botID, githubID, asked)
	s.decide(botID, githubID, asked, "approved", noon.Add(time.Hour).Add(123456*time.Microsecond))
	s.audit(
		readmodels.AuditEntry{
			ID: vended, Actor: human, OccurredAt: noon.Add(time.Microsecond), AgentID: botID,
			Data: []byte(`{"reason":"a\u0000b","n":1}`),
		},
	)
	s.write(func(tx *readmodels.Tx) error { return tx.Claim(t.Context(), "s1", noon, time.Time{}) })
}

func TestReportsHaveNativeTypesAndStableNames(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db, c := postgres(t, url), conn(t, url)
	reports(t, db)
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, c, "SET timezone = 'Asia/Tokyo'")
	for query, want := range map[string]string{
		"SELECT id || ' ' || organization_id || ' ' || name || ' ' || (owner_id IS NULL) || ' ' || (last_seen_at IS " +
			"NULL) FROM reporting.agents WHERE created_at = " +
			"'2026-04-01T12:00:00Z'": botID + " " + acme + " bot true true",
		"SELECT agent_id || ' ' || number || ' ' || (expires_at IS NULL) FROM reporting.agent_keys WHERE id = " +
			"'" + vended + "'": botID + " 2 true",
		"SELECT name || ' ' || (removed_at IS NULL) || ' ' || (max_grant IS NULL) || ' ' || credential_version FROM " +
			"reporting.tools WHERE id = '" + githubID + "'": "GitHub true true 1",
		"SELECT instructions || ' ' || (restored_from IS NULL) FROM " +
			"reporting.tool_instructions": "be kind true",
		"SELECT status || ' ' || (decided_at - created_at) FROM " +
			"reporting.requests": "approved 01:00:00",
		"SELECT status || ' ' || request_id || ' ' || extract(microseconds FROM expires_at) || ' ' || " +
			"(last_fetched_at IS NULL) FROM " +
			"reporting.grants": "expired " + asked + " 123456 true",
		"SELECT id || ' ' || (data->>'n')::int || ' ' || (data->>'reason') || ' ' || (tool_id IS NULL) || ' ' || " +
			"(occurred_at - timestamptz '2026-04-01T12:00Z') FROM " +
			"reporting.audit_entries": vended + " 1 a\ufffdb true 00:00:00.000001",
		"SELECT tool_id || ' ' || version || ' ' || (agent_id IS NULL) || ' ' || (removed_at IS NULL) || ' ' || " +
			"(replaced_position IS NULL) FROM reporting.credentials WHERE secret_id = " +
			"'" + vended + "'": githubID + " 1 true true true",
		"SELECT agent_id || ' ' || fetch_count || ' ' || (last_fetched_at - first_fetched_at) FROM " +
			"reporting.known_credentials": botID + " 3 00:01:00",
		"SELECT store_id || ' ' || position FROM reporting.progress WHERE store_created = " +
			"'2026-04-01T12:00Z'": "s1 0",
	} {
		if got := scan[string](t, c, query); got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
	types := scan[string](t, c, `SELECT string_agg(table_name || '.' || column_name || ' ' || data_type, E'\n' ORDER BY
	table_name, ordinal_position)
		FROM information_schema.columns WHERE table_schema = 'reporting' AND (column_name ~ '_(at|created)$' OR column_name
		~ '^(id|data|agent_id|organization_id)$')`)
	for line := range strings.SplitSeq(types, "\n") {
		name, kind, _ := strings.Cut(line, " ")
		want := "uuid"
		switch {
		case strings.HasSuffix(name, "_at"), strings.HasSuffix(name, "_created"):
			want = "timestamp with time zone"
		case strings.HasSuffix(name, ".data"):
			want = "jsonb"
		}
		if kind != want {
			t.Errorf("%s is %s, not %s", name, kind, want)
		}
	}
}

// Users who were granted a view keep it, and what they built on it, when the tables are replaced.
func TestReportsOutliveTheTables(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db, c := postgres(t, url), conn(t, url)
	reports(t, db)
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	role := "reader_" + strings.ReplaceAll(scan[string](t, c, "SELECT gen_random_uuid()::text"), "-", "")
	do(
		t, c,
		fmt.Sprintf(
			"CREATE ROLE %s; GRANT USAGE ON SCHEMA reporting TO %s; GRANT SELECT ON ALL TABLES IN SCHEMA reporting "+
				"TO %s; CREATE VIEW mine AS SELECT count(*) AS n FROM reporting.agents",
			role, role, role,
		),
	)
	t.Cleanup(func() { readmodelstest.Do(t, url, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	for n := range 3 {
		beside, err := db.Beside(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range n + 2 {
			(&shelf{t: t, db: beside}).agent(acme, fmt.Sprintf("0198c0de-0000-7000-9000-%012d", i), "again")
		}
		if err := db.Replace(t.Context(), beside, nil); err != nil {
			t.Fatal(err)
		}
		if got := scan[int](t, c, "SELECT n FROM mine"); got != n+2 {
			t.Errorf("what was built on it counts %d agents, not %d", got, n+2)
		}
		reader := conn(t, url)
		do(t, reader, "SET ROLE "+role)
		if got := scan[int](t, reader, "SELECT count(*) FROM reporting.agents"); got != n+2 {
			t.Errorf("a reader counts %d agents, not %d", got, n+2)
		}
	}
	// A report that runs for long delays neither the switch nor queries forever.
	report := conn(t, url)
	do(t, report, "BEGIN; SELECT * FROM reporting.agents")
	beside, err := db.Beside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Replace(t.Context(), beside, nil); err == nil {
		t.Error("the tables were replaced under a report")
	}
	if list, err := db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all); err != nil ||
		len(list.Items) != 4 {
		t.Errorf("%d agents: %v", len(list.Items), err)
	}
	do(t, report, "COMMIT")
	if err := db.Reset(t.Context()); err != nil {
		t.Errorf("after the report: %v", err)
	}
}

func TestEveryColumnIsReportedOrLeftOutOnPurpose(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db, c := postgres(t, url), conn(t, url)
	reports(t, db)
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	unreported := scan[string](t, c, `SELECT coalesce(string_agg(c.table_name || '.' || c.column_name, ' ' ORDER BY
	c.table_name, c.ordinal_position), '')
		FROM information_schema.columns AS c
		WHERE c.table_schema = (SELECT DISTINCT table_schema FROM information_schema.view_column_usage WHERE view_schema =
		'reporting')
		-- as_of, searches, charts and waiting requests ask these, and no report
		AND c.table_name !~ '^past_|^audit_minutes$|^audit_words$|^fetch_counts$|^approvals$'
		AND NOT EXISTS (SELECT FROM information_schema.view_column_usage AS u
			WHERE u.view_schema = 'reporting' AND u.table_schema = c.table_schema AND u.table_name = c.table_name AND
			u.column_name = c.column_name)`)
	omitted := strings.Join([]string{
		"agents.name_folded", "agents.description_folded", // find what name and description say
		"agents.fetch_count", "agents.last_fetched_at", // sums of the grants
		"audit_entries.private", // sealed
		"audit_entries.id_hash", "audit_entries.in_outline", "audit_entries.in_organization",
		"audit_entries.in_agent", "audit_entries.in_tool", "audit_entries.in_access",
		"audit_entries.in_actor", "audit_entries.in_actor_agent",
		"audit_entries.in_actor_tool", // find what other columns say
		"checkpoints.name", "checkpoints.model", "checkpoints.confirmed", "checkpoints.mark",
		"former_names.name_folded",
		"grants.reason_folded", "grants.requested_at", // the request's
		"grants.rule", "note_backers.latest_why_folded", "notes.learned_folded", "requests.reason_folded",
		"rules.id", "rules.organization_id", "rules.name", // decided_by has it, and the audit its version
		"stream_ends.stream", "stream_ends.revision", "stream_ends.link", // how the tables know themselves and the log again
		"suggestion_backers.latest_reason_folded", "suggestions.name_folded", "suggestions.name_searched",
		"tools.name_folded", "tools.skeleton", "tools.description_folded",
		"tools.credential_by_type", "tools.credential_by_id", // the audit has them
		"tools.fetch_count", "tools.last_fetched_at", // sums of the grants
	}, " ")
	if diff := cmp.Diff(omitted, unreported); diff != "" {
		t.Errorf("add the column to a view of reporting.sql, or to this list (-omitted +unreported):\n%s", diff)
	}
}

func TestReportsOfANewerVersionAreReplaced(t *testing.T) {
	url := readmodelstest.Postgres(t)
	var said bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&said, nil))
	db, err := readmodels.OpenPostgres(t.Context(), readmodels.Database{URL: url}, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	c := conn(t, url)
	do(
		t, c,
		"CREATE SCHEMA reporting; CREATE VIEW reporting.progress AS SELECT 'x'::text AS store_id, now() AS "+
			"store_created, 1::bigint AS position, 2 AS more",
	)
	reports(t, db)
	if err := db.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := scan[string](t, c, "SELECT store_id FROM reporting.progress"); got != "s1" {
		t.Errorf("the view shows %s", got)
	}
	if !strings.Contains(said.String(), "recreated") {
		t.Errorf("said %q", &said)
	}
	before := said.Len()
	if err := db.Settle(t.Context()); err != nil || said.Len() != before {
		t.Errorf("again: %v, said %q", err, said.String()[before:])
	}
}
