// Package readmodelstest gives tests databases of their own on a real Postgres.
package readmodelstest

import (
	"context"
	"net/url"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Postgres returns the URL of a new, empty database on the server that TEST_DATABASE_URL names. It
// goes with the test, connections that still use it.
func Postgres(t testing.TB) string {
	t.Helper()
	server, err := url.Parse(os.Getenv("TEST_DATABASE_URL")) //nolint:forbidigo // this is how tests are told
	if err != nil || server.Host == "" {
		t.Fatal("TEST_DATABASE_URL names no Postgres server: run the tests with scripts/postgres go test …")
	}
	name := "test_" + uuid.NewString()
	admin := server.String()
	Do(t, admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0")
	t.Cleanup(func() { Do(t, admin, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)") })
	server.Path = "/" + name
	return server.String()
}

// Pooled returns another URL of a database that came from Postgres: it leads through the PgBouncer
// that TEST_POOLER_URL names.
func Pooled(t testing.TB, database string) string {
	t.Helper()
	pooler, err := url.Parse(os.Getenv("TEST_POOLER_URL")) //nolint:forbidigo // this is how tests are told
	if err != nil || pooler.Host == "" {
		t.Fatal("TEST_POOLER_URL names no PgBouncer: run the tests with scripts/engines go test …")
	}
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = pooler.Host
	return u.String()
}

// Do runs statements on a connection of its own, also when the test is over.
func Do(t testing.TB, server, statement string) {
	t.Helper()
	ctx := context.Background() // cleaning up has no test's context any more
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to TEST_DATABASE_URL: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
