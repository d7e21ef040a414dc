package verify

import (
	"encoding/json"
	"fmt"
	"strings"

	"agentkey/audit/formats"
)

// Continues checks that a later checkpoint of the same tree begins with the entries of a bundle
// that holds. prove asks the service for the proof. It returns what is wrong, or nil, and the later
// checkpoint.
func Continues(
	r Report, note []byte, prove func(from, to int64) (formats.Consistency, error),
) (*Finding, formats.Checkpoint) {
	wrong := func(kind Kind, format string, args ...any) (*Finding, formats.Checkpoint) {
		return &Finding{kind, formats.NoIndex, 0, fmt.Sprintf(format, args...)}, formats.Checkpoint{}
	}
	now, err := formats.OpenCheckpoint(note, r.Range.Origin, keysFor(r.Keys, formats.CheckpointKey)...)
	switch {
	case err != nil:
		return wrong(Foreign, "the newest checkpoint of the service: %v", err)
	case now.Size < r.Newest.Size:
		return wrong(Dropped, "the service has %d entries, and the bundle %d", now.Size, r.Newest.Size)
	case now.Size == r.Newest.Size && now.Root != r.Newest.Root:
		return wrong(Altered, "the service has another history of as many entries")
	case now.Size == r.Newest.Size:
		return nil, now
	}
	proof, err := prove(r.Newest.Size, now.Size)
	if err != nil {
		return wrong(Unreadable, "the service gives no proof that its history begins with this one: %v", err)
	}
	if proof.From != r.Newest.Size || proof.To != now.Size || proof.Check(r.Newest.Root, now.Root) != nil {
		return wrong(Altered, "the history of the service doesn't begin with this one")
	}
	return nil, now
}

// Receipt checks the receipt of an agent against keys that the reader trusts. It returns it with
// the origin of its tree; the error says what is wrong.
func Receipt(text []byte, keys []formats.Key) (r formats.Receipt, origin string, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || d.More() {
		return formats.Receipt{}, "", fmt.Errorf("%s: it isn't a receipt of the service", Altered)
	}
	origin, _, _ = strings.Cut(r.Proof.Checkpoint, "\n")
	if err := r.Check(origin, keysFor(keys, formats.CheckpointKey)...); err != nil {
		return formats.Receipt{}, "", fmt.Errorf("%s: %w", Altered, err)
	}
	return r, origin, nil
}
