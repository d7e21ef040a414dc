package readmodels

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNamesFound is how many agents and tools a text may name in a search of the audit.
const MaxNamesFound = 20

// ErrManyNames says that a text is part of more names than are looked for.
var ErrManyNames = errors.New("more names have this text than the audit is searched for")

// maxWords is how many words of one entry it is found by.
const maxWords = 256

// wordsOf are the words of a text as they are searched, each once. A word longer than any is cut.
func wordsOf(text string) (words []string) {
	for word := range strings.FieldsFuncSeq(Fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}) {
		for len(word) > 80 {
			_, last := utf8.DecodeLastRuneInString(word)
			word = word[:len(word)-last]
		}
		if len(words) < maxWords && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return words
}

// search returns walks to what a filter with a text leaves: what concerns the agents and tools
// whose name of now or of any time contains the text, and the entries with all of its words. An
// entry may be in up to three of them.
func (db *DB) search(ctx context.Context, organization string, f AuditFilter) (walks []walk, err error) {
	named, err := db.named(ctx, organization, Fold(f.Text))
	if err != nil {
		return nil, err
	}
	if len(named) > MaxNamesFound {
		return nil, ErrManyNames
	}
	for _, t := range named {
		one := f
		id := &one.AgentID
		if t.kind == "tool" {
			id = &one.ToolID
		}
		if *id != "" && *id != t.id {
			continue // the filter wants another one
		}
		*id = t.id
		walks = append(walks, one.walks(organization)...)
	}
	words := wordsOf(f.Text)
	if len(words) == 0 {
		return walks, nil
	}
	// The longest word is likely to be in the fewest entries.
	slices.SortStableFunc(words, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, w := range f.parts(listOf("in_word", organization, words[0]), f.types(), "in_word") {
		w.words = words
		walks = append(walks, w)
	}
	return walks, nil
}

// named finds up to one more agents and tools than are looked for, by part of a name.
func (db *DB) named(ctx context.Context, organization, folded string) ([]thing, error) {
	if folded == "" {
		return nil, nil
	}
	q := &text{}
	of, part := q.arg(organization), q.arg(folded)
	find := func(kind, table string) {
		q.add("SELECT '", kind, "' AS kind, o.id FROM ", table, " AS o WHERE o.organization_id = ", of, " AND (",
			has("o.name_folded", part), " OR EXISTS (SELECT 1 FROM former_names AS h WHERE h.id = o.id AND ",
			has("h.name_folded", part), "))")
	}
	find("agent", "agents")
	q.add(" UNION ALL ")
	find("tool", "tools")
	q.add(" LIMIT ", strconv.Itoa(MaxNamesFound+1))
	return collect(ctx, db, q, "agents and tools by name", func(rows *sql.Rows) (t thing, err error) {
		err = rows.Scan(&t.kind, &t.id)
		return t, err
	})
}

// has adds that an entry has the words of a walk.
func (q *text) has(organization string, w walk) {
	for i, word := range w.words {
		if i == 0 {
			q.add(" AND x.word = ", q.arg(word))
			continue
		}
		number := int64(listOf("in_word", organization, word)) | w.from&(1<<kindBits-1) //nolint:gosec // all bits count
		q.add(" AND EXISTS (SELECT 1 FROM audit_words AS y WHERE y.in_word ")
		if w.from == w.to {
			q.add("= ", q.arg(number))
		} else {
			q.add(">= ", q.arg(number), " AND y.in_word <= ", q.arg(number+w.to-w.from))
		}
		q.add(" AND y.position = x.position AND y.word = ", q.arg(word), ")")
	}
}

const wordChunk = 64 // rows of one statement

// keepWords makes entries findable by their words.
func (t *Tx) keepWords(ctx context.Context, entries []AuditEntry) error {
	type row struct {
		number, position int64
		word             string
	}
	var rows []row
	for _, e := range entries {
		kind := typeOf(e.Actor.Type) | KindOf(e.Action, e.Retry)
		for _, word := range wordsOf(e.Text) {
			number := int64(listOf("in_word", e.Organization, word) | kind) //nolint:gosec // all bits count
			rows = append(rows, row{number, signed(e.Position), word})
		}
	}
	for part := range slices.Chunk(rows, wordChunk) {
		q := &text{}
		q.add("INSERT INTO audit_words (in_word, position, word) VALUES ")
		for i, r := range part {
			if i > 0 {
				q.add(", ")
			}
			q.add("(", q.arg(r.number), ", ", q.arg(r.position), ", ", q.arg(r.word), ")")
		}
		q.add(" ON CONFLICT (in_word, position) DO NOTHING")
		if _, err := t.exec(ctx, nil, q.sql.String(), q.args...); err != nil {
			return err
		}
	}
	return nil
}
