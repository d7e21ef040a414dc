package audit

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/eventstore/codec"
	"agentkey/projections"
	"agentkey/readmodels"
)

// tree is what is known of an organization's tree at the end of the last batch.
type tree struct {
	organization string
	number       int64
	size, signed int64
	since        time.Time // when the first leaf came that no checkpoint covers; zero: before this process knew of it
	broken       bool      // a checkpoint was signed that the log doesn't give: none is signed any more
}

// known is the state of the tables at a position. It spares a batch to read what the one before it
// wrote.
type known struct {
	position uint64
	trees    map[string]*tree
	streams  map[string]int64 // their numbers, of the last ones used
	next     int64            // number of a new stream
}

// knownStreams bounds the numbers that are kept in memory.
const knownStreams = 20_000

// growth is one batch on its way into the tables.
type growth struct {
	*Ledger
	w      *readmodels.Writing
	now    *known
	leaves [][]any
	nodes  [][]any
	ends   map[string]codec.Verified // the last event of each stream
}

// Handle adds a batch of events to the trees, in one transaction with the checkpoint.
func (l *Ledger) Handle(ctx context.Context, b projections.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.known
	l.known = nil // until this is written
	var found []Conflict
	err := l.Tables.Write(ctx, func(w *readmodels.Writing) error {
		if err := w.Move(ctx, b.StoreID, b.From, b.To, b.Mark); err != nil {
			return err
		}
		if was == nil || was.position != b.From {
			var err error
			if was, err = load(ctx, w); err != nil {
				return err
			}
		}
		g := &growth{Ledger: l, w: w, now: was, ends: map[string]codec.Verified{}}
		var err error
		found, err = g.add(ctx, b.Events)
		return err
	})
	if err != nil {
		return err
	}
	was.position = b.To
	l.known = was
	for _, c := range found {
		l.Logger.ErrorContext(ctx, "the log doesn't give a checkpoint that was signed", c.attrs()...)
	}
	return nil
}

// load reads what is known of the trees.
func load(ctx context.Context, q readmodels.DBTX) (*known, error) {
	k := &known{trees: map[string]*tree{}, streams: map[string]int64{}}
	if err := each(ctx, q, func(rows *sql.Rows) error {
		t := &tree{}
		if err := rows.Scan(&t.organization, &t.number, &t.size, &t.signed); err != nil {
			return err
		}
		k.trees[t.organization] = t
		return nil
	}, "SELECT organization_id, tree, size, signed FROM trees"); err != nil {
		return nil, fmt.Errorf("read the trees: %w", err)
	}
	if err := each(ctx, q, func(rows *sql.Rows) error {
		var organization string
		err := rows.Scan(&organization)
		if t, known := k.trees[organization]; known {
			t.broken = true
		}
		return err
	}, "SELECT organization_id FROM conflicts"); err != nil {
		return nil, fmt.Errorf("read the conflicts: %w", err)
	}
	err := q.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) + 1 FROM streams").Scan(&k.next)
	if err != nil {
		return nil, fmt.Errorf("count the streams: %w", err)
	}
	return k, nil
}

func (g *growth) add(ctx context.Context, events []codec.Verified) (found []Conflict, err error) {
	if err := g.number(ctx, events); err != nil {
		return nil, err
	}
	for _, e := range events {
		category, id := codec.Split(e.Stream)
		if category.Chained() && category.Lifetime() == codec.Lasting {
			g.ends[e.Stream] = e
		}
		switch {
		case category.Audited():
			err = g.leaf(ctx, g.organization(category, e), e)
		case category == codec.Checkpoints:
			var c *Conflict
			if c, err = g.checkpoint(ctx, id, e); c != nil {
				found = append(found, *c)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if err := g.flush(ctx); err != nil {
		return nil, err
	}
	return found, g.writeEnds(ctx)
}

// organization is whose tree an event belongs to.
func (g *growth) organization(category codec.Category, e codec.Verified) string {
	if category == codec.Installation || category == codec.SigningKeys || e.Signed.Organization == "" {
		return g.First
	}
	return e.Signed.Organization
}

func (g *growth) leaf(ctx context.Context, organization string, e codec.Verified) error {
	t, known := g.now.trees[organization]
	if !known {
		t = &tree{organization: organization, number: int64(len(g.now.trees) + 1)}
		if err := insert(ctx, g.w, "INSERT INTO trees (organization_id, tree, size, signed)", [][]any{
			{organization, t.number, 0, 0},
		}, ""); err != nil {
			return fmt.Errorf("begin the tree of %s: %w", organization, err)
		}
		g.now.trees[organization] = t
	}
	if t.size == t.signed {
		t.since = g.Clock()
	}
	entry := entryOf(e)
	g.leaves = append(g.leaves, []any{
		t.number, t.size, entry[:], e.ID[:], g.now.streams[e.Stream], int64(e.Revision), int64(e.Position), //nolint:gosec // a log never holds 2^63
	})
	t.size++
	return g.complete(ctx, t)
}

// complete adds the hashes of the tiles that the last leaf has completed.
func (g *growth) complete(ctx context.Context, t *tree) error {
	level, n := 0, t.size
	for n%formats.TileWidth == 0 {
		if err := g.flush(ctx); err != nil {
			return err
		}
		n /= formats.TileWidth
		tile, err := hashesOf(ctx, g.w, t.number).tile(tileAt{level, n - 1})
		if err != nil {
			return fmt.Errorf("read a tile of %s: %w", t.organization, err)
		}
		level++
		hash := top(tile)
		g.nodes = append(g.nodes, []any{t.number, level, n - 1, hash[:]})
	}
	return nil
}

// flush writes what the trees have gained.
func (g *growth) flush(ctx context.Context) error {
	if len(g.leaves)+len(g.nodes) == 0 {
		return nil
	}
	if err := insert(
		ctx, g.w, "INSERT INTO leaves (tree, idx, entry, event_id, stream, revision, position)", g.leaves, "",
	); err != nil {
		return fmt.Errorf("write leaves: %w", err)
	}
	if err := insert(ctx, g.w, "INSERT INTO nodes (tree, level, idx, hash)", g.nodes, ""); err != nil {
		return fmt.Errorf("write nodes: %w", err)
	}
	sizes := map[int64]int64{}
	for _, leaf := range g.leaves {
		sizes[leaf[0].(int64)] = leaf[1].(int64) + 1 //nolint:forcetypeassert // as leaf has put them there
	}
	for number, size := range sizes {
		if _, err := g.w.ExecContext(ctx, "UPDATE trees SET size = $1 WHERE tree = $2", size, number); err != nil {
			return fmt.Errorf("write the size of a tree: %w", err)
		}
	}
	g.leaves, g.nodes = nil, nil
	return nil
}

// checkpoint compares what was signed once with the tree that came of the log.
func (g *growth) checkpoint(ctx context.Context, organization string, e codec.Verified) (*Conflict, error) {
	if c, ok := e.Event.(codec.CheckpointCosigned); ok {
		return nil, g.cosigned(ctx, organization, c)
	}
	body, ok := e.Event.(codec.CheckpointSigned)
	if !ok {
		return nil, fmt.Errorf("%w: %s has no place in %s", codec.ErrUnknownEvent, e.Type, e.Stream)
	}
	if err := g.flush(ctx); err != nil {
		return nil, err
	}
	t, known := g.now.trees[organization]
	c, err := formats.OpenCheckpoint([]byte(body.Note), formats.Origin(organization), g.Keys...)
	reason := ""
	switch {
	case err != nil:
		reason = err.Error()
	case !known || c.Size > t.size:
		reason = "events that it covers are gone"
	default:
		root, err := tlog.TreeHash(c.Size, hashesOf(ctx, g.w, t.number))
		if err != nil {
			return nil, fmt.Errorf("calculate the root of %s: %w", organization, err)
		}
		if root != c.Root {
			reason = "its root is another one"
		}
	}
	if reason == "" {
		if c.Size <= t.signed {
			return nil, nil
		}
		t.signed, t.since = c.Size, g.Clock()
		if _, err := g.w.ExecContext(
			ctx, "UPDATE trees SET signed = $1 WHERE tree = $2", c.Size, t.number,
		); err != nil {
			return nil, fmt.Errorf("write what a checkpoint covers: %w", err)
		}
		return nil, insert(ctx, g.w, "INSERT INTO notes (tree, size, note)", [][]any{{t.number, c.Size, body.Note}}, "")
	}
	if known {
		t.broken = true
	}
	found := &Conflict{Organization: organization, Position: e.Position, Size: c.Size, Reason: reason}
	return found, insert(ctx, g.w, "INSERT INTO conflicts (organization_id, position, size, reason)", [][]any{
		{organization, int64(e.Position), c.Size, reason}, //nolint:gosec // a log never holds 2^63
	}, " ON CONFLICT (organization_id, position) DO NOTHING")
}

// cosigned keeps the signature of a witness beside its checkpoint. Who recorded it has checked it.
func (g *growth) cosigned(ctx context.Context, organization string, c codec.CheckpointCosigned) error {
	t, known := g.now.trees[organization]
	if !known {
		return nil
	}
	return insert(
		ctx, g.w, "INSERT INTO cosignatures (tree, size, witness, line)", [][]any{{t.number, c.Size, c.Witness, c.Line}},
		" ON CONFLICT (tree, size, witness) DO NOTHING",
	)
}

// number gives every stream of the batch a number.
func (g *growth) number(ctx context.Context, events []codec.Verified) error {
	if len(g.now.streams) > knownStreams {
		clear(g.now.streams)
	}
	var names []any
	for _, e := range events {
		if _, known := g.now.streams[e.Stream]; known {
			continue
		}
		if category, _ := codec.Split(e.Stream); category.Chained() {
			g.now.streams[e.Stream] = 0
			names = append(names, e.Stream)
		}
	}
	for part := range slices.Chunk(names, chunk) {
		query := "SELECT name, number FROM streams WHERE name IN " + places(1, len(part))
		if err := each(ctx, g.w, func(rows *sql.Rows) error {
			var name string
			var number int64
			err := rows.Scan(&name, &number)
			g.now.streams[name] = number
			return err
		}, query, part...); err != nil {
			return fmt.Errorf("read the numbers of streams: %w", err)
		}
	}
	for _, name := range names {
		if name := name.(string); g.now.streams[name] == 0 { //nolint:forcetypeassert // they are all texts
			g.now.streams[name] = g.now.next
			g.now.next++
		}
	}
	return nil
}

// writeEnds notes the last event of each stream.
func (g *growth) writeEnds(ctx context.Context) error {
	rows := make([][]any, 0, len(g.ends))
	for name, e := range g.ends {
		rows = append(rows, []any{
			g.now.streams[name], name, int64(e.Revision), e.Link[:], readmodels.Micros(e.Signed.Time), //nolint:gosec // a log never holds 2^63
		})
	}
	err := insert(ctx, g.w, "INSERT INTO streams (number, name, revision, link, at)", rows, " ON CONFLICT (number) DO "+
		"UPDATE SET revision = excluded.revision, link = excluded.link, at = excluded.at")
	if err != nil {
		return fmt.Errorf("write the ends of streams: %w", err)
	}
	return nil
}

// entryOf returns what the tree holds of a stored event.
func entryOf(e codec.Verified) formats.Entry {
	return formats.Event{
		Stream: e.Stream, Revision: e.Revision, ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata,
	}.Entry()
}
