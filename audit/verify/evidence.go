package verify

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"agentkey/audit/formats"
)

// evidence checks that an evidence pack has the files that it lists, and then the bundle in it.
func (c *check) evidence(archive *zip.Reader, r io.ReaderAt) {
	files := map[string]*zip.File{}
	for _, f := range archive.File {
		if files[f.Name] != nil {
			c.found(Inserted, formats.NoIndex, 0, "the file %s is there twice", f.Name)
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
			c.found(Dropped, formats.NoIndex, 0, "the file %s is missing", want.Name)
			continue
		}
		switch sum, err := sumOf(f); {
		case err != nil:
			c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		case sum != want.SHA256:
			c.found(Altered, formats.NoIndex, 0, "%s isn't the file that %s lists", f.Name, formats.EvidenceFile)
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
	c.run(bundle)
	if len(c.checkpoints) > 0 {
		if of, err := formats.ParseCheckpoint(listed.Checkpoint); err != nil || of != c.Newest {
			c.found(Altered, formats.NoIndex, 0, "%s names another checkpoint than %s has", formats.EvidenceFile, f.Name)
		}
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
