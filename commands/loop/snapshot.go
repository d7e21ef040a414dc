package loop

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// SnapshotEvery is the number of events after which a stream's state is written down.
const SnapshotEvery = 256

// maxSnapshot bounds a snapshot's state; a larger one is not written, and the stream is folded from
// further back.
const maxSnapshot = 900 << 10

// snapshot is a state that may replace the events before it. It is a cache: used only if the MAC,
// the fold and the event at its revision all agree.
type snapshot struct {
	Revision int64           `json:"revision"`
	EventID  uuid.UUID       `json:"event_id"` // of the event at that revision
	Fold     int             `json:"fold"`
	At       time.Time       `json:"at"`
	State    json.RawMessage `json:"state"`
	MAC      string          `json:"mac"` // HMAC-SHA256 (RFC 2104), hex
}

func (s *stream[S, C, E]) mac(n snapshot) string {
	h := hmac.New(sha256.New, s.loop.Env.MACKey.Reveal())
	h.Write(codec.PAE(
		[]byte("agentkey.snapshot.v1"), []byte(s.loop.Env.Log.Keys.StoreID()), []byte(s.name),
		strconv.AppendInt(nil, n.Revision, 10), n.EventID[:], strconv.AppendInt(nil, int64(n.Fold), 10),
		[]byte(n.At.Format(time.RFC3339Nano)), n.State,
	))
	return hex.EncodeToString(h.Sum(nil))
}

// snapshotLocked writes a snapshot beside the queue.
func (s *stream[S, C, E]) snapshotLocked() {
	if s.loop.Fold == 0 || s.snapshotting {
		return
	}
	s.snapshotting = true
	head, trimmed := s.head, s.trimmed
	go func() {
		err := s.writeSnapshot(head, trimmed)
		if err != nil && !errors.Is(err, eventstore.ErrUnavailable) {
			s.loop.Env.OnFault("snapshot not written", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snapshotting = false
		s.trimmed = s.trimmed || err == nil
	}()
}

func (s *stream[S, C, E]) writeSnapshot(head Head[S], trimmed bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	state, err := json.Marshal(head.State)
	if err != nil {
		return fmt.Errorf("encode the snapshot of %s: %w", s.name, err)
	}
	if len(state) > maxSnapshot {
		return nil
	}
	name := codec.Snapshots.Stream(s.name)
	if !trimmed {
		if err := s.loop.Env.Log.Client.SetStreamMetadata(
			ctx, name, eventstore.StreamMetadata{MaxCount: 1},
		); err != nil {
			return fmt.Errorf("trim %s: %w", name, err)
		}
	}
	n := snapshot{Revision: head.Revision, EventID: head.eventID, Fold: s.loop.Fold, At: head.At, State: state}
	n.MAC = s.mac(n)
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode the snapshot of %s: %w", s.name, err)
	}
	// Nothing is decided on this stream, and each snapshot is checked against the events: any revision
	// will do. A new id each time replaces also one of the same revision that was tampered with.
	_, err = s.loop.Env.Log.Client.Append(
		ctx, name, eventstore.Any,
		eventstore.Event{ID: uuid.New(), Type: codec.Snapshot, Data: data, Metadata: []byte("{}")},
	)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// fromSnapshot returns where folding may begin: at the newest snapshot if everything about it
// agrees, else before the first event. A snapshot that was tampered with is named in the log and
// not used.
func (s *stream[S, C, E]) fromSnapshot(ctx context.Context) Head[S] {
	begin := Head[S]{Revision: eventstore.NoStream}
	if s.loop.Fold == 0 {
		return begin
	}
	name := codec.Snapshots.Stream(s.name)
	stored, err := s.loop.Env.Log.Client.ReadBackward(ctx, name, 1)
	if err != nil || len(stored) == 0 {
		return begin // without one, or without the log, which the next read will say
	}
	var n snapshot
	if err := json.Unmarshal(stored[0].Data, &n); err != nil || !hmac.Equal([]byte(n.MAC), []byte(s.mac(n))) {
		s.loop.Env.OnFault(
			"snapshot refused",
			&codec.ForgedError{Stream: name, Revision: stored[0].Revision, Reason: "its MAC is not ours"},
		)
		return begin
	}
	if n.Fold != s.loop.Fold || n.Revision < 0 {
		return begin
	}
	events, err := s.loop.Env.Log.Client.ReadForward(ctx, s.name, uint64(n.Revision), 1)
	if errors.Is(err, eventstore.ErrUnavailable) {
		return begin
	}
	if err != nil || len(events) == 0 || events[0].ID != n.EventID {
		s.loop.Env.OnFault(
			"snapshot refused",
			fmt.Errorf("%s names an event that is not at revision %d of %s", name, n.Revision, s.name),
		)
		return begin
	}
	var state S
	if err := json.Unmarshal(n.State, &state); err != nil {
		s.loop.Env.OnFault("snapshot refused", fmt.Errorf("decode %s: %w", name, err))
		return begin
	}
	return Head[S]{State: state, Revision: n.Revision, Position: events[0].Position, At: n.At, eventID: n.EventID}
}
