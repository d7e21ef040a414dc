package verify

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"agentkey/audit/formats"
)

// evidence checks that an evidence pack has the files that it lists, and then the bundle in it.
func (c *check) evidence(archive *zip.Reader, r io.ReaderAt) {
	files := map[string]*zip.File{}
	for _, f := range archive.File {
		if files[f.Name] != nil {
			c.found(Inserted, formats.NoIndex, 0, "the file %q is there twice", f.Name)
		}
		files[f.Name] = f
	}
	var listed formats.Evidence
	if !c.decode(files[formats.EvidenceFile], &listed) {
		return
	}
	c.Evidence = &listed
	known := map[string]bool{formats.EvidenceFile: true, formats.ReadmeFile: true}
	for _, want := range listed.Files {
		f := files[want.Name]
		if known[want.Name] = true; f == nil {
			c.found(Dropped, formats.NoIndex, 0, "the file %q is missing", want.Name)
			continue
		}
		switch sum, err := sumOf(f); {
		case err != nil:
			c.found(Unreadable, formats.NoIndex, 0, "%q: %v", f.Name, err)
		case sum != want.SHA256:
			c.found(Altered, formats.NoIndex, 0, "%q isn't the file that %s lists", f.Name, formats.EvidenceFile)
		}
	}
	for name := range files {
		if !known[name] {
			c.found(Inserted, formats.NoIndex, 0, "the file %q isn't listed in %s", name, formats.EvidenceFile)
		}
	}
	f := files[formats.AuditFile]
	if f == nil {
		c.found(Dropped, formats.NoIndex, 0, "the file %s is missing, so nothing is proven", formats.AuditFile)
		return
	}
	bundle, err := within(f, r)
	if err != nil {
		c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		return
	}
	c.period = &period{Evidence: listed}
	c.run(bundle)
	if c.Range.Origin != "" && c.Range.Origin != formats.Origin(listed.Organization) {
		c.found(
			Altered, formats.NoIndex, 0, "%s is about the organization %q, and %s holds entries of %s",
			formats.EvidenceFile, listed.Organization, f.Name, c.Range.Origin,
		)
	}
	if len(c.checkpoints) > 0 {
		if of, err := formats.ParseCheckpoint(listed.Checkpoint); err != nil || of != c.Newest {
			c.found(Altered, formats.NoIndex, 0, "%s names another checkpoint than %s has", formats.EvidenceFile, f.Name)
		}
	}
}

// period compares what a pack says about its period with when its events happened, which each of
// them is signed with. What comes before the first one isn't in the pack, so that it was before the
// period is only said.
type period struct {
	formats.Evidence

	seen  bool // the first entry
	ended bool // the entry at End
	after bool // the first entry after it
	late  bool // an entry that is too late; the first one is named
}

// resolution is how exactly the service compares times.
const resolution = time.Microsecond

// add is called with each event, in their order.
func (p *period) add(c *check, s seen) {
	if p == nil || s.link == "" {
		return
	}
	l, some := s.line, p.Begin != p.End
	wrong := func(format string, args ...any) {
		c.found(Altered, l.Index, l.Position, formats.EvidenceFile+" says otherwise: "+format, args...)
	}
	if first := !p.seen; first {
		p.seen = true
		switch {
		case !p.From.Before(p.To) || p.Begin > p.End:
			wrong("its period ends before it begins")
		case some && l.Position <= p.Begin || !some && l.Position != p.End:
			wrong("this isn't the first event of a period after the position %d", p.Begin)
		case some && (p.Begin == 0) != (c.Range.First == 0):
			wrong("there are %d entries before this one", c.Range.First)
		case some && s.time.Before(p.From.Add(-resolution)):
			wrong("it happened at %s, before the period", s.time.Format(time.RFC3339Nano))
		}
	}
	switch {
	case l.Position <= p.End:
		p.ended = p.ended || l.Position == p.End
		if !p.late && !s.time.Before(p.To.Add(resolution)) {
			p.late = true
			wrong("it happened at %s, after the period", s.time.Format(time.RFC3339Nano))
		}
	case !p.after:
		if p.after = true; s.time.Before(p.To.Add(-resolution)) {
			wrong("it happened at %s, within the period that ends before it", s.time.Format(time.RFC3339Nano))
		}
	}
}

func (p *period) finish(c *check) {
	if p != nil && !p.ended {
		c.found(Dropped, formats.NoIndex, 0, "the last event of the period, at position %d, isn't there", p.End)
	}
}

func sumOf(f *zip.File) (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	sum := sha256.New()
	_, err = io.Copy(sum, r) //nolint:gosec // nothing of it is kept
	return hex.EncodeToString(sum.Sum(nil)), err
}

// within opens an archive that is stored in another one as it is.
func within(f *zip.File, r io.ReaderAt) (*zip.Reader, error) {
	at, err := f.DataOffset()
	if err != nil {
		return nil, err
	}
	if f.Method != zip.Store {
		return nil, errors.New("it is compressed again")
	}
	size := int64(f.UncompressedSize64) //nolint:gosec // it is within the file, or reading fails
	return zip.NewReader(io.NewSectionReader(r, at, size), size)
}
