package loop

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/pae"
)

// SnapshotEvery is the number of events after which a stream's state is written down.
const SnapshotEvery = 256

const (
	maxState = 900 << 10 // of a state that is written as it is; a larger one is packed into parts
	maxPart  = 700 << 10 // of a packed state in one part, which is written in base64
	maxParts = 64        // a state of more is not written, and the stream is folded from further back
)

// snapshot is a state that may replace the events before it. It is a cache: used only if the MAC,
// the fold and the event at its revision all agree.
type snapshot struct {
	Revision int64           `json:"revision"`
	Link     codec.Link      `json:"link"` // of the event at that revision
	Fold     int             `json:"fold"`
	At       time.Time       `json:"at"`
	State    json.RawMessage `json:"state,omitempty"`
	Parts    int             `json:"parts,omitempty"` // the events before this one that hold the state, deflated
	Key      string          `json:"key"`             // the signing key whose MAC key it is under
	MAC      string          `json:"mac"`             // HMAC-SHA256 (RFC 2104), hex
}

// part is a piece of a packed state.
type part struct {
	Part []byte `json:"part"`
}

// mac covers the state as it is stored: packed if there are parts.
func (s *stream[S, C, E]) mac(n snapshot, state []byte) string {
	return hex.EncodeToString(s.loop.Env.Log.Keys.MAC(n.Key, pae.Encode(
		[]byte("agentkey.snapshot.v1"), []byte(s.loop.Env.Log.Keys.StoreID()), []byte(s.name),
		strconv.AppendInt(nil, n.Revision, 10), n.Link[:], strconv.AppendInt(nil, int64(n.Fold), 10),
		[]byte(n.At.Format(time.RFC3339Nano)), strconv.AppendInt(nil, int64(n.Parts), 10), []byte(n.Key), state,
	)))
}

// snapshotLocked writes a snapshot beside the queue.
func (s *stream[S, C, E]) snapshotLocked() {
	if s.loop.Fold == 0 || s.snapshotting {
		return
	}
	s.snapshotting = true
	head, keeps := s.head, s.keeps
	go func() {
		keeps, err := s.writeSnapshot(head, keeps)
		if err != nil && !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrWrongRevision) {
			s.loop.Env.OnFault("snapshot not written", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snapshotting = false
		s.keeps = keeps
	}()
}

// writeSnapshot writes a head down. The snapshot stream is known to keep so many events, or 0; it
// returns how many it keeps now.
func (s *stream[S, C, E]) writeSnapshot(head Head[S], keeps int) (int, error) {
	state, err := json.Marshal(head.State)
	if err != nil {
		return keeps, fmt.Errorf("encode the snapshot of %s: %w", s.name, err)
	}
	n := snapshot{
		Key: s.loop.Env.Log.Keys.Current(), Revision: head.Revision, Link: head.link, Fold: s.loop.Fold, At: head.At,
	}
	var parts [][]byte
	if len(state) > maxState {
		if state, err = pack(state); err != nil {
			return keeps, fmt.Errorf("pack the snapshot of %s: %w", s.name, err)
		}
		if len(state) > maxParts*maxPart {
			return keeps, nil
		}
		parts = slices.Collect(slices.Chunk(state, maxPart))
		n.Parts = len(parts)
	} else {
		n.State = state
	}
	n.MAC = s.mac(n, state)
	data, err := json.Marshal(n)
	if err != nil {
		return keeps, fmt.Errorf("encode the snapshot of %s: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.loop.deadline)
	defer cancel()
	name := codec.Snapshots.Stream(s.name)
	if most := len(parts) + 1; keeps != most || most > 1 { // another process may have kept fewer
		if err := s.loop.Env.Log.Client.SetStreamMetadata(
			ctx, name, eventstore.StreamMetadata{MaxCount: uint64(most)},
		); err != nil {
			return keeps, fmt.Errorf("trim %s: %w", name, err)
		}
		keeps = most
	}
	// Nothing is decided on this stream, and each snapshot is checked against the events: any revision
	// will do to begin at. What follows must be next to it: of two processes that write at the same
	// time, one gives up.
	at := eventstore.Any
	for _, p := range parts {
		raw, err := json.Marshal(part{p})
		if err != nil {
			return keeps, fmt.Errorf("encode the snapshot of %s: %w", s.name, err)
		}
		if at, err = s.appendSnapshot(ctx, name, at, raw); err != nil {
			return keeps, err
		}
	}
	_, err = s.appendSnapshot(ctx, name, at, data)
	return keeps, err
}

// appendSnapshot writes a part or a snapshot and returns its revision. A new id each time replaces
// also one of the same content that was tampered with.
func (s *stream[S, C, E]) appendSnapshot(ctx context.Context, name string, at int64, data []byte) (int64, error) {
	appended, err := s.loop.Env.Log.Client.Append(
		ctx, name, at, eventstore.Event{ID: uuid.New(), Type: codec.Snapshot, Data: data, Metadata: []byte("{}")},
	)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", name, err)
	}
	return int64(appended.Revision), nil //nolint:gosec // revisions fit
}

func pack(state []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(state); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// stateOf returns the state of a snapshot as it is stored, or nil if parts of it are gone because
// another one was begun.
func (s *stream[S, C, E]) stateOf(ctx context.Context, name string, n snapshot, revision uint64) []byte {
	if n.Parts == 0 {
		return n.State
	}
	if n.Parts < 0 || n.Parts > maxParts || uint64(n.Parts) > revision {
		return []byte{} // its MAC can't be ours
	}
	from := revision - uint64(n.Parts)
	stored, err := s.loop.Env.Log.Client.ReadForward(ctx, name, from, uint64(n.Parts))
	if err != nil || len(stored) != n.Parts || stored[0].Revision != from {
		return nil
	}
	packed := []byte{}
	for _, e := range stored {
		var p part
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return []byte{}
		}
		packed = append(packed, p.Part...)
	}
	return packed
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
	var n struct {
		snapshot
		part
	}
	err = json.Unmarshal(stored[0].Data, &n)
	if err == nil && n.Part != nil && n.MAC == "" {
		return begin // the rest of it is being written, or never was
	}
	keys := s.loop.Env.Log.Keys
	known := err == nil && keys.Knows(n.Key)
	if known && n.Key != keys.Current() {
		return begin // keys were replaced, and the next one will be written under the present one
	}
	packed := s.stateOf(ctx, name, n.snapshot, stored[0].Revision)
	if err == nil && packed == nil && n.Parts > 0 {
		return begin
	}
	if !known || n.MAC == "" || !hmac.Equal([]byte(n.MAC), []byte(s.mac(n.snapshot, packed))) {
		s.loop.Env.OnFault(
			"snapshot refused",
			&codec.ForgedError{Stream: name, Revision: stored[0].Revision, Reason: "its MAC is not ours"},
		)
		return begin
	}
	if n.Fold != s.loop.Fold || n.Revision < 0 {
		return begin
	}
	events, err := s.loop.Env.Log.ReadForward(ctx, s.name, uint64(n.Revision), 1)
	if errors.Is(err, eventstore.ErrUnavailable) {
		return begin
	}
	if err != nil || len(events) == 0 || events[0].Link != n.Link {
		s.loop.Env.OnFault("snapshot refused", errors.Join(
			fmt.Errorf("%s names an event that is not at revision %d of %s", name, n.Revision, s.name), err,
		))
		return begin
	}
	var state S
	if n.Parts > 0 {
		err = json.NewDecoder(flate.NewReader(bytes.NewReader(packed))).Decode(&state)
	} else {
		err = json.Unmarshal(packed, &state)
	}
	if err != nil {
		s.loop.Env.OnFault("snapshot refused", fmt.Errorf("decode %s: %w", name, err))
		return begin
	}
	return Head[S]{
		State: state, Revision: n.Revision, Position: events[0].Position, At: n.At, eventID: events[0].ID, link: n.Link,
	}
}
