package commands

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/pae"
	"agentkey/eventstore/seal"
)

const (
	onceKept = 24 * time.Hour        // an answer
	onceWait = 2 * time.Second       // for a first call that still runs
	oncePoll = 50 * time.Millisecond // between looks at it
	oncePage = 16                    // events in one read

	maxAnswer = 900 << 10 // bytes of a sealed answer that is kept
)

// Once gives a command that carries an idempotency key one effect and one answer.
type Once struct {
	Log    *codec.Log
	MACKey domain.Secret
	Clock  func() time.Time
	NewID  func() uuid.UUID
}

// StoredAnswer is an answer that is kept for repeats. Nothing in it is shown only once.
type StoredAnswer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// Ticket is an idempotency key taken for one call: either Replay is the answer of an earlier one,
// or the caller must make the call with CommandID and Since in its Meta, and then completed or
// released.
type Ticket struct {
	CommandID uuid.UUID
	Since     uint64
	Replay    *StoredAnswer

	stream string
	end    codec.End // of the stream
	signed codec.Signed
}

// Begin takes a key for the actor of m. digest is of method, path and body: the same key with
// another digest is refused with idempotency_key_reused, and a first call that still runs after two
// seconds with idempotency_in_progress. A call that was left behind by a process that died is taken
// over with its command id.
func (o *Once) Begin(ctx context.Context, m loop.Meta, key string, digest []byte) (Ticket, error) {
	name := hex.EncodeToString(hmacOf(o.MACKey, "once", m.Organization, string(m.Actor.Type), m.Actor.ID, key))
	t := Ticket{
		stream: codec.Keys.Stream(name), end: codec.Begin,
		signed: codec.Signed{Organization: m.Organization, Actor: m.Actor, RequestID: m.RequestID},
	}
	request := hex.EncodeToString(hmacOf(o.MACKey, "once.request", string(digest)))
	deadline := time.NewTimer(onceWait)
	defer deadline.Stop()
	for {
		wait, err := o.try(ctx, &t, request)
		if err != nil || !wait {
			return t, loop.Refusal(err)
		}
		select {
		case <-time.After(oncePoll):
		case <-ctx.Done():
			return t, loop.Refusal(ctx.Err())
		case <-deadline.C:
			return t, &domain.Error{
				Kind: domain.KindConflict, Code: "idempotency_in_progress",
				Detail: "A first call with this {once} is still running.",
				Hint:   "Send the same request with the same {once} again in a moment.", RetryAfter: time.Second,
			}
		}
	}
}

// try looks at the key once. It reports true when somebody else has it and may still finish.
func (o *Once) try(ctx context.Context, t *Ticket, request string) (bool, error) {
	now := loop.Later(o.Clock(), time.Time{})
	past, end, err := o.Log.Newest(ctx, t.stream, oncePage)
	if err != nil && !errors.Is(err, eventstore.ErrStreamNotFound) {
		return false, err
	}
	expired := err == nil && end == codec.Begin
	t.end, t.Since, t.CommandID = end, 0, o.NewID()
	if len(past) > 0 {
		if now.Sub(past[0].Signed.Time) < onceKept {
			if done, wait, err := o.judge(ctx, t, past, request, now); done || wait || err != nil {
				return wait, err
			}
		}
	}
	t.signed.CommandID, t.signed.Time = o.NewID().String(), now
	reserved := codec.OnceReserved{Request: request, CommandID: t.CommandID.String()}
	appended, err := o.Log.Write(ctx, t.stream, t.end, reserved, t.signed)
	if moved := (*eventstore.WrongRevisionError)(nil); expired && errors.As(err, &moved) && moved.Current >= 0 {
		// Nothing of it was to be seen any more, so at which revision it goes on is known only now. If
		// there is still nothing, no other call has reserved it up to there.
		past, _, err = o.Log.Newest(ctx, t.stream, 1)
		if len(past) > 0 || errors.Is(err, eventstore.ErrStreamNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		appended, err = o.Log.Write(ctx, t.stream, codec.End{Revision: moved.Current}, reserved, t.signed)
	}
	if errors.Is(err, eventstore.ErrWrongRevision) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reserve an idempotency key: %w", err)
	}
	t.end = appended.End()
	if len(past) == 0 {
		return false, o.Log.Client.SetStreamMetadata(ctx, t.stream, eventstore.StreamMetadata{MaxAge: onceKept})
	}
	return false, nil
}

// judge reads the newest events of a key, newest first. It leaves the ticket ready to reserve
// unless it reports that the call is answered or must wait. The same request goes on under the same
// command id, also after an answer that may be tried again: that one may not have known that the
// command was carried out.
func (o *Once) judge(
	ctx context.Context, t *Ticket, past []codec.Verified, request string, now time.Time,
) (done, wait bool, err error) {
	_, free := past[0].Event.(codec.OnceReleased)
	completed, answered := past[0].Event.(codec.OnceCompleted)
	reserved, since, err := o.reservation(ctx, t.stream, past)
	switch {
	case err != nil:
		return true, false, err
	case free && reserved.Request != request:
		return false, false, nil
	case reserved.Request != request:
		return true, false, &domain.Error{
			Kind: domain.KindConflict, Code: "idempotency_key_reused",
			Detail: "This {once} was used for another request.",
			Hint:   "Use a new {once} for a new request.",
		}
	case answered && completed.Sealed != "":
		t.Replay, err = o.open(t.stream, completed.Sealed)
		return true, false, err
	case !free && !answered && now.Sub(past[0].Signed.Time) < loop.Takeover:
		return false, true, nil
	}
	t.CommandID, err = uuid.Parse(reserved.CommandID)
	t.Since = since
	return false, false, err
}

// reservation returns the newest reservation of a key and the position of the first one of the same
// command.
func (o *Once) reservation(
	ctx context.Context, stream string, past []codec.Verified,
) (newest codec.OnceReserved, since uint64, err error) {
	for count := 2 * oncePage; ; count *= 2 {
		for _, e := range past {
			r, ok := e.Event.(codec.OnceReserved)
			switch {
			case !ok:
			case newest.CommandID != "" && r.CommandID != newest.CommandID:
				return newest, since, nil
			default:
				newest, since = r, e.Position
			}
		}
		if len(past) < count/2 {
			break
		}
		if past, _, err = o.Log.Newest(ctx, stream, count); err != nil {
			return newest, since, err
		}
	}
	return newest, since, nil
}

// Complete keeps the answer of the call. Repeats get it from here on. An answer that is too large
// for the log isn't kept: a repeat carries the same command out again, which is found done.
func (o *Once) Complete(ctx context.Context, t Ticket, s StoredAnswer) error {
	plain, err := json.Marshal(s)
	if err != nil {
		return err
	}
	key, err := o.sealingKey()
	if err != nil {
		return err
	}
	sealed, err := seal.Seal(key, plain, []byte(t.stream))
	if err != nil {
		return err
	}
	if len(sealed) > maxAnswer {
		sealed = ""
	}
	return o.finish(ctx, t, codec.OnceCompleted{Sealed: sealed})
}

// Release gives the key back after an answer that may be tried again.
func (o *Once) Release(ctx context.Context, t Ticket) error {
	return o.finish(ctx, t, codec.OnceReleased{})
}

func (o *Once) finish(ctx context.Context, t Ticket, event any) error {
	t.signed.CommandID, t.signed.Time = o.NewID().String(), loop.Later(o.Clock(), time.Time{})
	_, err := o.Log.Write(ctx, t.stream, t.end, event, t.signed)
	if errors.Is(err, eventstore.ErrWrongRevision) {
		return nil // another caller took the call over; its answer counts
	}
	return loop.Refusal(err)
}

func (o *Once) open(stream, sealed string) (*StoredAnswer, error) {
	key, err := o.sealingKey()
	if err != nil {
		return nil, err
	}
	plain, err := seal.Open(key, sealed, []byte(stream))
	if err != nil {
		return nil, fmt.Errorf("open the answer kept in %s: %w", stream, err)
	}
	var s StoredAnswer
	return &s, json.Unmarshal(plain, &s)
}

func (o *Once) sealingKey() ([]byte, error) {
	return hkdf.Key(sha256.New, o.MACKey.Reveal(), nil, "agentkey.once.v1", 32)
}

func hmacOf(key domain.Secret, pieces ...string) []byte {
	raw := make([][]byte, len(pieces))
	for i, p := range pieces {
		raw[i] = []byte(p)
	}
	h := hmac.New(sha256.New, key.Reveal())
	h.Write(pae.Encode(raw...))
	return h.Sum(nil)
}
