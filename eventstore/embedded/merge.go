package embedded

import (
	"context"
	"database/sql"
	"math"
	"slices"
)

// window is up to which position a page may go, and how many events it has at most.
type window struct {
	to        int64
	n         int
	backwards bool
}

// view is how a page of the log is read forwards: whole events, or their names alone.
type view struct {
	own      *sql.Stmt
	archived string // the same query
	into     func(*sql.Rows, *record) error
}

// after reads the log forwards from a position, up to another.
func (s *Store) after(ctx context.Context, from, to int64, n int) ([]record, error) {
	return s.forwards(ctx, view{s.pages.after, afterPage, wholeEvent}, from, to, n)
}

// matching reads a page of the log between two positions. Where nothing is likely to match a
// filter, it first looks at the names alone: of a page without a match they are all it returns.
func (s *Store) matching(ctx context.Context, f filter, likely bool, first, last int64) ([]record, error) {
	if !likely {
		page, err := s.forwards(ctx, view{s.pages.names, namesPage, namesOnly}, first, last, pageSize)
		if err != nil || !slices.ContainsFunc(page, f.matches) {
			return page, err
		}
	}
	return s.after(ctx, first, last, pageSize)
}

func (s *Store) forwards(ctx context.Context, v view, from, to int64, n int) ([]record, error) {
	for {
		known := s.archives.Load()
		page, err := v.read(ctx, *known, from, to, n)
		if err != nil || s.archives.Load() == known { // else an event may have moved between two reads
			return page, err
		}
	}
}

// read reads one range after another, and from the store's own file only what the page of an
// archive leaves room for.
func (v view) read(ctx context.Context, archives []*archive, from, to int64, n int) ([]record, error) {
	var out []record
	for from <= to && len(out) < n {
		end, rest := to, n-len(out)
		var moved []record
		if i := slices.IndexFunc(archives, func(a *archive) bool { return a.last >= from }); i >= 0 {
			end = min(to, archives[i].last)
			var err error
			if moved, err = archives[i].readInto(ctx, v.into, v.archived, from, end, rest); err != nil {
				return nil, err
			}
			if len(moved) == rest {
				end = moved[rest-1].pos
			}
		}
		page, err := scan(v.into)(v.own.QueryContext(ctx, from, end, rest)) //nolint:rowserrcheck // scan does it
		if err != nil {
			return nil, err
		}
		out, from = append(out, merged(page, moved, window{n: rest})...), end+1
	}
	return out, nil
}

// before reads the log backwards from below a position.
func (s *Store) before(ctx context.Context, below int64, n int) ([]record, error) {
	page, err := read(ctx, s.pages.before, below, n)
	if err != nil {
		return nil, err
	}
	return s.withArchived(ctx, page, window{to: below - 1, n: n, backwards: true}, beforePage, below, n)
}

// page reads a stream between two revisions, in either direction. What of it is archived is all
// older than what isn't.
func (s *Store) page(
	ctx context.Context, name string, sid, first, last int64, n int, backwards bool,
) ([]record, error) {
	if first > last {
		return nil, nil
	}
	stmt, query := s.pages.forward, forwardPage
	if backwards {
		stmt, query = s.pages.backward, backwardPage
	}
	page, err := read(ctx, stmt, sid, first, last, n)
	if err != nil {
		return nil, err
	}
	oldest := page
	if backwards && len(page) > 0 {
		oldest = page[len(page)-1:]
	}
	if !archivable(name) || begins(oldest, first) {
		return page, nil
	}
	return s.withArchived(
		ctx, page, window{to: math.MaxInt64, n: n, backwards: backwards}, query, sid, first, last, n,
	)
}

// begins reports whether a page of a stream begins at a revision, so that no archive has more.
func begins(page []record, revision int64) bool { return len(page) > 0 && page[0].rev == revision }

// withArchived completes a page that was read from the store's own file with what a query finds in
// the archives. That file must have been read first: what is moved meanwhile is then found in both,
// and never in neither.
func (s *Store) withArchived(
	ctx context.Context, page []record, w window, query string, args ...any,
) ([]record, error) {
	archives := s.archived()
	if w.backwards {
		archives = slices.Clone(archives)
		slices.Reverse(archives)
	}
	for _, a := range archives {
		switch full := len(page) == w.n; {
		case a.first > w.to:
			continue
		case full && !w.backwards && page[w.n-1].pos < a.first, full && w.backwards && page[w.n-1].pos > a.last:
			return page, nil // what this archive and the next ones hold comes later
		}
		more, err := a.read(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		page = merged(page, more, w)
	}
	return page, nil
}

// merged merges two pages in the order of the log. What is in both is there once.
func merged(a, b []record, w window) []record {
	out := make([]record, 0, min(len(a)+len(b), w.n))
	for len(out) < w.n && len(a)+len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].pos != b[0].pos && (a[0].pos < b[0].pos) != w.backwards:
			out, a = append(out, a[0]), a[1:]
		case len(a) > 0 && a[0].pos == b[0].pos:
			a = a[1:]
		default:
			out, b = append(out, b[0]), b[1:]
		}
	}
	return out
}
