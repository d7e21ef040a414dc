package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// MaxRelated bounds how many related tools or suggestions an answer names.
const MaxRelated = 20

// product is what a tool, or a suggestion of one, is about: its folded name and its site, ""
// without one.
type product struct{ name, site string }

func (t Tool) product() product       { return product{t.FoldedName, t.Site} }
func (c AddTool) product() product    { return product{c.FoldedName, c.Site} }
func (s Suggestion) product() product { return product{s.FoldedName, s.Site} }

// is reports whether two products are the same: by name, and their sites don't contradict each
// other. A site alone says nothing, because one domain has many products.
func (p product) is(other product) bool {
	return p.name == other.name && (p.site == other.site || p.site == "" || other.site == "")
}

// near reports whether a human should see two products together. Nothing follows from it.
func (p product) near(other product) bool {
	return p.name == other.name || p.site != "" && p.site == other.site
}

// offered returns the id of the tool that is a product.
func (s State) offered(p product) (string, bool) {
	id, found := s.Named(p.name)
	return id, found && s.Tools[id].product().is(p)
}

// Similar lists the ids of tools that share the site or the name of a product, the oldest first.
func (s State) Similar(folded, site string) []string {
	p := product{folded, site}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.Tools)) {
		if s.Tools[id].product().near(p) && len(ids) < MaxRelated {
			ids = append(ids, id)
		}
	}
	return ids
}

// Suggested returns the id of the suggestion, pending or dismissed, of the same product: one of the
// same site before one that contradicts it only in not having any, then a pending one, then the
// oldest.
func (s State) Suggested(folded, site string) (string, bool) {
	p, best := product{folded, site}, ""
	for _, id := range s.oldestFirst() {
		x := s.Suggestions[id]
		if !x.undecided() || !x.product().is(p) {
			continue
		}
		if _, answered := s.offered(x.product()); answered {
			continue // its tool was added while it was dismissed
		}
		if best == "" || s.Suggestions[best].rank(p) > x.rank(p) {
			best = id
		}
	}
	return best, best != ""
}

// rank orders the suggestions that a product fits, the best first.
func (s Suggestion) rank(p product) int {
	rank := 0
	if p.site != "" && s.Site != p.site {
		rank += 2
	}
	if s.Status != StatusPending {
		rank++
	}
	return rank
}

// undecided reports whether the suggestion waits or may come back.
func (s Suggestion) undecided() bool {
	return s.Status == StatusPending || s.Status == StatusDismissed
}

// Related lists the ids of pending suggestions that share the site or the name of a pending one,
// those with the most backers first.
func (s State) Related(id string) []string {
	x := s.Suggestions[id]
	if x.Status != StatusPending {
		return nil
	}
	var ids []string
	for _, other := range s.oldestFirst() {
		if o := s.Suggestions[other]; other != id && o.Status == StatusPending && o.product().near(x.product()) {
			ids = append(ids, other)
		}
	}
	slices.SortStableFunc(ids, func(a, b string) int {
		return cmp.Compare(len(s.Suggestions[b].Backers), len(s.Suggestions[a].Backers))
	})
	return ids[:min(len(ids), MaxRelated)]
}

// Digest names what a human is shown of a suggestion: what its backers say, and who backs those
// related to it.
func (s State) Digest(id string) string {
	x := s.Suggestions[id]
	said := []string{
		"suggestion", id, x.Name, x.URL, string(x.Status), x.ToolID, x.Dismissal,
		x.DecidedAt.UTC().Format(time.RFC3339Nano),
	}
	for _, b := range x.Backers {
		said = append(said, "backer", b.AgentID, b.Name, b.URL, b.Reason, b.LastAt.UTC().Format(time.RFC3339Nano))
	}
	for _, other := range s.Related(id) {
		said = append(said, "related", other, s.Suggestions[other].Name)
		for _, b := range s.Suggestions[other].Backers {
			said = append(said, b.AgentID)
		}
	}
	return domain.Digest(said...)
}

// answerable lists the pending suggestions of a product, the oldest first.
func (s State) answerable(p product) []string {
	var ids []string
	for _, id := range s.oldestFirst() {
		if x := s.Suggestions[id]; x.Status == StatusPending && x.product().is(p) {
			ids = append(ids, id)
		}
	}
	return ids
}

// oldestFirst lists the ids of all undecided suggestions.
func (s State) oldestFirst() []string {
	ids := make([]string, 0, len(s.Suggestions))
	for id, x := range s.Suggestions {
		if x.undecided() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(s.Suggestions[a].MadeAt().Compare(s.Suggestions[b].MadeAt()), cmp.Compare(a, b))
	})
	return ids
}
