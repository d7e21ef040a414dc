package codec

import (
	"fmt"

	"agentkey/eventstore"
)

// Fault says what is wrong with an event.
type Fault string

// The faults of events.
const (
	// Foreign is an event that we didn't write to this place. Without an event of ours missing, it is
	// passed over.
	Foreign Fault = "foreign"
	// Altered is an event that names the right predecessor and doesn't verify: it may be ours.
	Altered Fault = "altered"
	// Missing is an event of ours that names a predecessor which isn't there.
	Missing Fault = "missing"
	// Reordered is an event of ours that follows another one than it names: it is of another history
	// of the stream, or what was before it was replaced.
	Reordered Fault = "reordered"
	// Truncated is the end of a stream that lacks events which were seen there.
	Truncated Fault = "truncated"
)

// ForgedError names an event that isn't one of ours at its place. As the error of a read it says
// that the stream is broken: an event of ours was altered or taken away, and nothing that depends
// on the stream is decided.
type ForgedError struct {
	Stream   string
	Revision uint64
	Fault    Fault
	Reason   string

	certain bool // that it isn't ours
}

// Error implements error.
func (e *ForgedError) Error() string {
	return fmt.Sprintf("event %d@%s doesn't belong to this log: %s", e.Revision, e.Stream, e.Reason)
}

// Breaks reports whether the event breaks its stream unless a later one of ours names the last one
// of ours before it.
func (e *ForgedError) Breaks() bool { return e.Fault != Foreign }

// suspect looks at an event that doesn't verify: one that names the true predecessor may be ours,
// altered.
func (e *ForgedError) suspect(r eventstore.Recorded, prev Link) {
	m, err := parseMetadata(r.Metadata)
	if err != nil || e.certain {
		return
	}
	if s, err := parseSigned(m.Signed); err == nil && s.Prev == prev {
		e.Fault = Altered
	}
}

// strayed is about an event of ours that doesn't follow the last one of ours.
func strayed(r eventstore.Recorded, last End) *ForgedError {
	if int64(r.Revision) > last.Revision+1 { //nolint:gosec // revisions fit
		return &ForgedError{
			Stream: r.Stream, Revision: r.Revision, Fault: Missing,
			Reason: fmt.Sprintf(
				"the event that it names as the one before it, after revision %d, is altered or gone", last.Revision,
			),
		}
	}
	return &ForgedError{
		Stream: r.Stream, Revision: r.Revision, Fault: Reordered,
		Reason: "it names another event before it than the one that is there, as in another history of the stream",
	}
}

// LostError says that a stream lacks an event of ours that was seen there: its end is gone, or
// something else is in its place.
type LostError struct {
	Stream string
	Seen   End
	Fault  Fault // Truncated, or Altered if another event is there
}

// Error implements error.
func (e *LostError) Error() string {
	if e.Fault == Altered {
		return fmt.Sprintf(
			"another event is at revision %d of %s than the one that was seen there", e.Seen.Revision, e.Stream,
		)
	}
	return fmt.Sprintf("%s has lost its end: revision %d was seen there", e.Stream, e.Seen.Revision)
}
