package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Digest names a content: the SHA-256 of its texts in their order, in hexadecimal.
func Digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(t), t) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Seen are the digests of what a human may have been shown before they decided. Nil means that they
// didn't say, and the decision is about whatever it is now.
type Seen []string

// Covers refuses a decision about something else than what was shown.
func (s Seen) Covers(digest string) error {
	if s == nil || slices.Contains(s, digest) {
		return nil
	}
	return &Error{
		Kind: KindStale, Code: "revision_stale", Detail: "It is not what it was when you read it.",
		Hint: "Read it again, decide on what it is now, and send its new {tag} in {condition}.",
	}
}
