package formats

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// TileHeight is that of C2SP tlog-tiles (https://c2sp.org/tlog-tiles): 256 hashes a tile.
const TileHeight = 8

// TileWidth is how many hashes a full tile has, and how many entries a full bundle.
const TileWidth = 1 << TileHeight

// topLevel is the highest level that a path may name.
const topLevel = 5

// entriesLevel is what tlog calls the level of entry bundles.
const entriesLevel = -1

// TilePath returns the path of a tile, or of a bundle of entries, in the layout of tlog-tiles.
func TilePath(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", TileHeight))
	if rest, bundle := strings.CutPrefix(path, "data/"); bundle {
		path = "entries/" + rest
	}
	return "tile/" + path
}

// ParseTilePath is the reverse; level -1 is that of the bundles of entries. Each tile has one path.
func ParseTilePath(path string) (tlog.Tile, error) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if bundle, entries := strings.CutPrefix(rest, "entries/"); entries {
		rest = "data/" + bundle
	}
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", TileHeight, rest))
	if !ok || err != nil || t.L > topLevel || TilePath(t) != path {
		return tlog.Tile{}, fmt.Errorf("%q is not the path of a tile", path)
	}
	return t, nil
}

// IsBundle reports whether a tile is a bundle of entries.
func IsBundle(t tlog.Tile) bool { return t.L == entriesLevel }

// BundleTile returns the bundle with an index, as wide as it is in a tree of a size.
func BundleTile(index, size int64) tlog.Tile {
	return tlog.Tile{H: TileHeight, L: entriesLevel, N: index, W: int(min(size-index*TileWidth, TileWidth))}
}

// AppendBundle appends entries to a bundle: each with its length before it.
func AppendBundle(bundle []byte, entries ...Entry) []byte {
	for _, e := range entries {
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(e)))
		bundle = append(bundle, e[:]...)
	}
	return bundle
}

// ParseBundle returns the entries of a bundle.
func ParseBundle(bundle []byte) ([]Entry, error) {
	var entries []Entry
	for len(bundle) > 0 {
		var e Entry
		if len(bundle) < 2+len(e) || int(binary.BigEndian.Uint16(bundle)) != len(e) {
			return nil, fmt.Errorf("a bundle holds entries of %d bytes, each with its length before it", len(e))
		}
		copy(e[:], bundle[2:])
		entries, bundle = append(entries, e), bundle[2+len(e):]
	}
	return entries, nil
}
