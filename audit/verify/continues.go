package verify

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"agentkey/audit/formats"
)

// Continues checks that a later checkpoint of the same tree begins with the entries of a bundle
// that holds. prove asks the service for the proof. It returns what is wrong, or nil, and the later
// checkpoint; the error is that of prove.
func Continues(
	r Report, note []byte, prove func(from, to int64) (formats.Consistency, error),
) (*Finding, formats.Checkpoint, error) {
	wrong := func(kind Kind, format string, args ...any) (*Finding, formats.Checkpoint, error) {
		return &Finding{kind, formats.NoIndex, 0, fmt.Sprintf(format, args...)}, formats.Checkpoint{}, nil
	}
	now, err := formats.OpenCheckpoint(note, r.Range.Origin, formats.PublicKeys(r.Keys, formats.CheckpointKey)...)
	switch {
	case err != nil:
		return wrong(Foreign, "the newest checkpoint of the service: %v", err)
	case now.Size < r.Newest.Size:
		return wrong(Dropped, "the service has %d entries, and the bundle %d", now.Size, r.Newest.Size)
	case now.Size == r.Newest.Size && now.Root != r.Newest.Root:
		return wrong(Altered, "the service has another history of as many entries")
	case now.Size == r.Newest.Size:
		return nil, now, nil
	}
	proof, err := prove(r.Newest.Size, now.Size)
	if err != nil {
		return nil, now, fmt.Errorf("the service gives no proof that its history begins with this one: %w", err)
	}
	if proof.From != r.Newest.Size || proof.To != now.Size || proof.Check(r.Newest.Root, now.Root) != nil {
		return wrong(Altered, "the history of the service doesn't begin with this one")
	}
	return nil, now, nil
}

// ErrNoReceipt says that something else was given.
var ErrNoReceipt = errors.New("it isn't a receipt of the service")

// Receipt checks the receipt of an agent against keys that the reader trusts, and returns it. It
// proves that its entry, which is a hash, is in the ledger. Of which event, it only claims: that
// shows when the event is exported and its hash is the same. The error says what is wrong.
func Receipt(text []byte, keys []formats.Key) (r formats.Receipt, err error) {
	if err := json.Unmarshal(text, &r); err != nil || r.EventID == "" {
		return formats.Receipt{}, ErrNoReceipt
	}
	id, err := uuid.Parse(r.EventID)
	if err != nil || id.String() != r.EventID || !formats.IsOrigin(r.Origin()) {
		return formats.Receipt{}, fmt.Errorf("%s: the receipt has an id or a ledger that the service never gives", Altered)
	}
	if err := r.Check(r.Origin(), formats.PublicKeys(keys, formats.CheckpointKey)...); err != nil {
		return formats.Receipt{}, fmt.Errorf("%s: %w", Altered, err)
	}
	return r, nil
}
