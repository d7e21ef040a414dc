package commands

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"time"

	"agentkey/audit/formats"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Cosignatures records what witnesses sign.
type Cosignatures struct {
	Log       *codec.Log
	Keys      []ed25519.PublicKey // of checkpoints
	Witnesses []formats.Witness   // that are registered
	Clock     func() time.Time
}

// recentCheckpoints is among how many of the newest events a checkpoint must be that a witness may
// still sign.
const recentCheckpoints = 64

// Record records the cosignatures of a note, and returns the position from which on they are there.
// It is refused if it isn't a checkpoint of the organization, or no registered witness signed it.
func (c *Cosignatures) Record(ctx context.Context, m loop.Meta, note string) (position uint64, err error) {
	opened, err := formats.Open([]byte(note), formats.Origin(m.Organization), c.Keys, c.Witnesses)
	if err != nil {
		return 0, domain.Invalid("note", "it isn't a checkpoint of this organization: "+err.Error())
	}
	if len(opened.Cosignatures) == 0 {
		return 0, domain.Invalid("note", "no registered witness signed it; an operator registers one with "+
			"AGENTKEY_WITNESSES")
	}
	for _, signed := range opened.Cosignatures {
		if position, err = c.record(ctx, m, opened.Checkpoint, signed); err != nil {
			return 0, err
		}
	}
	return position, nil
}

func (c *Cosignatures) record(
	ctx context.Context, m loop.Meta, of formats.Checkpoint, signed formats.Cosignature,
) (uint64, error) {
	stream := codec.Checkpoints.Stream(m.Organization)
	event := codec.CheckpointCosigned{Size: of.Size, Witness: signed.Witness.String(), Line: signed.Line}
	for {
		recent, after, err := c.Log.Newest(ctx, stream, recentCheckpoints)
		if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
			return 0, loop.Refusal(err)
		}
		ours := func(e codec.Verified) bool {
			signed, is := e.Event.(codec.CheckpointSigned)
			at, err := formats.ParseCheckpoint(signed.Note)
			return is && err == nil && at == of
		}
		if !slices.ContainsFunc(recent, ours) {
			return 0, domain.Invalid("note", "it isn't one of the newest checkpoints; ask for the newest and sign that")
		}
		for _, e := range recent {
			if known, is := e.Event.(codec.CheckpointCosigned); is && known.Size == of.Size && known.Witness == event.Witness {
				return e.Position, nil
			}
		}
		appended, err := c.Log.Write(ctx, stream, after, event, codec.Signed{
			Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(), RequestID: m.RequestID,
			Time: loop.Later(c.Clock(), time.Time{}),
		})
		if errors.Is(err, eventstore.ErrWrongRevision) {
			continue // a checkpoint came, or another witness was faster
		}
		return appended.Position, loop.Refusal(err)
	}
}
