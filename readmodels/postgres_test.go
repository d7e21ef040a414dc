package readmodels_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

// conn is a connection past the program.
func conn(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// scan returns the one row of a query.
func scan[T any](t *testing.T, c *pgx.Conn, query string, args ...any) T {
	t.Helper()
	rows, err := c.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return must[T](t)(pgx.CollectExactlyOneRow(rows, pgx.RowTo[T]))
}

func do(t *testing.T, c *pgx.Conn, statement string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// everyWay runs a test on a database that the program reaches directly, and through a pooler.
func everyWay(t *testing.T, test func(t *testing.T, url, way string)) {
	t.Run("directly", func(t *testing.T) {
		url := readmodelstest.Postgres(t)
		test(t, url, url)
	})
	t.Run("through a pooler", func(t *testing.T) {
		url := readmodelstest.Postgres(t)
		test(t, url, readmodelstest.Pooled(t, url))
	})
}

const liveSchema = "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^agentkey_[0-9a-f]{12}$'"

func TestProcessesThatStartAtOnceMakeOneSetOfTables(t *testing.T) {
	everyWay(t, func(t *testing.T, url, way string) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db, err := readmodels.OpenPostgres(t.Context(), readmodels.Database{URL: way}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Error(err)
					return
				}
				if at, err := db.ReadCheckpoint(t.Context()); err != nil || at != (readmodels.Checkpoint{}) {
					t.Errorf("it is at %+v: %v", at, err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c := conn(t, url)
		do(t, c, "SET search_path = "+scan[string](t, c, liveSchema)) // exactly one
		if n := scan[int](t, c, "SELECT count(*) FROM checkpoints"); n != 1 {
			t.Errorf("%d checkpoints", n)
		}
		(&shelf{t: t, db: postgres(t, way)}).agent(acme, "a1", "One")
		if a, err := postgres(t, way).Agent(t.Context(), acme, "a1", noon); err != nil || a.Name != "One" {
			t.Errorf("who comes later finds %+v: %v", a, err)
		}
	})
}

func TestUnusableTablesAreMadeAgain(t *testing.T) {
	for name, damage := range map[string]string{
		"another version made them":       "UPDATE checkpoints SET model = 'older'",
		"the checkpoint is missing":       "DELETE FROM checkpoints",
		"the table of it is missing":      "DROP TABLE checkpoints",
		"a process died while it made it": "DROP TABLE checkpoints, grants",
	} {
		t.Run(name, func(t *testing.T) {
			url := readmodelstest.Postgres(t)
			(&shelf{t: t, db: postgres(t, url)}).agent(acme, "a1", "One")
			c := conn(t, url)
			do(t, c, "SET search_path = "+scan[string](t, c, liveSchema))
			do(t, c, damage)
			db := postgres(t, url)
			if list, err := db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all); err != nil ||
				len(list.Items) != 0 {
				t.Errorf("it holds %+v: %v", list, err)
			}
			(&shelf{t: t, db: db}).agent(acme, "a1", "One")
		})
	}
}

func TestLeasesThatAreGoneAreMadeAgainAndTheRowsStay(t *testing.T) {
	url := readmodelstest.Postgres(t)
	(&shelf{t: t, db: postgres(t, url)}).agent(acme, "a1", "One")
	do(t, conn(t, url), "DROP SCHEMA agentkey CASCADE")
	db := postgres(t, url)
	if a, err := db.Agent(t.Context(), acme, "a1", noon); err != nil || a.Name != "One" {
		t.Errorf("it holds %+v: %v", a, err)
	}
	led, release := lead(t, db, alone)
	defer release()
	within(t, "leading", led)
}

func TestAServerThatRefusesIsAnError(t *testing.T) {
	good, err := url.Parse(readmodelstest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	user, database := *good, *good
	user.User = url.UserPassword("nobody", "hunter2")
	database.Path = "/nothing"
	for _, text := range []string{
		"postgres://u:hunter2@ho st:5432/x", "mysql://u:hunter2@host/x", "postgres://u:hunter2@host:port/x",
		user.String(), database.String(),
	} {
		db, err := readmodels.OpenPostgres(t.Context(), readmodels.Database{URL: text}, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = db.Close()
			t.Errorf("%s is taken", text)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// Without Postgres agents still get credentials: a process starts, answers no query, and continues
// when it is there.
func TestAServerThatIsAwayIsWaitedFor(t *testing.T) {
	wire := readmodelstest.NewWire(t, readmodelstest.Postgres(t))
	wire.Cut()
	var said bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&said, nil))
	db, err := readmodels.OpenPostgres(t.Context(), readmodels.Database{URL: wire.URL}, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if !strings.Contains(said.String(), "can't be reached yet") {
		t.Errorf("said %q", &said)
	}
	write := func() error {
		return db.Write(t.Context(), func(tx *readmodels.Tx) error { return tx.TouchAgent(t.Context(), "a1") })
	}
	if err := write(); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("a write: %v", err)
	}
	if _, err := db.Agent(t.Context(), acme, "a1", noon); err == nil || errors.Is(err, readmodels.ErrNotFound) {
		t.Errorf("a query: %v", err)
	}
	if _, _, err := db.Lead(t.Context(), origin, alone); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("the lead: %v", err)
	}
	if _, err := db.Beside(t.Context()); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("beside: %v", err)
	}
	wire.Mend()
	_, release, err := db.Lead(t.Context(), origin, alone)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	(&shelf{t: t, db: db}).agent(acme, "a1", "One")

	wire.Stall()
	if _, err := db.Agent(t.Context(), acme, "a1", noon); err == nil { // while it still hangs
		t.Error("a server that hangs has answered")
	}
	wire.Cut()
	if err := write(); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("a write when it is away again: %v", err)
	}
	wire.Mend()
	if err := write(); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// What lies in the data is not blamed on the store, or the store's ills on the data.
func TestWhatAnErrorLiesIn(t *testing.T) {
	url := readmodelstest.Postgres(t)
	db := postgres(t, url)
	s := &shelf{t: t, db: db}
	s.agent(acme, "a1", "One")
	again := func(tx *readmodels.Tx) error {
		return tx.InsertAgent(t.Context(), readmodels.InsertAgentParams{ID: "a1", OrganizationID: acme})
	}
	if err := db.Write(t.Context(), again); err == nil || errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("a row that is there: %v", err)
	}
	if err := db.Write(
		t.Context(), func(*readmodels.Tx) error { return errors.New("no") },
	); errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("an error of the writer: %v", err)
	}
	c := conn(t, url)
	kill := func(tx *readmodels.Tx) error {
		if err := tx.Claim(t.Context(), "s1", noon, time.Time{}); err != nil { // sent at once
			return err
		}
		do(
			t, c,
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "+
				"pg_backend_pid()",
		)
		return tx.TouchAgent(t.Context(), "a1")
	}
	if err := db.Write(t.Context(), kill); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("a connection that was ended in the middle: %v", err)
	}
	if at, err := db.ReadCheckpoint(t.Context()); err != nil || at.StoreID != "" {
		t.Errorf("it left %+v: %v", at, err)
	}
	do(t, c, "DROP SCHEMA "+scan[string](t, c, liveSchema)+" CASCADE")
	if err := db.Write(t.Context(), again); !errors.Is(err, readmodels.ErrUnavailable) {
		t.Errorf("without tables: %v", err)
	}
}

// alone is for a process that nobody waits for while it stands by.
func alone(readmodels.Checkpoint) <-chan struct{} { return nil }

// origin is of the log that tests claim tables for.
var origin = readmodels.Origin{StoreID: "s1", Created: noon}

// lead takes the lead in the background and sends the context of it.
func lead(
	t *testing.T, db *readmodels.DB, standby func(readmodels.Checkpoint) <-chan struct{},
) (led chan context.Context, release func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	led, ended := make(chan context.Context, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lead, release, err := db.Lead(ctx, origin, standby)
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("lead: %v", err)
			}
			return
		}
		led <- lead
		<-ctx.Done()
		release()
	}()
	return led, func() {
		stop()
		<-ended
	}
}

// patience is when a wait gives up: late enough that a busy machine never looks like a fault.
const patience = 3 * time.Minute

func within[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("not %s within %s", what, patience)
		panic("unreachable")
	}
}

func TestOneLeadsAndAnotherTakesItsPlace(t *testing.T) {
	everyWay(t, func(t *testing.T, url, way string) {
		first, second := postgres(t, way), postgres(t, way)
		led, release := lead(t, first, func(readmodels.Checkpoint) <-chan struct{} {
			t.Error("the first stands by")
			return nil
		})
		ctx := within(t, "leading", led)

		heard, waiting := make(chan readmodels.Checkpoint), make(chan struct{})
		close(waiting)
		standing, stood := context.WithCancel(t.Context())
		next, releaseNext := lead(t, second, func(at readmodels.Checkpoint) <-chan struct{} {
			select {
			case heard <- at:
			case <-standing.Done():
			}
			return waiting
		})
		defer releaseNext()
		if at := within(t, "standing by", heard); at != (readmodels.Checkpoint{}) {
			t.Errorf("it is at %+v", at)
		}
		s := &shelf{t: t, db: first}
		s.write(func(tx *readmodels.Tx) error { return tx.Claim(t.Context(), "s1", noon, time.Time{}) })
		for n := range uint64(20) {
			s.write(func(tx *readmodels.Tx) error { return tx.Move(t.Context(), "s1", n, n+1, "") })
			for within(t, "a commit is announced", heard).Position != n+1 { //nolint:revive // until it is
			}
		}
		stood()
		select {
		case <-next:
			t.Fatal("two lead")
		default:
		}
		if ctx.Err() != nil {
			t.Fatal("the first no longer leads")
		}
		release()
		if <-ctx.Done(); ctx.Err() == nil {
			t.Error("who gave the lead back still has it")
		}
		ctx = within(t, "leading after the first", next)

		// The clock of the server jumped, or the process was suspended: another one took the lease.
		// It learns that.
		last, releaseLast := lead(t, postgres(t, way), alone)
		defer releaseLast()
		do(t, conn(t, url), "UPDATE agentkey.leases SET holder = 'another', ends_at = now() + interval '3 seconds'")
		within(t, "told that it no longer leads", ctx.Done())
		if err := context.Cause(ctx); !errors.Is(err, readmodels.ErrUnavailable) {
			t.Errorf("because of %v", err)
		}
		within(t, "leading after the second", last)
	})
}

func TestALeaderThatHearsNothingStopsLeading(t *testing.T) {
	url := readmodelstest.Postgres(t)
	wire := readmodelstest.NewWire(t, url)
	led, release := lead(t, postgres(t, wire.URL), alone)
	ctx := within(t, "leading", led)
	next, releaseNext := lead(t, postgres(t, url), alone)
	defer releaseNext()
	wire.Stall()
	within(t, "told that it no longer leads", ctx.Done())
	within(t, "leading after it", next)
	wire.Cut()
	release()
}

// A process that is killed gives nothing back.
func TestAKilledLeaderIsReplaced(t *testing.T) {
	const variable = "READMODELS_TEST_LEADS"
	if url := os.Getenv(variable); url != "" {
		_, _, err := postgres(t, url).Lead(t.Context(), origin, alone)
		fmt.Println("leads:", err) // to its parent
		select {}
	}
	name := t.Name()
	everyWay(t, func(t *testing.T, url, way string) {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+name+"$")
		child.Env = append(os.Environ(), variable+"="+way)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "leads: <nil>\n" {
			t.Fatalf("the child says %q: %v", line, err)
		}
		standing := make(chan struct{}, 1000)
		led, release := lead(t, postgres(t, way), func(readmodels.Checkpoint) <-chan struct{} {
			standing <- struct{}{}
			return nil
		})
		defer release()
		within(t, "standing by", standing)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		if !scan[bool](t, conn(t, url), "SELECT ends_at <= now() + interval '5 seconds' FROM agentkey.leases") {
			t.Error("it is not replaced within six seconds")
		}
		within(t, "leading", led)
	})
}
