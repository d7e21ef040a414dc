package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agentkey/audit"
	"agentkey/readmodels"
)

// installationFile holds the store id of the installation that a data folder is used with, keys
// included.
const installationFile = "installation"

// memory is something that belongs to an installation.
type memory struct{ what, storeID string }

// remembered returns what a process finds of installations when the log has none: the folder of a
// log that is gone, a wrong mount and the URL of an empty cluster look like a first start. A
// configured master key, and a key file of a start that was killed half-way, remember nothing.
func remembered(ctx context.Context, c Config) ([]memory, error) {
	path := filepath.Join(c.DataDir, installationFile)
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which installation the data folder belongs to: %w", err)
	}
	mark, err := readMark(filepath.Join(c.DataDir, markFile))
	if err != nil {
		return nil, err
	}
	var rows, entries readmodels.Checkpoint
	var owner string
	ledger := "the ledger in " + filepath.Join(c.DataDir, ledgerFile)
	model := "the read model in " + filepath.Join(c.DataDir, readModelFile)
	if c.DatabaseURL != "" {
		model = "the read model in the database of AGENTKEY_DATABASE_URL"
		ledger = "the ledger in the database of AGENTKEY_DATABASE_URL"
		rows, owner, err = readmodels.ReadModel.ExaminePostgres(ctx, c.database())
		if err == nil || errors.Is(err, readmodels.ErrNoTables) {
			entries, _, err = audit.Model.ExaminePostgres(ctx, c.ledgerDatabase())
		}
		if err != nil && !errors.Is(err, readmodels.ErrNoTables) {
			return nil, fmt.Errorf(
				"the event log is empty, and the database that may know of another one can't be asked, so nothing is "+
					"begun: %w", explainPostgres(c.DatabaseURL, err),
			)
		}
	} else {
		// A file that can't be used is disposable and is made again.
		rows, err = readmodels.ReadModel.ExamineEmbedded(ctx, filepath.Join(c.DataDir, readModelFile))
		if err != nil {
			rows = readmodels.Checkpoint{}
		}
		if entries, err = audit.Model.ExamineEmbedded(ctx, filepath.Join(c.DataDir, ledgerFile)); err != nil {
			entries = readmodels.Checkpoint{}
		}
	}
	found := []memory{
		{"the data folder " + c.DataDir, strings.TrimSpace(string(text))},
		{"the high-water mark in " + filepath.Join(c.DataDir, markFile), mark.StoreID},
		{model, rows.StoreID},
		{model, readmodels.OwnerID(owner)},
		{ledger, entries.StoreID},
	}
	return slices.DeleteFunc(found, func(m memory) bool { return m.storeID == "" }), nil
}

// maybeBegun refuses to begin an installation while something remembers another one that the
// operator hasn't given up.
func maybeBegun(ctx context.Context, c Config) error {
	found, err := remembered(ctx, c)
	if err != nil {
		return err
	}
	for _, m := range found {
		if !slices.Contains(c.Abandoned, m.storeID) {
			return fmt.Errorf(
				"the event log is empty, but %s belongs to the installation %s: put its log back, or correct the folder, "+
					"mount or URL of the log. To give that installation up and begin a new one, set AGENTKEY_ABANDON=%s",
				m.what, m.storeID, m.storeID,
			)
		}
	}
	return nil
}

// keepInstallation notes which installation the data folder is used with.
func keepInstallation(c Config, storeID string) error {
	path := filepath.Join(c.DataDir, installationFile)
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if err == nil && strings.TrimSpace(string(text)) == storeID {
		return nil
	}
	return writePrivate(path, storeID+"\n")
}
