package readmodels

import (
	"context"
	"database/sql"
	"strings"
	"unicode"

	"github.com/mtibben/confusables"
	"golang.org/x/text/unicode/norm"
)

// maxConfusable is how many tools are named beside one that looks alike.
const maxConfusable = 20

// NamedTool is a tool by its name.
type NamedTool struct{ ID, Name string }

// Skeleton is the same for names that look alike (UTS 39), in upper or lower case and with any
// spaces and punctuation. Because of that, I, i, l, 1 and | are one. Its tables come with the
// program; an update of them must increase Fill, because rows hold skeletons.
func Skeleton(name string) string {
	s := confusables.Skeleton(norm.NFKC.String(strings.Map(seen, name)))
	s = confusables.Skeleton(Fold(s))
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r != '|' && (unicode.IsSpace(r) || unicode.IsPunct(r)) {
			return -1
		}
		return r
	}, s), "i", "l")
}

// seen drops what is displayed as nothing.
func seen(r rune) rune {
	if unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return -1
	}
	return r
}

// confusable lists, by each of some names, the tools of an organization that look like it, the
// oldest first.
func (db *DB) confusable(ctx context.Context, organization string, names []string) (map[string][]NamedTool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	skeletons := make([]string, len(names))
	q := &text{}
	q.add("SELECT skeleton, id, name FROM tools WHERE removed_at = 0 AND organization_id = ", q.arg(organization),
		" AND skeleton IN (")
	for i, name := range names {
		if i > 0 {
			q.add(", ")
		}
		skeletons[i] = Skeleton(name)
		q.add(q.arg(skeletons[i]))
	}
	q.add(") ORDER BY position")
	type row struct {
		skeleton string
		NamedTool
	}
	rows, err := collect(ctx, db, q, "tools that look alike", func(rows *sql.Rows) (row, error) {
		var r row
		err := rows.Scan(&r.skeleton, &r.ID, &r.Name)
		return r, err
	})
	alike, out := map[string][]NamedTool{}, make(map[string][]NamedTool, len(names))
	for _, r := range rows {
		alike[r.skeleton] = append(alike[r.skeleton], r.NamedTool)
	}
	for i, name := range names {
		out[name] = alike[skeletons[i]]
	}
	return out, err
}

// Others are the first few tools of a list but one.
func Others(all []NamedTool, id string) []NamedTool {
	var out []NamedTool
	for _, t := range all {
		if t.ID != id && len(out) < maxConfusable {
			out = append(out, t)
		}
	}
	return out
}
