package readmodels_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

func TestExaminingLeavesAFileAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "read-model.db")
	if _, err := readmodels.ReadModel.ExamineEmbedded(t.Context(), path); !errors.Is(err, readmodels.ErrNoTables) {
		t.Errorf("of a file that is not there: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was made")
	}
	db, err := readmodels.OpenEmbedded(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if reached, err := readmodels.ReadModel.ExamineEmbedded(t.Context(), path); err != nil || reached.Position != 0 {
		t.Errorf("of empty tables that are open: %v %v", reached, err)
	}
	const garbage = "no database, but a text that is long enough to look at"
	if err := os.WriteFile(path+".other", []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readmodels.ReadModel.ExamineEmbedded(t.Context(), path+".other"); err == nil ||
		errors.Is(err, readmodels.ErrNoTables) {
		t.Errorf("of a file that is not a database: %v", err)
	}
	if text, err := os.ReadFile(path + ".other"); err != nil || string(text) != garbage {
		t.Errorf("it is now %q: %v", text, err)
	}
}

func TestExaminingLeavesADatabaseAsItIs(t *testing.T) {
	url := readmodelstest.Postgres(t)
	for range 2 {
		_, _, err := readmodels.ReadModel.ExaminePostgres(t.Context(), readmodels.Database{URL: url})
		if !errors.Is(err, readmodels.ErrNoTables) {
			t.Errorf("of an empty database: %v", err)
		}
	}
	db, err := readmodels.OpenPostgres(context.Background(), readmodels.Database{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reached, owner, err := readmodels.ReadModel.ExaminePostgres(t.Context(), readmodels.Database{URL: url})
	if err != nil || reached.Position != 0 || owner != "" {
		t.Errorf("of empty tables: %v, of %q: %v", reached, owner, err)
	}
	_, _, err = readmodels.ReadModel.ExaminePostgres(t.Context(), readmodels.Database{
		URL: "postgres://agentkey:canary@127.0.0.1:1/agentkey",
	})
	if err == nil || errors.Is(err, readmodels.ErrNoTables) || strings.Contains(err.Error(), "canary") {
		t.Errorf("of a database that is not there: %v", err)
	}
}
