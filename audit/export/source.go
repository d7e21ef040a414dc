package export

import (
	"context"
	"fmt"
	"log/slog"

	"agentkey/audit/formats"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// Source reads the stored bytes of audited events from the log.
type Source struct {
	Log    *codec.Log
	Logger *slog.Logger
}

// How many events of the whole log are read at once, depending on how many of them are wanted.
const (
	sparse = 8
	dense  = 256
)

// Lines returns the events of entries that are in the order of the log. An event that doesn't
// verify any more is left out: the integrity of the log is reported elsewhere.
func (s *Source) Lines(ctx context.Context, entries []readmodels.AuditEntry) ([]formats.Line, error) {
	lines := make([]formats.Line, 0, len(entries))
	count := uint64(dense)
	for len(entries) > 0 {
		recorded, err := s.Log.Client.ReadAt(ctx, entries[0].Position, count)
		if err != nil {
			return nil, fmt.Errorf("read the event log at %d: %w", entries[0].Position, err)
		}
		found := 0
		for _, r := range recorded {
			for len(entries) > 0 && entries[0].Position < r.Position { // it is gone
				entries = s.without(ctx, entries, "it isn't at its position")
			}
			if len(entries) == 0 || entries[0].Position > r.Position {
				continue
			}
			if why := s.differs(r, entries[0]); why != "" {
				entries = s.without(ctx, entries, why)
				continue
			}
			found++
			entries = entries[1:]
			lines = append(lines, formats.Line{Index: formats.NoIndex, Position: r.Position, Event: formats.Event{
				Stream: r.Stream, Revision: r.Revision, ID: r.ID, Type: r.Type, Data: r.Data, Metadata: r.Metadata,
			}})
		}
		if len(recorded) == 0 {
			entries = s.without(ctx, entries, "the log ends before it")
		}
		count = sparse
		if found*4 > len(recorded) {
			count = dense
		}
	}
	return lines, nil
}

// differs says why a stored event isn't the one that the audit has, "" if it is.
func (s *Source) differs(r eventstore.Recorded, e readmodels.AuditEntry) string {
	if r.ID.String() != e.ID || r.Stream != e.Stream || r.Revision != e.Revision {
		return "another event is at its position"
	}
	if _, _, err := s.Log.Keys.Verify(r); err != nil {
		return err.Error()
	}
	return ""
}

func (s *Source) without(ctx context.Context, entries []readmodels.AuditEntry, why string) []readmodels.AuditEntry {
	s.Logger.WarnContext(
		ctx, "an export leaves out an event", slog.String("stream", entries[0].Stream),
		slog.Uint64("revision", entries[0].Revision), slog.String("reason", why),
	)
	return entries[1:]
}
