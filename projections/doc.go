// Package projections carries the event log to where it is read: a Watermill subscriber that
// follows the log in batches, and the projection that fills the read model. Rows and position move
// in one transaction, so nothing is applied twice and nothing is skipped; an event that can't be
// applied stops its projection loudly. A projection writes no event and sends nothing.
package projections
