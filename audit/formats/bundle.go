package formats

import (
	"bytes"
	"encoding/json"
	"errors"

	"golang.org/x/mod/sumdb/tlog"
)

// The files of a bundle, in their order. A bundle is a ZIP archive that holds these and no others.
const (
	ReadmeFile      = "README.txt"
	KeysFile        = "keys.json"   // Keys
	RangeFile       = "range.json"  // Range
	CheckpointsFile = "checkpoints" // signed notes, each followed by an empty line, the smallest first
	EventsFile      = "events.jsonl"
)

// BundleFiles are the files of a bundle.
func BundleFiles() []string {
	return []string{ReadmeFile, RangeFile, CheckpointsFile, EventsFile, KeysFile}
}

// Range says which leaves of which tree a bundle holds. The last of its checkpoints is over all of
// them; Before makes it checkable without the leaves before the first.
type Range struct {
	Origin  string      `json:"origin"`
	StoreID string      `json:"store_id"` // of the log; a part of what is signed with each event
	First   int64       `json:"first"`
	Last    int64       `json:"last"`
	Before  []tlog.Hash `json:"before"` // of the complete subtrees of the leaves before First, the largest first

	// Witnesses are those that signed one of the checkpoints. Who relies on one names it.
	Witnesses []string `json:"witnesses"`
}

// EncodeFile returns the one form that a JSON file of a bundle has.
func EncodeFile(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }

// DecodeFile reads such a file. Whatever else means the same in JSON is refused.
func DecodeFile(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	if same, err := EncodeFile(into); err != nil || !bytes.Equal(same, text) {
		return errFile
	}
	return nil
}

var errFile = errors.New("it isn't in the form in which bundles are written")
