package formats

import (
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree calculates the roots of a Merkle tree (RFC 6962, 2.1) as it grows, in little memory. The
// zero value is the empty tree.
type Tree struct {
	size  int64
	parts []tlog.Hash // of the complete subtrees, the largest first
}

// Parts returns how many complete subtrees a tree of a size has: one for each bit that is set.
func Parts(size int64) int { return bits.OnesCount64(uint64(size)) } //nolint:gosec // a size isn't negative

// NewTree returns a tree of a size by the hashes of its complete subtrees, the largest first.
func NewTree(size int64, parts []tlog.Hash) (*Tree, error) {
	if size < 0 || len(parts) != Parts(size) {
		return nil, errors.New("the hashes of what is before it are not those of a tree of that size")
	}
	return &Tree{size, append([]tlog.Hash(nil), parts...)}, nil
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Append adds a leaf.
func (t *Tree) Append(leaf tlog.Hash) {
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.parts) - 1
		leaf, t.parts = tlog.NodeHash(t.parts[last], leaf), t.parts[:last]
	}
	t.parts = append(t.parts, leaf)
	t.size++
}

// Root returns the hash of the whole tree.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		root, _ := tlog.TreeHash(0, nil) // of nothing: it reads nothing
		return root
	}
	last := len(t.parts) - 1
	root := t.parts[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.parts[i], root)
	}
	return root
}
