// Package embedded is an event store for one machine: a server of EventStoreDB's gRPC protocol on
// SQLite, so that the official client is the only way to the log in every deployment. It has group
// commit, survives kill -9, and holds its data folder for itself. It has no persistent
// subscriptions, projections, links or clusters.
package embedded

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	_ "modernc.org/sqlite" // the driver
)

// Options says where and how a store runs.
type Options struct {
	Dir      string           // made with mode 0700 when absent
	Logger   *slog.Logger     // nil: nothing is said
	Clock    func() time.Time // stamps events and ages them; nil: the system's
	MaxBytes int64            // the database file grows no further; 0: as far as the disk
	Fatal    func(error)      // after a failed commit the page cache can't be trusted; nil: the process ends
}

// Store is an open event store. Positions are sequence numbers from 1; a reader sees a position
// only when all before it are durable.
type Store struct {
	opts   Options
	lock   *os.File
	dsn    string
	write  *sql.DB // one connection
	reads  *sql.DB
	side   *sql.DB // copies the WAL into the file beside the writer
	writer *writer
	infos  *infos
	pages  *pages

	tail tail

	archives atomic.Pointer[[]*archive] // oldest first

	head    atomic.Uint64 // newest durable position
	changed *signal

	mu       sync.Mutex
	servers  []*grpc.Server
	sockets  []string
	closing  chan struct{}
	closed   bool
	drained  bool // nothing more may be written
	workers  sync.WaitGroup
	stopWork context.CancelFunc

	unclean atomic.Bool // the WAL may still hold what was deleted
}

//go:embed schema.sql
var schema string

// schemaVersion is SQLite's user_version of the files that this package writes.
const schemaVersion = 1

const fileName = "events.db"

// Open takes the data folder and opens the store in it. A folder that another process holds is
// refused with the holder's process id.
func Open(opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now //nolint:forbidigo // the default clock of a program that is also run alone
	}
	if opts.Fatal == nil {
		opts.Fatal = func(err error) {
			opts.Logger.Error(
				"the event store stops, because what it committed can't be trusted", slog.String("error", err.Error()),
			)
			os.Exit(1)
		}
	}
	// Others find the socket by what is noted in the folder, whatever their working directory is.
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	opts.Dir = dir
	lock, err := takeFolder(opts.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, lock: lock, infos: newInfos(), changed: newSignal(), closing: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.unclean.Store(true) // the process before may have ended between a deletion and the emptying of its WAL
	ctx, cancel := context.WithCancel(context.Background())
	s.stopWork = cancel
	s.workers.Go(s.writer.run)
	s.workers.Go(func() { s.housekeep(ctx) })
	s.workers.Go(func() { s.checkArchives(ctx) })
	return s, nil
}

func (s *Store) open() error {
	path := filepath.Join(s.opts.Dir, fileName)
	// A connection keeps few pages: the system keeps the file in memory anyway.
	s.dsn = "file:" + uriPath(path) + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=secure_delete(1)" +
		"&_pragma=wal_autocheckpoint(0)&_pragma=cache_size(-256)"
	var err error
	if s.write, err = sql.Open(
		"sqlite",
		s.dsn+fmt.Sprintf("&_txlock=immediate&_pragma=cache_size(-2048)&_pragma=journal_size_limit(%d)", walLimit),
	); err != nil {
		return fmt.Errorf("open the event store: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	if s.reads, err = sql.Open("sqlite", s.dsn+"&_pragma=query_only(1)"); err != nil {
		return fmt.Errorf("open the event store: %w", err)
	}
	// While it empties the WAL the writer waits, so it must not wait long itself for readers.
	if s.side, err = sql.Open(
		"sqlite", strings.Replace(s.dsn, "busy_timeout(5000)", "busy_timeout(50)", 1),
	); err != nil {
		return fmt.Errorf("open the event store: %w", err)
	}
	s.side.SetMaxOpenConns(1)
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	ctx := context.Background()
	if err := s.prepareFile(ctx, path); err != nil {
		return err
	}
	if s.pages, err = newPages(ctx, s.reads); err != nil {
		return err
	}
	if err := s.openArchives(ctx); err != nil {
		return err
	}
	var head sql.NullInt64
	if err := s.write.QueryRowContext(ctx, `select max(pos) from events`).Scan(&head); err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	s.head.Store(uint64(head.Int64)) //nolint:gosec // positions begin at 1
	s.writer, err = newWriter(ctx, s)
	return err
}

func (s *Store) prepareFile(ctx context.Context, path string) error {
	var version int
	if err := s.write.QueryRowContext(ctx, `pragma user_version`).Scan(&version); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	switch {
	case version == 0:
		if _, err := s.write.ExecContext(ctx, schema); err != nil {
			return fmt.Errorf("create %s: %w", path, err)
		}
	case version > schemaVersion:
		return fmt.Errorf(
			"%s was written by a newer version of agentkey (format %d, this one knows %d)", path, version,
			schemaVersion,
		)
	}
	if s.opts.MaxBytes > 0 {
		if _, err := s.write.ExecContext(
			ctx, fmt.Sprintf(`pragma max_page_count = %d`, s.opts.MaxBytes/4096),
		); err != nil {
			return fmt.Errorf("bound %s: %w", path, err)
		}
	}
	return os.Chmod(path, 0o600)
}

// Close stops in an order that loses nothing: subscriptions end, calls under way finish for at most
// five seconds, the writer commits what it has, the database closes, and the folder is free again.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	servers := s.servers
	s.mu.Unlock()
	close(s.closing)
	for _, server := range servers {
		stop(server)
	}
	s.stopWork()
	s.mu.Lock()
	close(s.writer.requests)
	s.drained = true
	s.mu.Unlock()
	s.workers.Wait()
	return s.release()
}

// stop ends a server gracefully, and after five seconds anyhow.
func stop(server *grpc.Server) {
	done := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		server.Stop()
		<-done
	}
}

func (s *Store) release() error {
	errs := []error{s.closeArchives()}
	for _, db := range []*sql.DB{s.reads, s.side, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.dropSockets()
	errs = append(errs, leaveFolder(s.lock))
	return errors.Join(errs...)
}

var errClosing = errors.New("the event store is closing")

// submit hands a request to the writer and waits for its reply.
func (s *Store) submit(ctx context.Context, r *request) error {
	s.mu.Lock()
	if s.drained {
		s.mu.Unlock()
		return errClosing
	}
	select {
	case s.writer.requests <- r: // the queue is longer than what gRPC lets in at a time
		s.mu.Unlock()
	default:
		s.mu.Unlock()
		return errBusy
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errBusy = errors.New("too many appends wait")

// Head returns the newest durable position, 0 when there is none.
func (s *Store) Head() uint64 { return s.head.Load() }

// signal wakes everybody who waits for new events.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// wait returns a channel that is closed at the next broadcast.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
