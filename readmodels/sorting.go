package readmodels

import (
	"context"
	"database/sql"
	"encoding/json"
	"math/bits"
	"strings"
	"time"
)

// MaxCounted is up to which number the items of a list are counted.
const MaxCounted = 10_000

// sorting says by which columns a list can be sorted. An empty one is the position in the log, the
// order in which the items came to be.
type sorting map[string]string

// endless lets what has no end come after everything that has one.
func endless(column string) string { return "coalesce(nullif(" + column + ", 0), 9223372036854775807)" }

// order is how the items of a page are ordered.
type order struct {
	by         string // a column; "": the position
	descending bool
}

func (s sorting) order(p Page) order {
	name, descending := strings.CutPrefix(p.Sort, "-")
	return order{s[name], descending || p.Sort == ""}
}

// value selects that by which the page is sorted.
func (o order) value() string {
	if o.by == "" {
		return "NULL"
	}
	return o.by
}

// clause orders rows by a value and, where it is the same, by their position.
func (o order) clause(by, position string) string {
	direction := ""
	if o.descending {
		direction = " DESC"
	}
	if o.by == "" {
		return " ORDER BY " + position + direction
	}
	return " ORDER BY " + by + direction + ", " + position + direction
}

// sorted adds where a page begins, its order, and its length.
func (q *text) sorted(table string, o order, p Page) {
	position, follows := table+".position", " > "
	if o.descending {
		follows = " < "
	}
	switch {
	case p.Before == 0:
	case o.by == "":
		q.add(" AND ", position, follows, q.arg(p.before()))
	default:
		q.add(" AND (", o.by, ", ", position, ")", follows, "(", q.arg(p.Value), ", ", q.arg(p.before()), ")")
	}
	q.add(o.clause(o.by, position), " LIMIT ", q.arg(p.rows()))
}

// then lets a page of the past begin there, so that nothing is read that was made later.
func (db *DB) then(o order, p Page) Page {
	if db.past != 0 && o.by == "" && o.descending && (p.Before == 0 || p.Before > db.past) {
		p.Before = db.past + 1
	}
	return p
}

// sortedBy are the values by which the rows of a page are sorted, in the order of the rows. It
// scans one row after the other.
type sortedBy []any

// Scan implements sql.Scanner.
func (v *sortedBy) Scan(value any) error {
	if raw, is := value.([]byte); is {
		value = string(raw)
	}
	*v = append(*v, value)
	return nil
}

// pageOf makes a page of the rows that were read, with the values by which they are sorted, and
// counts the whole list if the page asks for that. from adds the rows of the list to a query, from
// FROM on.
func pageOf[T any](
	ctx context.Context, db *DB, items []T, by sortedBy, p Page, position func(T) uint64, from func(*text),
) (List[T], error) {
	list := cut(items, p, position)
	if list.Next != 0 {
		list.Value = by[len(list.Items)-1]
	}
	var err error
	list.Total, err = db.total(ctx, p.Count, from)
	return list, err
}

// total counts the rows of a list, at most one more than MaxCounted; nil where it isn't wanted.
func (db *DB) total(ctx context.Context, wanted bool, from func(*text)) (*int, error) {
	if !wanted {
		return nil, nil
	}
	q := &text{}
	q.add("SELECT count(*) FROM (SELECT 1 AS one ")
	from(q)
	q.add(" LIMIT ", q.arg(MaxCounted+1), ") AS x")
	return only(collect(ctx, db, q, "the number of items", func(rows *sql.Rows) (*int, error) {
		n := new(int)
		return n, rows.Scan(n)
	}))
}

// contains adds that one of some columns contains a text, which is folded as they are, unless it is
// empty.
func (q *text) contains(folded string, columns ...string) { q.containsOr(folded, "", nil, columns...) }

// containsOr is contains, and lets an id among some do as well.
func (q *text) containsOr(folded, id string, ids []string, columns ...string) {
	if folded == "" {
		return
	}
	part := q.arg(folded)
	for i, column := range columns {
		columns[i] = has(column, part)
	}
	if len(ids) > 0 {
		columns = append(columns, id+" IN ("+q.list(ids)+")")
	}
	q.add(" AND (", strings.Join(columns, " OR "), ")")
}

// tagged adds that labels have all of some tags: a key, or a key and its value. A row holds its
// labels as JSON, in which a quotation mark inside of a text has a backslash before it, so only a
// key has one before it and a colon after it. No index finds a part of a text: a list is read in
// its own order, and at most as far as the organization's rows go.
func (q *text) tagged(labels string, tags []string) {
	for _, tag := range tags {
		key, value, valued := strings.Cut(tag, ":")
		part := `"` + key + `":`
		if valued {
			raw, _ := json.Marshal(value) // a text
			part += string(raw)
		}
		q.add(" AND ", has(labels, q.arg(part)))
	}
}

// list adds values and returns their parameters. Their number is a power of two: few lengths, so
// few statements.
func (q *text) list(values []string) string {
	params := make([]string, 1<<bits.Len(uint(len(values)-1)))
	for i := range params {
		params[i] = q.arg(values[min(i, len(values)-1)])
	}
	return strings.Join(params, ", ")
}

// has is that a column contains a parameter. No character of that is a wildcard.
func has(column, part string) string { return "replace(" + column + ", " + part + ", '') <> " + column }

// before adds that a time is before another one, unless that is zero. 0 is never.
func (q *text) before(column string, at time.Time) {
	if !at.IsZero() {
		q.add(" AND ", column, " <> 0 AND ", column, " < ", q.arg(at.UnixMicro()))
	}
}

// since adds that something hasn't happened since a time, unless that is zero; what came to be
// later doesn't count.
func (q *text) since(column, began string, at time.Time) {
	if !at.IsZero() {
		since := q.arg(at.UnixMicro())
		q.add(" AND ", column, " < ", since, " AND ", began, " < ", since)
	}
}

// oneOf adds that a column has one of several values, which have commas between them, unless there
// are none.
func (q *text) oneOf(column, listed string) {
	if !strings.Contains(listed, ",") {
		q.is(column, listed)
		return
	}
	q.anyOf(listed, func(value string) string { return column + " = " + q.arg(value) })
}

// anyOf adds that one of several conditions holds. No index is looked for by them, so that a list
// is read in its own order.
func (q *text) anyOf(listed string, condition func(string) string) {
	var conditions []string
	for value := range strings.SplitSeq(listed, ",") {
		conditions = append(conditions, "("+condition(value)+")")
	}
	q.add(" AND ")
	if len(conditions) == 1 {
		q.add(conditions[0])
		return
	}
	q.add(unweighed(strings.Join(conditions, " OR ")))
}
