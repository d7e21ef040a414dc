package readmodels_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"agentkey/readmodels"
	"agentkey/readmodels/readmodelstest"
)

// onEngines measures on an empty read model of each engine.
func onEngines(b *testing.B, measure func(*testing.B, *readmodels.DB)) {
	b.Helper()
	logger := slog.New(slog.DiscardHandler)
	for name, open := range map[string]func() (*readmodels.DB, error){
		"embedded": func() (*readmodels.DB, error) {
			return readmodels.OpenEmbedded(b.Context(), filepath.Join(b.TempDir(), "read.db"), logger)
		},
		"postgres": func() (*readmodels.DB, error) {
			return readmodels.OpenPostgres(b.Context(), readmodels.Database{URL: readmodelstest.Postgres(b)}, logger)
		},
	} {
		b.Run(name, func(b *testing.B) {
			db, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			measure(b, db)
		})
	}
}
