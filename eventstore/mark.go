package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// BackupStream is where the embedded store notes in a copy of itself that it is one, so that a
// process that opens it later knows; a log that was never restored has no such stream. The store
// alone writes it and refuses what a client would write there; an EventStoreDB lets nobody but its
// admins write to streams whose names begin like this. BackupNote is the type of the note. No
// projection sees it.
const (
	BackupStream = "$agentkey-backup"
	BackupNote   = "~backup.v1"
)

// CopyStream is where a copy of a log to another store says that it is one, by its first event, and
// CopyNote the type of that. Which keys may sign the copy is decided on it: someone who can write
// this stream can have another log taken for a copy, and keys be made for it. No projection sees
// it.
const (
	CopyStream = "agentkey-copy"
	CopyNote   = "~copied.v1"
)

// Mark names an event that was seen in the log: a high-water mark, by which a log that was restored
// or lost its end is told from the one that was written. The zero Mark names none.
type Mark struct {
	StoreID  string    `json:"store_id"` // of the installation whose log it is
	Stream   string    `json:"stream"`
	Revision uint64    `json:"revision"`
	Position uint64    `json:"position"`
	ID       uuid.UUID `json:"id"`
	At       time.Time `json:"at"` // as the event says
}

// Barrier returns when a leader has acknowledged a write: new bounds for a stream without events.
// What was in the log before is seen by reads after it, which a node that was deposed may not have.
func (c *Client) Barrier(ctx context.Context) error {
	return c.SetStreamMetadata(ctx, "barrier", StreamMetadata{MaxCount: 1})
}

// Lost reports whether the log lacks the event. It is asked again after a Barrier.
func (c *Client) Lost(ctx context.Context, m Mark) (bool, error) {
	if there, err := c.holds(ctx, m); err != nil || there {
		return false, err
	}
	if err := c.Barrier(ctx); err != nil {
		return false, err
	}
	there, err := c.holds(ctx, m)
	return !there && err == nil, err
}

func (c *Client) holds(ctx context.Context, m Mark) (bool, error) {
	events, err := c.ReadForward(ctx, m.Stream, m.Revision, 1)
	if errors.Is(err, ErrStreamNotFound) {
		return false, nil
	}
	return len(events) == 1 && events[0].Revision == m.Revision && events[0].ID == m.ID, err
}

// Backup returns the note of the backup that the log came from last, and false when it came from
// none. A server that lets nobody but its admins read such a stream has no note for us.
func (c *Client) Backup(ctx context.Context) (Recorded, bool, error) {
	notes, err := c.ReadBackward(ctx, BackupStream, 1)
	return noted(notes, err)
}

// CopyNote returns the note of the copy that the log is, and false when it is none. Whatever comes
// after it, or takes its place, isn't one.
func (c *Client) CopyNote(ctx context.Context) (Recorded, bool, error) {
	notes, err := c.ReadForward(ctx, CopyStream, 0, 1)
	note, found, err := noted(notes, err)
	return note, found && note.Revision == 0 && note.Type == CopyNote, err
}

func noted(notes []Recorded, err error) (Recorded, bool, error) {
	switch {
	case errors.Is(err, ErrStreamNotFound), errors.Is(err, ErrRefused):
		return Recorded{}, false, nil
	case err != nil || len(notes) == 0:
		return Recorded{}, false, err
	}
	return notes[0], true, nil
}
