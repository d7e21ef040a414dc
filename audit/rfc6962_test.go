package audit_test

import "crypto/sha256"

// What follows is RFC 6962, section 2.1, word for word, and shares nothing with the ledger.

type hash = [sha256.Size]byte

func leafHash(entry []byte) hash { return sha256.Sum256(append([]byte{0}, entry...)) }

func nodeHash(left, right hash) hash {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// split is the largest power of two smaller than n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// mth is the Merkle tree hash of section 2.1.
func mth(entries [][]byte) hash {
	switch n := len(entries); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leafHash(entries[0])
	default:
		k := split(n)
		return nodeHash(mth(entries[:k]), mth(entries[k:]))
	}
}

// path is the audit path of section 2.1.1.
func path(m int, entries [][]byte) []hash {
	n := len(entries)
	if n == 1 {
		return nil
	}
	k := split(n)
	if m < k {
		return append(path(m, entries[:k]), mth(entries[k:]))
	}
	return append(path(m-k, entries[k:]), mth(entries[:k]))
}

// proof is the consistency proof of section 2.1.2.
func proof(m int, entries [][]byte) []hash { return subproof(m, entries, true) }

func subproof(m int, entries [][]byte, whole bool) []hash {
	n := len(entries)
	if m == n {
		if whole {
			return nil
		}
		return []hash{mth(entries)}
	}
	k := split(n)
	if m <= k {
		return append(subproof(m, entries[:k], whole), mth(entries[k:]))
	}
	return append(subproof(m-k, entries[k:], false), mth(entries[:k]))
}
