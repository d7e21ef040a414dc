package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/domain/agent"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// ErrNotFound is the answer for what the ledger of the organization doesn't hold.
var ErrNotFound = errors.New("there is no such thing in the ledger")

// NotCoveredError is the answer for what no checkpoint covers yet.
type NotCoveredError struct{ RetryAfter time.Duration }

// Error implements error.
func (e *NotCoveredError) Error() string { return "no checkpoint covers it yet" }

// notCovered says when to ask again: a checkpoint follows within After, and its event a moment
// later.
func (l *Ledger) notCovered() error { return &NotCoveredError{l.After + 10*time.Second} }

// Checkpoint returns the newest signed note of an organization, or a *NotCoveredError before the
// first.
func (l *Ledger) Checkpoint(ctx context.Context, organization string) (note string, err error) {
	err = l.covered(ctx, organization, func(s *signedTree) error {
		note = s.note
		return nil
	})
	return note, err
}

// signedTree is a tree as its newest checkpoint has it.
type signedTree struct {
	*hashes

	size int64
	note string
}

// covered runs fn on the tree of an organization, all of it at one moment or a later one: nothing
// that a checkpoint covers ever changes.
func (l *Ledger) covered(ctx context.Context, organization string, fn func(*signedTree) error) error {
	return l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		var s signedTree
		var number int64
		err := q.QueryRowContext(
			ctx, "SELECT t.tree, t.signed, n.note FROM trees AS t JOIN notes AS n ON n.tree = t.tree AND n.size = t.signed "+
				"WHERE t.organization_id = $1", organization,
		).Scan(&number, &s.size, &s.note)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return l.notCovered()
		case err != nil:
			return fmt.Errorf("read the tree of %s: %w", organization, err)
		}
		s.hashes = hashesOf(ctx, q, number)
		if s.note, err = s.cosigned(s.size, s.note); err != nil {
			return err
		}
		return fn(&s)
	})
}

// cosigned returns a checkpoint with the signatures of witnesses, in the order of their names.
func (h *hashes) cosigned(size int64, note string) (string, error) {
	err := each(h.ctx, h.q, func(rows *sql.Rows) error {
		var line string
		err := rows.Scan(&line)
		note += line + "\n"
		return err
	}, "SELECT line FROM cosignatures WHERE tree = $1 AND size = $2 ORDER BY witness", h.tree, size)
	if err != nil {
		err = fmt.Errorf("read the cosignatures of a checkpoint: %w", err)
	}
	return note, err
}

// Proof proves that an event of an organization is in its newest checkpoint. Errors: ErrNotFound,
// *NotCoveredError.
func (l *Ledger) Proof(ctx context.Context, organization string, id uuid.UUID) (formats.Proof, error) {
	at, err := l.find(ctx, organization, id)
	if err != nil {
		return formats.Proof{}, err
	}
	return l.prove(ctx, organization, at)
}

func (l *Ledger) prove(ctx context.Context, organization string, at place) (p formats.Proof, err error) {
	err = l.covered(ctx, organization, func(s *signedTree) error {
		if at.index >= s.size {
			return l.notCovered()
		}
		path, err := tlog.ProveRecord(s.size, at.index, s)
		if err != nil {
			return fmt.Errorf("prove the entry %d of %s: %w", at.index, organization, err)
		}
		p = formats.Proof{Index: at.index, Size: s.size, Leaf: at.entry.Leaf(), Hashes: path, Checkpoint: s.note}
		return nil
	})
	return p, err
}

// place is where an event is.
type place struct {
	index    int64
	entry    formats.Entry
	stream   string
	revision uint64
}

// arriveTime is how long an event that the log may hold is waited for.
const arriveTime = 2 * time.Second

// find looks an event up. One that the ledger doesn't know may have come just now, so it is looked
// for again when the ledger has everything.
func (l *Ledger) find(ctx context.Context, organization string, id uuid.UUID) (place, error) {
	at, err := l.lookUp(ctx, organization, id)
	if !errors.Is(err, ErrNotFound) {
		return at, err
	}
	head, err := l.Log.Client.Head(ctx)
	if err != nil {
		return place{}, fmt.Errorf("read the end of the log: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, arriveTime)
	defer cancel()
	if err := l.WaitFor(limited, head); err != nil {
		if ctx.Err() != nil {
			return place{}, ctx.Err()
		}
		return place{}, l.notCovered()
	}
	return l.lookUp(ctx, organization, id)
}

func (l *Ledger) lookUp(ctx context.Context, organization string, id uuid.UUID) (at place, err error) {
	err = l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		var entry []byte
		var revision int64
		err := q.QueryRowContext(ctx, `SELECT l.idx, l.entry, l.revision, s.name FROM leaves AS l
			JOIN trees AS t ON t.tree = l.tree JOIN streams AS s ON s.number = l.stream
			WHERE l.event_id = $1 AND t.organization_id = $2`, id[:], organization,
		).Scan(&at.index, &entry, &revision, &at.stream)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		copy(at.entry[:], entry)
		at.revision = uint64(revision) //nolint:gosec // it was one
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("look up an event in the ledger: %w", err)
	}
	return at, err
}

// Consistency proves that the tree of one size begins with that of another. Errors: a
// *NotCoveredError for a size that no checkpoint covers.
func (l *Ledger) Consistency(
	ctx context.Context, organization string, from, to int64,
) (c formats.Consistency, err error) {
	err = l.covered(ctx, organization, func(s *signedTree) error {
		if to > s.size {
			return l.notCovered()
		}
		hashes, err := tlog.ProveTree(to, from, s)
		if err != nil {
			return fmt.Errorf("prove that %d of %s is in %d: %w", from, organization, to, err)
		}
		c = formats.Consistency{From: from, To: to, Hashes: hashes}
		return nil
	})
	return c, err
}

// Tile returns a tile or a bundle of entries by its path, or ErrNotFound where no checkpoint covers
// all of it.
func (l *Ledger) Tile(ctx context.Context, organization, path string) (data []byte, err error) {
	t, err := formats.ParseTilePath(path)
	if err != nil {
		return nil, ErrNotFound
	}
	err = l.covered(ctx, organization, func(s *signedTree) error {
		level := max(t.L, 0)
		there := s.size >> (formats.TileHeight * level)
		if t.N > there/formats.TileWidth || t.N*formats.TileWidth+int64(t.W) > there {
			return ErrNotFound
		}
		if formats.IsBundle(t) {
			entries, err := s.entries(t.N)
			if err == nil {
				data = formats.AppendBundle(nil, entries[:t.W]...)
			}
			return err
		}
		tile, err := s.tile(tileAt{level, t.N})
		if err != nil {
			return err
		}
		for _, h := range tile[:t.W] {
			data = append(data, h[:]...)
		}
		return nil
	})
	if _, none := errors.AsType[*NotCoveredError](err); none {
		err = ErrNotFound
	}
	return data, err
}

// Receipt proves to an agent that the vending of a credential to it is in the newest checkpoint.
// Errors: ErrNotFound for any other event, *NotCoveredError.
func (l *Ledger) Receipt(
	ctx context.Context, organization, agentID string, id uuid.UUID,
) (formats.Receipt, error) {
	at, err := l.find(ctx, organization, id)
	if err != nil {
		return formats.Receipt{}, err
	}
	if at.stream != codec.Agents.Stream(agentID) {
		return formats.Receipt{}, ErrNotFound
	}
	events, err := l.Log.ReadForward(ctx, at.stream, at.revision, 1)
	if errors.Is(err, eventstore.ErrStreamNotFound) || err == nil && (len(events) == 0 || events[0].ID != id) {
		return formats.Receipt{}, fmt.Errorf("the log lacks %d@%s", at.revision, at.stream)
	}
	if err != nil {
		return formats.Receipt{}, fmt.Errorf("read %d@%s: %w", at.revision, at.stream, err)
	}
	if _, vended := events[0].Event.(agent.CredentialVended); !vended {
		return formats.Receipt{}, ErrNotFound
	}
	proof, err := l.prove(ctx, organization, at)
	return formats.Receipt{
		EventID: id.String(), Stream: at.stream, Revision: at.revision, Entry: at.entry, Proof: proof,
	}, err
}
