package codec

import "strings"

// Category is a kind of stream. Its row in the table says who reads it and how long its events
// stay.
type Category int

// Every category that is written. Unknown is the zero one: streams of another application, or of
// the store itself.
const (
	Unknown Category = iota
	Installation
	SigningKeys
	Organizations
	Agents
	Rules
	Catalogs
	Guides
	Deliveries
	Lanes
	Refusals
	People
	Requests
	Reactions
	Secrets
	Keys
	Checkpoints
	Snapshots
	HeadsOfKeys
	Uses
	Directory
)

// Lifetime says how long the events of a stream stay, and with it what a copy takes and what a
// sweep deletes.
type Lifetime int

const (
	Lasting   Lifetime = iota // for good: copied, never swept
	Removable                 // until the stream is tombstoned: copied unless it was, then its bytes are swept
	Expiring                  // until they are too old: copied while the first one is there, then swept
	Replaced                  // until the next one: a cache, never copied, swept
)

const (
	audited  = true
	deciding = true
	single   = true
)

// category is a row of the table.
type category struct {
	name     string
	audited  bool // its events are entries of the audit
	deciding bool // an aggregate decides on it
	lifetime Lifetime
	single   bool // it has one stream, of the category's own name
}

var categories = [...]category{
	Unknown:       {"", false, false, Lasting, false},
	Installation:  {"installation", audited, deciding, Lasting, single},
	SigningKeys:   {"signing-keys", audited, false, Lasting, single},
	Organizations: {"organization", audited, deciding, Lasting, false},
	Agents:        {"agent", audited, deciding, Lasting, false},
	Rules:         {"rules", audited, deciding, Lasting, false},
	Catalogs:      {"catalog", audited, deciding, Lasting, false},
	Guides:        {"guide", audited, deciding, Lasting, false},
	Deliveries:    {"delivery", audited, deciding, Lasting, false},
	Lanes:         {"lane", false, deciding, Lasting, false},
	Refusals:      {"refusals", audited, false, Lasting, false},
	People:        {"person", audited, false, Lasting, false},
	Requests:      {"request", false, false, Lasting, false},
	Reactions:     {"reaction", false, false, Lasting, false},
	Secrets:       {"secret", false, false, Removable, false},
	Keys:          {"once", false, false, Expiring, false},
	Checkpoints:   {"checkpoint", false, false, Lasting, false},
	Snapshots:     {"snapshot", false, false, Replaced, false},
	HeadsOfKeys:   {"heads", false, false, Lasting, false},
	Uses:          {"use", false, false, Replaced, false},
	Directory:     {"directory", false, false, Lasting, false},
}

// Split returns the category of a stream and the id of what the stream is about, "" where there is
// only one.
func Split(stream string) (Category, string) {
	for i, row := range categories[1:] {
		c := Category(i + 1)
		if row.single && stream == row.name {
			return c, ""
		}
		if id, ok := strings.CutPrefix(stream, row.name+"-"); ok && !row.single {
			return c, id
		}
	}
	return Unknown, stream
}

// Stream returns the name of the stream about id. Where there is only one, id is "".
func (c Category) Stream(id string) string {
	if categories[c].single {
		return categories[c].name
	}
	return categories[c].name + "-" + id
}

func (c Category) String() string     { return categories[c].name }
func (c Category) Audited() bool      { return categories[c].audited }
func (c Category) Deciding() bool     { return categories[c].deciding }
func (c Category) Lifetime() Lifetime { return categories[c].lifetime }
func (c Category) Single() bool       { return categories[c].single }

// Categories returns those whose events have a lifetime.
func Categories(l Lifetime) []Category {
	var those []Category
	for i, row := range categories {
		if Category(i) != Unknown && row.lifetime == l {
			those = append(those, Category(i))
		}
	}
	return those
}

// Pattern returns a regular expression that matches the names of the streams of those categories
// that are wanted.
func Pattern(wanted func(Category) bool) string {
	var names []string
	for i, row := range categories {
		switch {
		case row.name == "" || !wanted(Category(i)):
		case row.single:
			names = append(names, row.name+"$")
		default:
			names = append(names, row.name+"-")
		}
	}
	return "^(" + strings.Join(names, "|") + ")"
}
