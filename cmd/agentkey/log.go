package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/commands"
	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/seal"
	"agentkey/readmodels"
)

// The files that we keep in the data folder, beside those of the event store.
const (
	masterKeyFile  = "master-key"
	firstTokenFile = "first-admin-token"
	readModelFile  = "read-model.db"
	ledgerFile     = "ledger.db"
)

// openLog is the event log, open; Close also ends a store that this process serves.
type openLog struct {
	Client *eventstore.Client
	store  *embedded.Store
	served chan error
}

// OpenLog connects to the configured log. With the embedded default it serves the store itself, and
// fails when another process does, unless share lets it use that one's socket.
func OpenLog(ctx context.Context, c Config, share bool, logger *slog.Logger) (*openLog, error) {
	if c.EventStoreURL != "" {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("make the data folder: %w", err)
		}
		return connect(ctx, c.EventStoreURL, logger)
	}
	if socket, served := embedded.FindSocket(c.DataDir); share && served { //nolint:contextcheck // it is only a look
		client, err := eventstore.Open(eventstore.Config{Socket: socket, Logger: logger})
		return &openLog{Client: client}, err
	}
	store, err := embedded.Open(embedded.Options{Dir: c.DataDir, Logger: logger}) //nolint:contextcheck // a store lives until it is closed
	if err != nil {
		return nil, err
	}
	listener, socket, err := store.ListenUnix()
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	l := &openLog{store: store, served: make(chan error, 1)}
	go func() { l.served <- store.Serve(listener, embedded.ServeOptions{}) }() //nolint:contextcheck // as long as the store
	if l.Client, err = eventstore.Open(eventstore.Config{Socket: socket, Logger: logger}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// connect opens an EventStoreDB. It fails within two seconds, with a sentence about why, when the
// log can't be used.
func connect(ctx context.Context, url string, logger *slog.Logger) (*openLog, error) {
	client, err := eventstore.Open(eventstore.Config{URL: url, Logger: logger})
	if err != nil {
		return nil, err
	}
	if err := examineLog(ctx, url); err != nil {
		return nil, errors.Join(fmt.Errorf("open the event log: %w", err), client.Close())
	}
	return &openLog{Client: client}, nil
}

// Close ends the connection, then the store.
func (l *openLog) Close() error {
	var err error
	if l.Client != nil {
		err = l.Client.Close()
	}
	if l.store != nil {
		err = errors.Join(err, l.store.Close(), <-l.served)
	}
	return err
}

func (c *Config) database() readmodels.Database {
	return readmodels.Database{URL: c.DatabaseURL, Schema: c.DatabaseSchema}
}

// openModels opens the read model: in Postgres, or in a file of the data folder.
func openModels(ctx context.Context, c Config, logger *slog.Logger) (*readmodels.DB, error) {
	if c.DatabaseURL != "" {
		db, err := readmodels.OpenPostgres(ctx, c.database(), logger)
		return db, explainPostgres(c.DatabaseURL, err)
	}
	return readmodels.OpenEmbedded(ctx, filepath.Join(c.DataDir, readModelFile), logger)
}

// ledgerDatabase is where the ledger is in Postgres: beside the read model, whose loss it outlives.
func (c *Config) ledgerDatabase() readmodels.Database {
	return readmodels.Database{
		URL: c.DatabaseURL, Schema: cmp.Or(c.DatabaseSchema, readmodels.DefaultSchema) + "_ledger", Connections: 4,
	}
}

// openLedger opens the ledger: in Postgres, or in a file of the data folder.
func openLedger(ctx context.Context, c Config, logger *slog.Logger) (*audit.Tables, error) {
	if c.DatabaseURL != "" {
		tables, err := audit.OpenPostgres(ctx, c.ledgerDatabase(), logger)
		return tables, explainPostgres(c.DatabaseURL, err)
	}
	return audit.OpenEmbedded(ctx, filepath.Join(c.DataDir, ledgerFile), logger)
}

// ring returns the configured master keys, or those in the data folder. A key is made only for an
// empty log.
func ring(c Config, begun bool) (seal.Ring, error) {
	if len(c.MasterKeys) > 0 {
		return seal.NewRing(c.MasterKeys...)
	}
	path := filepath.Join(c.DataDir, masterKeyFile)
	raw, err := readMasterKeys(path)
	if errors.Is(err, fs.ErrNotExist) {
		if begun {
			return seal.Ring{}, commands.ErrMasterKeyRequired
		}
		text, err := seal.NewMasterKeyText()
		if err != nil {
			return seal.Ring{}, err
		}
		if err := writePrivate(path, text+"\n"); err != nil {
			return seal.Ring{}, err
		}
		raw = []byte(text)
	} else if err != nil {
		return seal.Ring{}, fmt.Errorf("read the master key: %w", err)
	}
	var parsed []seal.MasterKey
	for i, line := range strings.Fields(string(raw)) {
		key, err := seal.ParseMasterKey(line)
		if err != nil {
			return seal.Ring{}, fmt.Errorf("%s, line %d: %w", path, i+1, err)
		}
		parsed = append(parsed, key)
	}
	return seal.NewRing(parsed...)
}

// writePrivate puts a text into a file that only this user can read; it is durable when it returns.
func writePrivate(path, text string) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// entrance is what serve does with the tokens of an installation that it begins or joins.
type entrance struct {
	announce func(token string) // a token that was made
	warn     func(text string)
}

// beginning is how this process begins or joins the installation. Only serve, with its entrance,
// carries the configured token over.
func beginning(
	ctx context.Context, c Config, client *eventstore.Client, serving *entrance,
) (*commands.Installation, error) {
	begun, err := commands.Exists(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("read the event log: %w", err)
	}
	if !begun {
		if err := maybeBegun(ctx, c); err != nil {
			return nil, err
		}
	}
	keys, err := ring(c, begun)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.DataDir, firstTokenFile)
	made := ""
	b := commands.Beginning{
		Client: client, Ring: keys, KeepToken: serving == nil, Clock: time.Now, NewID: newID,
		SaveToken: func(text string) error { made = text; return writePrivate(path, text+"\n") },
		DropToken: func() error { made = ""; return os.Remove(path) },
	}
	if serving != nil {
		b.AdminToken, b.Warn = string(c.AdminToken.Reveal()), serving.warn
	}
	inst, err := b.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if made != "" {
		serving.announce(made)
	}
	return inst, keepInstallation(c, inst.Begun.StoreID)
}

// newID returns a UUIDv7, whose random part can't run out.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
