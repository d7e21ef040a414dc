package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// listing is what the parameters say that every list has that can be sorted.
type listing struct {
	limit  *Limit
	cursor *ListCursor
	count  *Count
	sort   string
}

// scopeSize is how much of a hash says which list a cursor is of.
const scopeSize = 8

// scope names the list that a call reads, by its parameters. as_of isn't among them, because a time
// is followed by the position that it stands for.
func scope(ctx context.Context) []byte {
	query := requestOf(ctx).URL.Query()
	for _, name := range []string{"limit", "cursor", "count", "as_of"} {
		query.Del(name)
	}
	sum := sha256.Sum256([]byte(callOf(ctx).op.ID + "?" + query.Encode()))
	return sum[:scopeSize]
}

// continued reads where a list continues; it is nil where the list begins. A cursor holds its scope
// and a place in JSON, in URL-safe base64.
func continued[P any](ctx context.Context, cursor *ListCursor) (*P, error) {
	if cursor == nil {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*cursor)
	place := new(P)
	if err != nil || len(raw) <= scopeSize || json.Unmarshal(raw[scopeSize:], place) != nil {
		return nil, errPlace
	}
	if !bytes.Equal(raw[:scopeSize], scope(ctx)) {
		return nil, domain.Invalid("cursor", "it belongs to a list that is sorted or narrowed otherwise; send it with the "+
			"parameters that it came from, or leave it out to begin again")
	}
	return place, nil
}

var errPlace = domain.Invalid("cursor", "it must be the next_cursor of the page before")

func continues[P any](ctx context.Context, place P) *string {
	raw, _ := json.Marshal(place) // of strings and numbers
	text := base64.RawURLEncoding.EncodeToString(append(scope(ctx), raw...))
	return &text
}

// place is that of an item in a list: its position in the log, and by what it is sorted.
type place struct {
	Position uint64  `json:"p"`
	Number   *int64  `json:"n,omitempty"`
	Text     *string `json:"t,omitempty"`
}

// page is the part of a list that is asked for.
func (l listing) page(ctx context.Context) (readmodels.Page, error) {
	p, err := page(l.limit, nil)
	if err != nil {
		return p, err
	}
	p.Sort, p.Count = l.sort, value(l.count)
	last, err := continued[place](ctx, l.cursor)
	if err != nil || last == nil {
		return p, err
	}
	p.Before = last.Position
	switch name := strings.TrimPrefix(l.sort, "-"); {
	case name == "" || name == "created_at":
		return p, nil
	case strings.HasSuffix(name, "name") && last.Text != nil:
		p.Value = *last.Text
	case !strings.HasSuffix(name, "name") && last.Number != nil:
		p.Value = *last.Number
	default:
		return p, errPlace
	}
	return p, nil
}

// nextPage is the cursor of the page that follows, nil where none does.
func nextPage[T any](ctx context.Context, l readmodels.List[T]) *string {
	if l.Next == 0 {
		return nil
	}
	last := place{Position: l.Next}
	switch v := l.Value.(type) {
	case int64:
		last.Number = &v
	case string:
		last.Text = &v
	}
	return continues(ctx, last)
}

// totals says how many items a list has, or more than how many.
func totals(n *int) (total *Total, atLeast *TotalAtLeast) {
	if n != nil && *n > readmodels.MaxCounted {
		return nil, new(TotalAtLeast(readmodels.MaxCounted))
	}
	return n, nil
}

// several are the values of a filter, with commas between them.
func several[T ~string](wanted *[]T) string {
	return strings.Join(views(value(wanted), func(v T) string { return string(v) }), ",")
}

// bound is a time that narrows a list. The zero time would not, and nothing is as old as what
// follows it.
func bound(t *Time) time.Time {
	if t != nil && t.IsZero() {
		return t.Add(time.Microsecond)
	}
	return value(t)
}

// pastKnows refuses with as_of what the past doesn't know: fetches and calls.
func pastKnows(asOf *AsOf, sort string, filters map[string]*Time) error {
	if asOf == nil {
		return nil
	}
	const unknown = "it can't be combined with as_of, because the past knows no counts and no times of fetches and calls"
	switch strings.TrimPrefix(sort, "-") {
	case "fetch_count", "last_fetched_at", "last_seen_at":
		return domain.Invalid("sort", unknown)
	}
	for name, filter := range filters {
		if filter != nil {
			return domain.Invalid(name, unknown)
		}
	}
	return nil
}
