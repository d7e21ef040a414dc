// Package pae encodes lists of byte strings for what is signed, hashed or authenticated. It imports
// nothing of the server, so that a verifier which runs elsewhere uses the same.
package pae

import "encoding/binary"

// Encode is the pre-authentication encoding of PASETO (github.com/paseto-standard/paseto-spec,
// Common.md): the count of pieces, then each with its length, all as little-endian 64-bit integers.
// Two different lists of pieces never encode to the same bytes, so it is safe to sign and to use as
// associated data.
func Encode(pieces ...[]byte) []byte {
	size := 8
	for _, p := range pieces {
		size += 8 + len(p)
	}
	out := make([]byte, 0, size)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(pieces)))
	for _, p := range pieces {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}
