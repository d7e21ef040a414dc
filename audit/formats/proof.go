package formats

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Proof says that a leaf is in the tree of a checkpoint. Hashes are the audit path of RFC 6962,
// 2.1.1.
type Proof struct {
	Index      int64       `json:"index"`
	Size       int64       `json:"size"`
	Leaf       tlog.Hash   `json:"leaf"`
	Hashes     []tlog.Hash `json:"hashes"`
	Checkpoint string      `json:"checkpoint"` // the signed note
}

// Check opens the checkpoint and checks that the leaf is in its tree.
func (p Proof) Check(origin string, keys ...ed25519.PublicKey) error {
	c, err := OpenCheckpoint([]byte(p.Checkpoint), origin, keys...)
	if err != nil {
		return err
	}
	if c.Size != p.Size {
		return fmt.Errorf("the proof is for %d leaves and the checkpoint has %d", p.Size, c.Size)
	}
	if p.Index < 0 || p.Index >= p.Size {
		return errors.New("the tree of the checkpoint has no such leaf")
	}
	return tlog.CheckRecord(p.Hashes, p.Size, c.Root, p.Index, p.Leaf)
}

// Consistency says that the tree of the size To begins with that of the size From. Hashes are as
// RFC 6962, 2.1.2 has them.
type Consistency struct {
	From   int64       `json:"from"`
	To     int64       `json:"to"`
	Hashes []tlog.Hash `json:"hashes"`
}

// Check checks it against the two roots.
func (c Consistency) Check(from, to tlog.Hash) error {
	if c.From < 1 || c.From > c.To {
		return errors.New("a proof goes from a size above 0 to one that is not smaller")
	}
	return tlog.CheckTree(c.Hashes, c.To, to, c.From, from)
}

// Receipt is all that it takes, beside the public keys, to check that an event is in the ledger.
type Receipt struct {
	EventID  string `json:"event_id"`
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Entry    Entry  `json:"entry"`
	Proof    Proof  `json:"proof"`
}

// Origin names the tree of the checkpoint. Nothing is checked.
func (r Receipt) Origin() string {
	origin, _, _ := strings.Cut(r.Proof.Checkpoint, "\n")
	return origin
}

// Check checks that the entry is the leaf of the proof, and the proof.
func (r Receipt) Check(origin string, keys ...ed25519.PublicKey) error {
	if r.Entry.Leaf() != r.Proof.Leaf {
		return errors.New("the proof is of another entry")
	}
	return r.Proof.Check(origin, keys...)
}

// KeyUse is what a key signs.
type KeyUse string

const (
	EventKey      KeyUse = "event"      // the metadata of events
	CheckpointKey KeyUse = "checkpoint" // checkpoints
)

// Key is a public key as /.well-known/agentkey-keys.json has it.
type Key struct {
	ID        string            `json:"id"`
	Use       KeyUse            `json:"use"`
	Algorithm string            `json:"algorithm"`  // Ed25519
	PublicKey ed25519.PublicKey `json:"public_key"` // base64
	NotBefore time.Time         `json:"not_before"`
	NotAfter  time.Time         `json:"not_after,omitzero"` // zero: it still signs
}

// PublicKeys returns the keys for a use, each once.
func PublicKeys(keys []Key, use KeyUse) (out []ed25519.PublicKey) {
	for _, k := range keys {
		known := slices.ContainsFunc(out, func(o ed25519.PublicKey) bool { return o.Equal(k.PublicKey) })
		if k.Use == use && k.Algorithm == "Ed25519" && len(k.PublicKey) == ed25519.PublicKeySize && !known {
			out = append(out, k.PublicKey)
		}
	}
	return out
}

// Keys is the whole of that file.
type Keys struct {
	Keys []Key `json:"keys"`
}
