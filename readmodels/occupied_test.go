package readmodels_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

var others = readmodels.Origin{StoreID: "s2", Created: noon}

// TestOfInstallationsThatBeginAtOnceOneOwnsTheDatabase: the versions of two programs have leases of
// their own, so that only the owner keeps them apart.
func TestOfInstallationsThatBeginAtOnceOneOwnsTheDatabase(t *testing.T) {
	t.Parallel()
	url := readmodelstest.Postgres(t)
	for n, versions := range [][2]string{
		{"0123456789ab", "0123456789ab"},
		{"0123456789ab", "ba9876543210"},
		{"0123456789ab", "ba9876543210"},
		{"0123456789ab", "ba9876543210"},
		{"0123456789ab", "ba9876543210"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // one that stands by is at fault
		defer cancel()
		var led atomic.Int32
		var both sync.WaitGroup
		for i, is := range []readmodels.Origin{origin, others} {
			db := acquaint(t, readmodels.Database{URL: url, Schema: fmt.Sprintf("acme%d", n)})
			db.AsVersion(versions[i])
			both.Go(func() {
				_, release, err := db.Lead(ctx, is, alone)
				if err == nil {
					t.Cleanup(release) // not before the other has been refused
					led.Add(1)
					return
				}
				if occupied, ok := errors.AsType[*readmodels.OccupiedError](err); !ok || occupied.By == is.String() {
					t.Errorf("%s: %v", is, err)
				}
			})
		}
		both.Wait()
		if led.Load() != 1 {
			t.Errorf("%v: %d lead", versions, led.Load())
		}
	}
}

func acquaint(t *testing.T, d readmodels.Database) *readmodels.DB {
	t.Helper()
	db := must[*readmodels.DB](t)(readmodels.OpenPostgres(t.Context(), d, slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestADatabaseIsTakenOverFromAnInstallationThatIsGone: an owner that is away for under a minute
// keeps it, also with tables of other versions, and one that returns later is refused itself.
func TestADatabaseIsTakenOverFromAnInstallationThatIsGone(t *testing.T) {
	t.Parallel()
	url := readmodelstest.Postgres(t)
	for name, version := range map[string]string{"of the same version": "", "of another version": "ba9876543210"} {
		t.Run(name, func(t *testing.T) {
			now := noon
			d := readmodels.Database{
				URL: url, Schema: map[bool]string{true: "one", false: "two"}[version == ""],
				Clock: func() time.Time { return now },
			}
			mine, theirs := acquaint(t, d), acquaint(t, d)
			if version != "" {
				theirs.AsVersion(version)
			}
			mine.Guard()
			theirs.Guard()
			lead := func(db *readmodels.DB, is readmodels.Origin) error {
				_, release, err := db.Lead(t.Context(), is, alone)
				if err == nil {
					release()
				}
				return err
			}
			asks := func(db *readmodels.DB) error {
				_, err := db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all)
				return err
			}
			refused := func(what string, err error, by readmodels.Origin, left time.Duration) {
				t.Helper()
				occupied, ok := errors.AsType[*readmodels.OccupiedError](err)
				if !ok || occupied.By != by.String() || occupied.Left != left {
					t.Errorf("%s: %v", what, err)
				}
			}

			if err := asks(mine); !errors.Is(err, readmodels.ErrUnavailable) {
				t.Errorf("before anybody has looked: %v", err)
			}
			if err := errors.Join(lead(mine, origin), asks(mine)); err != nil {
				t.Fatal(err)
			}
			refused("at once", lead(theirs, others), origin, time.Minute)
			refused("a query", asks(theirs), origin, time.Minute)
			now = now.Add(59 * time.Second)
			refused("after 59 seconds", lead(theirs, others), origin, time.Second)
			if err := errors.Join(lead(mine, origin), asks(mine)); err != nil {
				t.Errorf("the owner that was restarted: %v", err)
			}
			refused("after a restart", lead(theirs, others), origin, time.Minute)
			now = now.Add(time.Minute)
			if err := errors.Join(lead(theirs, others), asks(theirs)); err != nil {
				t.Errorf("after a minute: %v", err)
			}

			now = now.Add(6 * time.Second)
			if err := asks(mine); !errors.Is(err, readmodels.ErrUnavailable) {
				t.Errorf("a query of the owner that was away: %v", err)
			}
			refused("the owner that comes back", lead(mine, origin), others, time.Minute)
			_, release, err := theirs.Lead(t.Context(), others, alone)
			if err != nil {
				t.Fatal(err)
			}
			refused("while the new owner lives", lead(mine, origin), others, 0)
			release()
		})
	}
}
