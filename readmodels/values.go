package readmodels

import (
	"database/sql"
	"encoding/json"
	"math"
	"strings"
	"time"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"agentkey/domain"
)

// Page says which part of a list is asked for: at most Limit items that come after the position
// Before, which is the Next of the page before; 0 asks for the first ones.
type Page struct {
	Before uint64
	Limit  int

	Sort  string // by what, with - before it for descending; "": newest first
	Value any    // the Value of the page before
	Count bool   // the list says how many items all its pages have
}

func (p Page) before() int64 {
	if p.Before == 0 {
		return math.MaxInt64
	}
	return signed(min(p.Before, math.MaxInt64))
}

// through is the last position that may be on the page.
func (p Page) through() int64 { return max(p.before(), 1) - 1 }

// rows is how many rows to ask for: one more than the page holds shows whether another page
// follows.
func (p Page) rows() int32 { return int32(min(max(p.Limit, 1), 1000) + 1) }

// List is one page. Next is 0 on the last one.
type List[T any] struct {
	Items []T
	Next  uint64

	Value any  // by which the last item is sorted; nil: by its position
	Total *int // of all pages, at most one more than MaxCounted; nil unless it is asked for
}

// cut makes a page of the rows that were read.
func cut[T any](items []T, p Page, position func(T) uint64) List[T] {
	limit := int(p.rows()) - 1
	if len(items) <= limit {
		return List[T]{Items: items}
	}
	items = items[:limit]
	return List[T]{Items: items, Next: position(items[limit-1])}
}

// Micros is how a time is stored: microseconds since 1970, 0 for none.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// MicrosOf is Micros of a time that may be absent.
func MicrosOf(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return Micros(*t)
}

func toTime(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Parts is how the names of a credential's parts are stored: in JSON, "" for none.
func Parts(p domain.Parts) string {
	if len(p) == 0 {
		return ""
	}
	raw, _ := json.Marshal(p) // of strings
	return string(raw)
}

func toParts(stored string) (p domain.Parts) {
	_ = json.Unmarshal([]byte(stored), &p) // that Parts wrote
	return p
}

// Rules is how a tool's rules of approval are stored: in JSON, "" for none.
func Rules(r domain.ApprovalRules) string {
	if r == (domain.ApprovalRules{}) {
		return ""
	}
	raw, _ := json.Marshal(r) // of strings and numbers
	return string(raw)
}

// OptionalRules is a parameter that changes nothing when r is nil.
func OptionalRules(r *domain.ApprovalRules) sql.NullString {
	if r == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: Rules(*r), Valid: true}
}

func toRules(stored string) (r domain.ApprovalRules) {
	_ = json.Unmarshal([]byte(stored), &r) // that Rules wrote
	return r
}

// Optional is a parameter that changes nothing when v is nil.
func Optional[T ~string](v *T) sql.NullString {
	if v == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: string(*v), Valid: true}
}

// OptionalInt is Optional for numbers.
func OptionalInt(v *int64) sql.NullInt64 {
	if v == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: *v, Valid: true}
}

// Fold is the form in which names are searched: compatibility characters, case, and the accents of
// European scripts do not matter.
func Fold(name string) string {
	bare := strings.Map(func(r rune) rune {
		if r >= '\u0300' && r <= '\u036f' {
			return -1
		}
		return r
	}, norm.NFKD.String(cases.Fold().String(norm.NFKD.String(name))))
	return strings.Join(strings.Fields(norm.NFKC.String(bare)), " ")
}

// signed and unsigned carry positions and revisions, which the log counts unsigned, through SQL.
func signed(n uint64) int64   { return int64(n) }  //nolint:gosec // a log never holds 2^63 bytes or events
func unsigned(n int64) uint64 { return uint64(n) } //nolint:gosec // only what signed has written
