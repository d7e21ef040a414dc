package domain

import "slices"

// Revisions are those of a resource that an edit may be based on. Nil means that the caller didn't
// say, and the edit is of whatever it is now.
type Revisions []int

// Covers refuses an edit that is based on another revision than the current one.
func (r Revisions) Covers(current int) error {
	if r == nil || slices.Contains(r, current) {
		return nil
	}
	return Stale()
}
