package audit

import (
	"context"
	"database/sql"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/readmodels"
)

// hashes reads the hashes of one tree: a tlog.HashReader. Stored are the entries and the hashes of
// complete tiles; what is between them is calculated. It keeps the tiles that it has read, so it is
// for one use.
type hashes struct {
	ctx   context.Context //nolint:containedctx // it lives as long as the query that it is part of
	q     readmodels.DBTX
	tree  int64
	tiles map[tileAt][]tlog.Hash
}

type tileAt struct {
	level  int
	number int64
}

func hashesOf(ctx context.Context, q readmodels.DBTX, tree int64) *hashes {
	return &hashes{ctx: ctx, q: q, tree: tree, tiles: map[tileAt][]tlog.Hash{}}
}

// ReadHashes implements tlog.HashReader.
func (h *hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		within := level % formats.TileHeight
		first := n << within
		tile, err := h.tile(tileAt{level / formats.TileHeight, first / formats.TileWidth})
		if err != nil {
			return nil, err
		}
		from := int(first % formats.TileWidth)
		if from+1<<within > len(tile) {
			return nil, fmt.Errorf("the ledger lacks the hash %d on level %d", n, level)
		}
		out[i] = top(tile[from : from+1<<within])
	}
	return out, nil
}

// top is the hash over a complete part of a tile.
func top(part []tlog.Hash) tlog.Hash {
	if len(part) == 1 {
		return part[0]
	}
	half := len(part) / 2
	return tlog.NodeHash(top(part[:half]), top(part[half:]))
}

// tile returns the hashes of a tile that are there.
func (h *hashes) tile(at tileAt) ([]tlog.Hash, error) {
	if known, ok := h.tiles[at]; ok {
		return known, nil
	}
	tile := []tlog.Hash{}
	var err error
	if at.level == 0 {
		var entries []formats.Entry
		entries, err = h.entries(at.number)
		for _, e := range entries {
			tile = append(tile, e.Leaf())
		}
	} else {
		err = h.read(
			func(raw []byte) { tile = append(tile, tlog.Hash(raw)) }, at.number,
			"SELECT hash FROM nodes WHERE tree = $1 AND idx >= $2 AND idx < $3 AND level = $4 ORDER BY idx", at.level,
		)
	}
	if err != nil {
		return nil, err
	}
	h.tiles[at] = tile
	return tile, nil
}

// entries returns those of a bundle that are there.
func (h *hashes) entries(bundle int64) (entries []formats.Entry, err error) {
	err = h.read(
		func(raw []byte) { entries = append(entries, formats.Entry(raw)) }, bundle,
		"SELECT entry FROM leaves WHERE tree = $1 AND idx >= $2 AND idx < $3 ORDER BY idx",
	)
	return entries, err
}

func (h *hashes) read(add func([]byte), number int64, query string, more ...any) error {
	scan := func(rows *sql.Rows) error {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return err
		}
		if len(raw) != tlog.HashSize {
			return fmt.Errorf("the ledger holds a hash of %d bytes", len(raw))
		}
		add(raw)
		return nil
	}
	args := append([]any{h.tree, number * formats.TileWidth, (number + 1) * formats.TileWidth}, more...)
	return each(h.ctx, h.q, scan, query, args...)
}
