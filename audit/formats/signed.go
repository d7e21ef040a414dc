package formats

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"agentkey/eventstore/pae"
)

// They name what is signed with each event, and how a stream begins; a change of the encoding is a
// new name.
const (
	eventFormat  = "agentkey.event.v1"
	streamFormat = "agentkey.stream.v1"
)

// Message returns what is signed with an event: the event at its place, and the text of its
// metadata. The link that the next event of its stream names is the SHA-256 of this. Metadata isn't
// looked at.
func (e Event) Message(storeID, signed string) []byte {
	return pae.Encode(
		[]byte(eventFormat), []byte(storeID), []byte(e.Stream), strconv.AppendUint(nil, e.Revision, 10), e.ID[:],
		[]byte(e.Type), e.Data, []byte(signed),
	)
}

// Beginning is the link that the first event of a stream names.
func Beginning(storeID, stream string) [sha256.Size]byte {
	return sha256.Sum256(pae.Encode([]byte(streamFormat), []byte(storeID), []byte(stream)))
}

// Stored is what the metadata of an event says that a verifier looks at.
type Stored struct {
	Signed string `json:"signed"` // the JSON text that is signed with the event
	Key    string `json:"key"`
	Sig    string `json:"sig"` // Ed25519 (RFC 8032), base64url without padding

	// Of the signed text: when it happened, and the link of the event before it in its stream.
	Time time.Time `json:"-"`
	Prev string    `json:"-"` // base64url without padding
}

// ReadStored reads the metadata of an event.
func ReadStored(metadata []byte) (Stored, error) {
	var s Stored
	if err := json.Unmarshal(metadata, &s); err != nil {
		return Stored{}, fmt.Errorf("read the metadata: %w", err)
	}
	var signed struct {
		Time time.Time `json:"time"`
		Prev string    `json:"prev"`
	}
	if err := json.Unmarshal([]byte(s.Signed), &signed); err != nil {
		return Stored{}, fmt.Errorf("read what is signed: %w", err)
	}
	s.Time, s.Prev = signed.Time, signed.Prev
	return s, nil
}
