package export

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/audit/formats"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// Source reads the stored bytes of audited events from the log, and what proves them from the
// ledger.
type Source struct {
	Log    *codec.Log
	Ledger *audit.Ledger
	Keys   func() (formats.Keys, error) // see GET /.well-known/agentkey-keys.json
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
	leaves := make([]audit.Leaf, len(entries))
	for i, e := range entries {
		id, err := uuid.Parse(e.ID)
		if err != nil {
			return nil, fmt.Errorf("the id of an audit entry: %w", err)
		}
		leaves[i] = audit.Leaf{
			Index: formats.NoIndex, EventID: id, Stream: e.Stream, Revision: e.Revision, Position: e.Position,
		}
	}
	return s.stored(ctx, leaves, func(r eventstore.Recorded) error {
		_, _, err := s.Log.Keys.Verify(r)
		return err
	})
}

// stored returns the events of leaves that are in the order of the log. An event is left out if it
// isn't at its position, or isn't what is wanted.
func (s *Source) stored(
	ctx context.Context, leaves []audit.Leaf, wanted func(eventstore.Recorded) error,
) ([]formats.Line, error) {
	lines := make([]formats.Line, 0, len(leaves))
	count := uint64(dense)
	for len(leaves) > 0 {
		recorded, err := s.Log.Client.ReadAt(ctx, leaves[0].Position, count)
		if err != nil {
			return nil, fmt.Errorf("read the event log at %d: %w", leaves[0].Position, err)
		}
		found := 0
		for _, r := range recorded {
			for len(leaves) > 0 && leaves[0].Position < r.Position {
				leaves = s.without(ctx, leaves, "it isn't at its position")
			}
			if len(leaves) == 0 || leaves[0].Position > r.Position {
				continue
			}
			l := leaves[0]
			if r.ID != l.EventID || r.Stream != l.Stream || r.Revision != l.Revision {
				leaves = s.without(ctx, leaves, "another event is at its position")
				continue
			}
			if err := wanted(r); err != nil {
				leaves = s.without(ctx, leaves, err.Error())
				continue
			}
			found++
			leaves = leaves[1:]
			lines = append(lines, formats.Line{Index: l.Index, Position: r.Position, Event: formats.Event{
				Stream: r.Stream, Revision: r.Revision, ID: r.ID, Type: r.Type, Data: r.Data, Metadata: r.Metadata,
			}})
		}
		if len(recorded) == 0 {
			leaves = s.without(ctx, leaves, "the log ends before it")
		}
		count = sparse
		if found*4 > len(recorded) {
			count = dense
		}
	}
	return lines, nil
}

func (s *Source) without(ctx context.Context, leaves []audit.Leaf, why string) []audit.Leaf {
	s.Logger.WarnContext(
		ctx, "an export leaves out an event", slog.String("stream", leaves[0].Stream),
		slog.Uint64("revision", leaves[0].Revision), slog.String("reason", why),
	)
	return leaves[1:]
}
