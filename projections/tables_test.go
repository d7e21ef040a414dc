package projections_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

// place is where the tables of a world are, as a process finds them that starts again.
type place struct {
	open func(testing.TB) *readmodels.DB
	drop func(testing.TB)                // what an operator does who wants them gone, while nobody has them open
	ask  func(testing.TB, func(*sql.DB)) // the tables past the program
}

// engine makes a new place.
type engine func(testing.TB) place

var engines = map[string]engine{"embedded": embedded, "postgres": postgres}

// everywhere runs a test on each engine.
func everywhere(t *testing.T, test func(*testing.T, *world)) {
	for name, e := range engines {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, e)) })
	}
}

func embedded(t testing.TB) place {
	path := filepath.Join(t.TempDir(), "read.db")
	return place{
		open: func(t testing.TB) *readmodels.DB {
			t.Helper()
			db, err := readmodels.OpenEmbedded(t.Context(), path, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return db
		},
		drop: func(t testing.TB) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		ask: func(t testing.TB, fn func(*sql.DB)) {
			t.Helper()
			db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			fn(db)
		},
	}
}

func postgres(t testing.TB) place {
	url := readmodelstest.Postgres(t)
	return postgresAt(t, url, url)
}

// pooled is a database which the program reaches through a pooler.
func pooled(t testing.TB) place {
	url := readmodelstest.Postgres(t)
	return postgresAt(t, url, readmodelstest.Pooled(t, url))
}

// onPostgres runs a test on a database that is reached directly and through a pooler.
func onPostgres(t *testing.T, test func(*testing.T, *world)) {
	for name, e := range map[string]engine{"directly": postgres, "through a pooler": pooled} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, e)) })
	}
}

// postgresAt is a database which the program reaches by another way than the test.
func postgresAt(t testing.TB, url, way string) place {
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	ask := func(t testing.TB, fn func(*sql.DB)) {
		t.Helper()
		const find = "SELECT set_config('search_path', nspname, false) FROM pg_namespace WHERE nspname ~ " +
			"'^agentkey_[0-9a-f]{12}$'"
		if err := db.QueryRowContext(t.Context(), find).Scan(new(string)); err != nil {
			t.Fatal(err)
		}
		fn(db)
	}
	return place{
		open: func(t testing.TB) *readmodels.DB {
			t.Helper()
			database := readmodels.Database{URL: way, Vacancy: time.Second}
			db, err := readmodels.OpenPostgres(t.Context(), database, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return db
		},
		drop: func(t testing.TB) {
			t.Helper()
			ask(t, func(db *sql.DB) {
				const drop = "DO $$ BEGIN EXECUTE 'DROP SCHEMA ' || current_schema() || ' CASCADE'; END $$"
				if _, err := db.ExecContext(t.Context(), drop); err != nil {
					t.Fatal(err)
				}
			})
		},
		ask: ask,
	}
}

// keys are the columns that name a row, table by table.
var keys = map[string][]string{
	"organizations": {"id"},
	"agents":        {"id"}, "agent_keys": {"agent_id", "number"}, "tools": {"id"},
	"tool_instructions": {"tool_id", "version"}, "suggestions": {"id"},
	"suggestion_backers": {"suggestion_id", "agent_id"}, "notes": {"id"}, "note_backers": {"note_id", "agent_id"},
	"requests": {"id"}, "approvals": {"request_id", "by_id"},
	"grants": {"agent_id", "tool_id"}, "audit_entries": {"position"}, "checkpoints": {"name"},
	"rules": {"id"}, "notification_channels": {"id"}, "deliveries": {"id"}, "former_names": {"id", "until"},
	"past_agents": {"id", "since"}, "past_agent_keys": {"agent_id", "number", "since"}, "past_tools": {"id", "since"},
	"past_requests": {"id", "since"}, "past_grants": {"agent_id", "tool_id", "since"},
	"past_suggestions": {"id", "since"}, "past_suggestion_backers": {"suggestion_id", "agent_id", "since"},
	"audit_minutes": {"organization_id", "minute"}, "audit_words": {"word", "position"}, "credentials": {"secret_id"},
	"known_credentials": {"agent_id", "secret_id"}, "master_keys": {"id"},
	"fetch_counts": {"organization_id", "agent_id", "tool_id", "hours", "hour"},
}

// stored is every row of every table: the columns by the name of the row, such as "grants
// bot/github".
type stored map[string]map[string]string

func (w *world) dump() stored {
	w.t.Helper()
	out := stored{}
	w.place.ask(w.t, func(db *sql.DB) {
		for table, key := range keys {
			if err := out.read(w.t.Context(), db, table, key); err != nil {
				w.t.Fatal(err)
			}
		}
	})
	return out
}

func (s stored) read(ctx context.Context, db *sql.DB, table string, key []string) error {
	rows, err := db.QueryContext(ctx, "SELECT * FROM "+table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		row, values := map[string]string{}, make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return err
		}
		for i, c := range columns {
			row[c] = fmt.Sprint(*values[i].(*any))
		}
		var id []string
		for _, k := range key {
			id = append(id, row[k])
			delete(row, k)
		}
		s[table+" "+strings.Join(id, "/")] = row
	}
	return rows.Err()
}

// afresh is what new tables hold that were filled from the whole log.
func (w *world) afresh() stored {
	w.t.Helper()
	fresh := world{t: w.t, store: w.store, log: w.log, place: w.engine(w.t), idle: idle}
	fresh.open()
	defer fresh.close()
	fresh.reached(w.head())
	return fresh.dump()
}

// rows are the rows without the position of the checkpoint. It moves on by itself, over what the
// store writes for itself after our last event, so two tables that hold the same may have been
// asked before and after.
func (s stored) rows() stored {
	const checkpoint = "checkpoints read_model"
	out := maps.Clone(s)
	if row := maps.Clone(s[checkpoint]); row != nil {
		delete(row, "position")
		out[checkpoint] = row
	}
	return out
}

// only keeps the rows of some tables.
func (s stored) only(tables ...string) stored {
	out := maps.Clone(s)
	maps.DeleteFunc(out, func(name string, _ map[string]string) bool {
		table, _, _ := strings.Cut(name, " ")
		return !slices.Contains(tables, table)
	})
	return out
}

// changes says what became of the tables but for the audit, the past, the checkpoint, and how many
// fetches there were: new rows with the columns that hold something, changed ones with the columns
// that changed. Times are told from now, positions from here.
func changes(before, after stored, now time.Time, here uint64) []string {
	tables := slices.DeleteFunc(
		slices.Collect(maps.Keys(keys)), func(t string) bool {
			return t == "checkpoints" || t == "fetch_counts" || strings.HasPrefix(t, "audit_") || strings.HasPrefix(t, "past_")
		},
	)
	before, after = before.only(tables...), after.only(tables...)
	var out []string
	for name, row := range after {
		old, was := before[name]
		var columns []string
		for _, c := range slices.Sorted(maps.Keys(row)) {
			if (was && row[c] != old[c]) || (!was && row[c] != "" && row[c] != "0") {
				columns = append(columns, c+"="+told(c, row[c], now, here))
			}
		}
		if until, at := strings.CutSuffix(name, fmt.Sprint("/", here)); at {
			name = until + "/here"
		}
		switch {
		case !was:
			out = append(out, "+"+name+": "+strings.Join(columns, " "))
		case len(columns) > 0:
			out = append(out, name+": "+strings.Join(columns, " "))
		}
	}
	for name := range before {
		if _, is := after[name]; !is {
			out = append(out, "-"+name)
		}
	}
	slices.Sort(out)
	return out
}

func told(column, value string, now time.Time, here uint64) string {
	switch {
	case value == org:
		return "org"
	case value == admin.ID:
		return "admin"
	case (strings.HasSuffix(column, "position") || column == "place") && value == fmt.Sprint(here):
		return "here"
	case (strings.HasSuffix(column, "_at") || strings.HasSuffix(column, "_until")) && value != "0":
		var micros int64
		_, _ = fmt.Sscan(value, &micros)
		return "now" + strings.TrimPrefix(fmt.Sprintf("%+d", time.UnixMicro(micros).Sub(now)/time.Second), "+0")
	}
	return value
}
