// Package formats holds what the ledger and those who check it agree on: the entry of an event, the
// leaf of the tree, checkpoints, proofs and the paths of tiles. It imports nothing of the server,
// so that a verifier needs to trust none of it.
package formats

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"agentkey/eventstore/pae"
)

// entryFormat names what an entry is the hash of; a change of the encoding is a new name.
const entryFormat = "agentkey.audit.entry.v1"

// Event is what the log stores of one event, but for its own time and position: a copied log has
// the same entries.
type Event struct {
	Stream         string
	Revision       uint64
	ID             uuid.UUID
	Type           string
	Data, Metadata []byte // as they are stored
}

// Entry is the SHA-256 of an event, which the tree is over. It doesn't reveal the event.
type Entry [sha256.Size]byte

// Entry returns what the tree holds of the event.
func (e Event) Entry() Entry {
	return sha256.Sum256(pae.Encode(
		[]byte(entryFormat), []byte(e.Stream), strconv.AppendUint(nil, e.Revision, 10), e.ID[:], []byte(e.Type), e.Data,
		e.Metadata,
	))
}

// Leaf returns the hash of the entry in the tree, as RFC 6962 has it.
func (e Entry) Leaf() tlog.Hash { return tlog.RecordHash(e[:]) }

// MarshalText implements encoding.TextMarshaler: base64.
func (e Entry) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, e[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Entry) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(e) {
		return fmt.Errorf("an entry has %d bytes in base64", len(e))
	}
	copy(e[:], raw)
	return nil
}
