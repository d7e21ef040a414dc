// Package verify checks bundles of the audit, away from the service that wrote them. It imports
// nothing of the service but the formats, and trusts nothing in a bundle that it can't calculate.
package verify

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"agentkey/audit/formats"
)

// Kind is what is wrong with a bundle.
type Kind string

// The kinds of findings.
const (
	Altered    Kind = "altered"           // bytes aren't those that were signed
	Dropped    Kind = "dropped"           // something that was signed is missing
	Inserted   Kind = "inserted"          // something is there twice, or was never covered
	Reordered  Kind = "reordered"         // it is at another place
	Foreign    Kind = "foreign signature" // a key that isn't known, or that didn't sign at that time
	Gap        Kind = "gap"               // the numbers of the entries leave some out
	Unreadable Kind = "unreadable"        // it isn't a bundle, or is cut
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind     Kind
	Index    int64  // of the entry in the ledger; formats.NoIndex: it isn't about one
	Position uint64 // of the event in the log, as the bundle says; 0: unknown
	Detail   string
}

// String is the line that is printed for the finding.
func (f Finding) String() string {
	at := ""
	if f.Index != formats.NoIndex {
		at = fmt.Sprintf(" entry %d", f.Index)
	}
	if f.Position > 0 {
		at += fmt.Sprintf(" position %d", f.Position)
	}
	return string(f.Kind) + at + ": " + f.Detail
}

// Options say what a bundle is checked against.
type Options struct {
	// Keys are those that the reader trusts, as /.well-known/agentkey-keys.json has them. Without any,
	// those in the bundle are used, and the bundle proves only that it agrees with itself.
	Keys []formats.Key

	// Witnesses must have signed the last checkpoint, each of them.
	Witnesses []formats.Witness

	// OnFinding receives each finding as it is found. After the first hundred of a bundle, the rest
	// are only counted.
	OnFinding func(Finding)

	OnProgress func(entries, of int64) // nil: nobody watches
}

// Report is the result of a check.
type Report struct {
	Range       formats.Range
	Entries     int64                 // that were read
	Checkpoints int                   // that were read
	Newest      formats.Checkpoint    // the last of them that is signed; zero: none is
	Cosigned    []formats.Cosignature // of the named witnesses, on the last checkpoint
	OwnKeys     bool                  // the keys came from the bundle
	Findings    int                   // 0: everything holds
	Keys        []formats.Key         // that were used
	Evidence    *formats.Evidence     // of a pack; nil: it is a bundle
}

// maxNamed is how many findings are named.
const maxNamed = 100

type check struct {
	Options
	Report

	every       bool // calculate every signature
	period      *period
	checkpoints []formats.Checkpoint
}

func (c *check) found(kind Kind, index int64, position uint64, format string, args ...any) {
	c.Findings++
	if c.OnFinding != nil && c.Findings <= maxNamed {
		c.OnFinding(Finding{kind, index, position, fmt.Sprintf(format, args...)})
	}
}

// Bundle checks a bundle, or an evidence pack with one. The error says that it can't be read at
// all; what is wrong inside it is a finding.
func Bundle(r io.ReaderAt, size int64, o Options) (Report, error) {
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return Report{}, fmt.Errorf("this isn't a bundle, or a part of it is missing: %w", err)
	}
	quiet := o
	quiet.OnFinding = nil
	c := &check{Options: quiet}
	if c.all(archive, r); c.Findings > 0 { // again, and exactly: each event is checked by its own signature
		c = &check{Options: o, every: true}
		c.all(archive, r)
	}
	return c.Report, nil
}

func (c *check) all(archive *zip.Reader, r io.ReaderAt) {
	if slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == formats.EvidenceFile }) {
		c.evidence(archive, r)
		return
	}
	c.run(archive)
}

func (c *check) run(archive *zip.Reader) {
	if files, whole := c.files(archive); whole && c.head(files) {
		c.events(files[formats.EventsFile])
	}
}

// files returns the files of an archive by name. Any other than those of a bundle is a finding.
func (c *check) files(archive *zip.Reader) (map[string]*zip.File, bool) {
	files := map[string]*zip.File{}
	for _, f := range archive.File {
		switch {
		case !slices.Contains(formats.BundleFiles(), f.Name):
			c.found(Inserted, formats.NoIndex, 0, "the file %q has no place in a bundle", f.Name)
		case files[f.Name] != nil:
			c.found(Inserted, formats.NoIndex, 0, "the file %s is there twice", f.Name)
		}
		files[f.Name] = f
	}
	whole := true
	for _, name := range formats.BundleFiles() {
		if files[name] == nil {
			c.found(Dropped, formats.NoIndex, 0, "the file %s is missing", name)
			whole = whole && name == formats.ReadmeFile
		}
	}
	if f := files[formats.ReadmeFile]; f != nil { // it is text for people, but it must be readable
		if err := pass(f); err != nil {
			c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		}
	}
	return files, whole
}

// maxSmall bounds the files that are read as a whole: the checkpoints of some years.
const maxSmall = 256 << 20

// pass reads a file and keeps nothing.
func pass(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	_, err = io.Copy(io.Discard, io.LimitReader(r, maxSmall))
	return err
}

func (c *check) read(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	text, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err == nil && len(text) > maxSmall {
		err = errors.New("it is too large")
	}
	return text, err
}

// head reads everything but the events. It reports whether they can be checked.
func (c *check) head(files map[string]*zip.File) bool {
	var keys formats.Keys
	if !c.decode(files[formats.KeysFile], &keys) || !c.decode(files[formats.RangeFile], &c.Range) {
		return false
	}
	if c.Report.Keys = c.Options.Keys; len(c.Report.Keys) == 0 {
		c.Report.Keys, c.OwnKeys = keys.Keys, true
	} else {
		c.compareKeys(keys.Keys)
	}
	r := c.Range
	if !formats.IsOrigin(r.Origin) {
		c.found(Altered, formats.NoIndex, 0, "%s names no ledger", formats.RangeFile)
		c.Range.Origin = ""
		return false
	}
	if r.First < 0 || r.Last < r.First {
		c.found(Altered, formats.NoIndex, 0, "%s names the entries from %d to %d", formats.RangeFile, r.First, r.Last)
		return false
	}
	return c.notes(files[formats.CheckpointsFile])
}

// decode reads a file that is one JSON value.
func (c *check) decode(f *zip.File, into any) bool {
	text, err := c.read(f)
	if err != nil {
		c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		return false
	}
	if err := formats.DecodeFile(text, into); err != nil {
		c.found(Altered, formats.NoIndex, 0, "%s: %v", f.Name, err)
		return false
	}
	return true
}

// compareKeys names keys of the bundle that the reader doesn't know, and those that differ.
func (c *check) compareKeys(own []formats.Key) {
	for _, k := range own {
		equal := func(known formats.Key) bool {
			return known.ID == k.ID && known.Use == k.Use && known.Algorithm == k.Algorithm &&
				known.PublicKey.Equal(k.PublicKey) && known.NotBefore.Equal(k.NotBefore) &&
				// of an ended key, one of the two may be from before
				(known.NotAfter.Equal(k.NotAfter) || k.NotAfter.IsZero() || known.NotAfter.IsZero())
		}
		if !slices.ContainsFunc(c.Report.Keys, equal) {
			c.found(
				Altered, formats.NoIndex, 0, "the key %q in the bundle isn't one of the given keys; if the service has a new "+
					"one, get its keys again in a way that you trust", k.ID,
			)
		}
	}
}

func same(a, b formats.Witness) bool { return a.Name == b.Name && a.Key.Equal(b.Key) }

// named reports whether the caller asked for a witness.
func (c *check) named(w formats.Witness) bool {
	return slices.ContainsFunc(c.Witnesses, func(named formats.Witness) bool { return same(named, w) })
}

// notes reads the checkpoints. They must be signed, in their order, and end with the last entry.
func (c *check) notes(f *zip.File) bool {
	text, err := c.read(f)
	if err != nil {
		c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		return false
	}
	parts := strings.Split(strings.TrimSuffix(string(text), "\n\n"), "\n\n")
	if len(parts)%2 != 0 || !strings.HasSuffix(string(text), "\n\n") {
		c.found(Altered, formats.NoIndex, 0, "%s isn't a list of signed notes", f.Name)
		return false
	}
	var witnesses []formats.Witness
	for _, w := range c.Witnesses {
		if !slices.ContainsFunc(witnesses, func(known formats.Witness) bool { return same(known, w) }) {
			witnesses = append(witnesses, w)
		}
	}
	for _, text := range c.Range.Witnesses {
		w, err := formats.ParseWitness(text)
		if err != nil {
			c.found(Altered, formats.NoIndex, 0, "%s: %v", formats.RangeFile, err)
			return false
		}
		if !slices.ContainsFunc(witnesses, func(known formats.Witness) bool { return same(known, w) }) {
			witnesses = append(witnesses, w)
		}
	}
	signers := formats.PublicKeys(c.Report.Keys, formats.CheckpointKey)
	for note := range slices.Chunk(parts, 2) {
		c.Checkpoints++
		signed, err := formats.Open([]byte(note[0]+"\n\n"+note[1]+"\n"), c.Range.Origin, signers, witnesses)
		switch {
		case errors.Is(err, formats.ErrNotSigned):
			c.found(Foreign, formats.NoIndex, 0, "checkpoint %d: %v", c.Checkpoints, err)
			continue
		case err != nil:
			c.found(Altered, formats.NoIndex, 0, "checkpoint %d: %v", c.Checkpoints, err)
			continue
		case signed.Unknown > 0:
			c.found(Foreign, formats.NoIndex, 0, "checkpoint %d has a signature that isn't known", c.Checkpoints)
			continue
		case signed.Size <= c.Newest.Size:
			c.found(
				Reordered, formats.NoIndex, 0, "the checkpoint over %d entries follows one over %d", signed.Size, c.Newest.Size,
			)
			continue
		}
		c.Newest = signed.Checkpoint
		c.checkpoints = append(c.checkpoints, signed.Checkpoint)
		c.Cosigned = slices.DeleteFunc(signed.Cosignatures, func(s formats.Cosignature) bool { return !c.named(s.Witness) })
	}
	for _, w := range c.Witnesses {
		if !slices.ContainsFunc(c.Cosigned, func(s formats.Cosignature) bool { return same(s.Witness, w) }) {
			c.found(Foreign, formats.NoIndex, 0, "the witness %s has not signed the last checkpoint", w.Name)
		}
	}
	switch {
	case c.Newest.Size == 0:
		c.found(Dropped, formats.NoIndex, 0, "no checkpoint covers the entries")
		return false
	case c.Newest.Size > c.Range.Last+1:
		c.found(Dropped, c.Range.Last, 0, "this is the last entry, and a checkpoint is over %d", c.Newest.Size)
	case c.Newest.Size < c.Range.Last+1:
		c.found(Inserted, c.Newest.Size, 0, "no checkpoint covers this entry and those after it")
	}
	return true
}
