package api

import (
	"context"
	"slices"
	"strings"

	"agentkey/readmodels"
)

// mostOwners is how many names of owners a search opens. No row holds one, so each is the state of
// a stream, read once by a process, and a key, which is trusted for a minute: a search reads at
// most 2,000 streams, 16 at a time, and the next ones within that minute none.
const mostOwners = 1000

// ownersBy returns the owners of agents whose names contain a text, as names are searched. Where
// there are more owners than are opened, one who isn't is found by the whole text.
func (n *naming) ownersBy(ctx context.Context, model *readmodels.DB, text string) ([]string, error) {
	part := readmodels.Fold(text)
	if part == "" {
		return nil, nil
	}
	ids, err := model.Owners(ctx, n.organization, mostOwners)
	if err != nil {
		return nil, asked(err, "agent")
	}
	if exact := n.server.Agents.PersonID(n.organization, text); len(ids) == mostOwners && !slices.Contains(ids, exact) {
		ids = append(ids, exact)
	}
	n.meetOwners(ctx, ids)
	return slices.DeleteFunc(ids, func(id string) bool {
		return !strings.Contains(readmodels.Fold(n.people[id].Label()), part)
	}), n.err
}

// meetOwners looks for the owners of agents; "" is nobody.
func (n *naming) meetOwners(ctx context.Context, ids []string) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == "" })
	slices.Sort(ids)
	n.meet(ctx, slices.Compact(ids), n.server.People.Owner)
}
