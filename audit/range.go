package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/readmodels"
)

// Leaf is where a leaf's event is in the log.
type Leaf struct {
	Index    int64
	EventID  uuid.UUID
	Stream   string
	Revision uint64
	Position uint64
}

// Range is a part of a tree that ends at a checkpoint.
type Range struct {
	First, Size int64 // its leaves are those from First up to Size

	// Before are the hashes of the complete subtrees of the leaves before First, the largest first.
	Before []tlog.Hash

	// Checkpoints are the signed notes over more than First and up to Size leaves, the smallest first.
	Checkpoints []string

	Witnesses []string // that signed one of them
}

// Range returns the part of an organization's tree that holds two of its events and what is between
// them. uuid.Nil as the first means from the beginning; as the last, up to the newest checkpoint.
// Errors: ErrNotFound, *NotCoveredError.
func (l *Ledger) Range(ctx context.Context, organization string, first, last uuid.UUID) (r Range, err error) {
	return l.ranged(ctx, organization, first, last, true)
}

// FinalRange is Range up to the first checkpoint over the last event, without the signatures of
// witnesses, which can come later. So it is the same whenever it is asked for.
func (l *Ledger) FinalRange(ctx context.Context, organization string, first, last uuid.UUID) (Range, error) {
	return l.ranged(ctx, organization, first, last, false)
}

func (l *Ledger) ranged(
	ctx context.Context, organization string, first, last uuid.UUID, witnesses bool,
) (r Range, err error) {
	until := int64(-1)
	for _, end := range []struct {
		id    uuid.UUID
		index *int64
	}{{first, &r.First}, {last, &until}} {
		if end.id == uuid.Nil {
			continue
		}
		at, err := l.find(ctx, organization, end.id)
		if err != nil {
			return Range{}, err
		}
		*end.index = at.index
	}
	err = l.covered(ctx, organization, func(s *signedTree) error {
		if until < 0 {
			if until, err = s.witnessed(r.First, l.Clock()); err != nil {
				return err
			}
		}
		if until >= s.size || r.First > until {
			return l.notCovered()
		}
		if r.Before, err = before(s, r.First); err != nil {
			return fmt.Errorf("read what is before the entry %d of %s: %w", r.First, organization, err)
		}
		r.Size, r.Checkpoints, err = s.notes(r.First, until, witnesses)
		if err != nil || !witnesses {
			return err
		}
		return each(s.ctx, s.q, func(rows *sql.Rows) error {
			var witness string
			err := rows.Scan(&witness)
			r.Witnesses = append(r.Witnesses, witness)
			return err
		}, "SELECT DISTINCT witness FROM cosignatures WHERE tree = $1 AND size > $2 AND size <= $3 ORDER BY witness",
			s.tree, r.First, r.Size)
	})
	return r, err
}

// fresh is how long ago a witness may have signed a checkpoint for a range to end at it and not at
// the newest.
const fresh = 10 * time.Minute

// witnessed returns the last leaf of the newest checkpoint that a witness has signed, if that was
// just now and it is over more than a number of leaves, and else of the newest.
func (s *signedTree) witnessed(above int64, now time.Time) (leaf int64, err error) {
	var size int64
	var line string
	err = s.q.QueryRowContext(s.ctx, `SELECT n.size, c.line FROM notes AS n
		JOIN cosignatures AS c ON c.tree = n.tree AND c.size = n.size
		WHERE n.tree = $1 AND n.size > $2 AND n.size <= $3 ORDER BY n.size DESC LIMIT 1`, s.tree, above, s.size,
	).Scan(&size, &line)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s.size - 1, nil
	case err != nil:
		return 0, fmt.Errorf("read the cosignatures: %w", err)
	}
	if at, err := formats.CosignedAt(line); err != nil || now.Sub(at) > fresh {
		return s.size - 1, nil //nolint:nilerr // such a line is none of a witness
	}
	return size - 1, nil
}

// farthest is how many leaves further a range may end to be at a checkpoint that a witness has
// signed.
const farthest = 10_000

// notes returns the checkpoints over more than a number of leaves, and how many the last of them is
// over: the first one that is over a certain leaf and that a witness has signed, or else the first.
// Without witnesses it is the first, and none of their signatures is there.
func (s *signedTree) notes(above, leaf int64, witnesses bool) (size int64, notes []string, err error) {
	upto := leaf + farthest
	if !witnesses {
		upto = leaf
	}
	if err := s.q.QueryRowContext(s.ctx, `SELECT coalesce(
			(SELECT min(n.size) FROM notes AS n JOIN cosignatures AS c ON c.tree = n.tree AND c.size = n.size
				WHERE n.tree = $1 AND n.size > $2 AND n.size <= $3),
			(SELECT min(size) FROM notes WHERE tree = $1 AND size > $2)
		)`, s.tree, leaf, upto,
	).Scan(&size); err != nil {
		return 0, nil, fmt.Errorf("read a checkpoint: %w", err)
	}
	var sizes []int64
	err = each(s.ctx, s.q, func(rows *sql.Rows) error {
		var size int64
		var note string
		err := rows.Scan(&size, &note)
		sizes, notes = append(sizes, size), append(notes, note)
		return err
	}, "SELECT size, note FROM notes WHERE tree = $1 AND size > $2 AND size <= $3 ORDER BY size", s.tree, above, size)
	for i := 0; i < len(notes) && err == nil && witnesses; i++ {
		notes[i], err = s.cosigned(sizes[i], notes[i])
	}
	if err != nil {
		err = fmt.Errorf("read checkpoints: %w", err)
	}
	return size, notes, err
}

// before returns the hashes of the complete subtrees of the first leaves of a tree.
func before(h tlog.HashReader, size int64) ([]tlog.Hash, error) {
	indexes := make([]int64, 0, formats.Parts(size))
	for done := int64(0); done < size; {
		level := bits.Len64(uint64(size-done)) - 1 //nolint:gosec // it is positive
		indexes = append(indexes, tlog.StoredHashIndex(level, done>>level))
		done += 1 << level
	}
	return h.ReadHashes(indexes)
}

// LeavesFrom returns up to limit leaves of an organization's tree, in order, from an index on.
func (l *Ledger) LeavesFrom(
	ctx context.Context, organization string, from int64, limit int,
) (leaves []Leaf, err error) {
	err = l.Tables.Query(ctx, func(ctx context.Context, q readmodels.DBTX) error {
		return each(ctx, q, func(rows *sql.Rows) error {
			var leaf Leaf
			var id []byte
			var revision, position int64
			if err := rows.Scan(&leaf.Index, &id, &leaf.Stream, &revision, &position); err != nil {
				return err
			}
			leaf.Revision, leaf.Position = uint64(revision), uint64(position) //nolint:gosec // they were such
			leaf.EventID, err = uuid.FromBytes(id)
			leaves = append(leaves, leaf)
			return err
		}, `SELECT l.idx, l.event_id, s.name, l.revision, l.position FROM leaves AS l
			JOIN trees AS t ON t.tree = l.tree JOIN streams AS s ON s.number = l.stream
			WHERE t.organization_id = $1 AND l.idx >= $2 AND l.idx < $3 ORDER BY l.idx`, organization, from, from+int64(limit))
	})
	if err != nil {
		err = fmt.Errorf("read leaves of %s: %w", organization, err)
	}
	return leaves, err
}
