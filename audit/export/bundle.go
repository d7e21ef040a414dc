package export

import (
	"archive/zip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/audit/formats"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

//go:embed readme.txt
var readmeText string

// Bundle is a range of an organization's ledger with all that it takes to check it elsewhere.
type Bundle struct {
	audit.Range

	source       *Source
	organization string
	keys         formats.Keys
	signed       map[string]bool // ids of the keys that signed the events; nil: all keys are wanted
}

// Bundle returns the bundle that holds two events and what is between them; see audit.Ledger.Range
// for what uuid.Nil means, and for the errors.
func (s *Source) Bundle(ctx context.Context, organization string, first, last uuid.UUID) (*Bundle, error) {
	keys, err := s.Keys()
	if err != nil {
		return nil, err
	}
	r, err := s.Ledger.Range(ctx, organization, first, last)
	if err != nil {
		return nil, err
	}
	return &Bundle{Range: r, source: s, organization: organization, keys: keys}, nil
}

// FinalBundle is a bundle that has the same bytes whenever it is written: see
// audit.Ledger.FinalRange. Of the keys it has those that signed something in it, and doesn't say
// until when they sign.
func (s *Source) FinalBundle(ctx context.Context, organization string, first, last uuid.UUID) (*Bundle, error) {
	keys, err := s.Keys()
	if err != nil {
		return nil, err
	}
	r, err := s.Ledger.FinalRange(ctx, organization, first, last)
	if err != nil {
		return nil, err
	}
	return &Bundle{Range: r, source: s, organization: organization, keys: keys, signed: map[string]bool{}}, nil
}

// Newest is the position of the newest event that can be one of the audit, of any organization; 0:
// there is none.
func (s *Source) Newest(ctx context.Context) (uint64, error) {
	newest, _, err := s.Log.Client.Newest(ctx, func(r eventstore.Recorded) bool {
		category, _ := codec.Split(r.Stream)
		return category.Audited() && !strings.HasPrefix(r.Type, "$")
	})
	return newest.Position, err
}

// bundlePage is how many events of a bundle are in memory at once.
const bundlePage = 256

// Write writes the bundle as a ZIP archive, in memory that doesn't grow with it. A leaf whose event
// the log no longer has is left out, so that the verifier names it.
func (b *Bundle) Write(ctx context.Context, w io.Writer) error {
	archive := zip.NewWriter(w)
	for _, name := range formats.BundleFiles() {
		file, err := archive.Create(name)
		if err == nil {
			err = b.file(ctx, name, file)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return archive.Close()
}

func (b *Bundle) file(ctx context.Context, name string, w io.Writer) error {
	r := formats.Range{
		Origin: formats.Origin(b.organization), StoreID: b.source.Log.Keys.StoreID(), First: b.First, Last: b.Size - 1,
		Before: b.Before, Witnesses: b.Witnesses,
	}
	switch name {
	case formats.ReadmeFile:
		_, err := strings.NewReplacer(
			"{origin}", r.Origin, "{first}", strconv.FormatInt(r.First, 10), "{last}", strconv.FormatInt(r.Last, 10),
		).WriteString(w, readmeText)
		return err
	case formats.KeysFile:
		return encoded(w, b.present())
	case formats.RangeFile:
		return encoded(w, r)
	case formats.CheckpointsFile:
		_, err := io.WriteString(w, strings.Join(b.Checkpoints, "\n")+"\n")
		return err
	}
	return b.events(ctx, w)
}

// present are the keys in the bundle, which its events come before.
func (b *Bundle) present() formats.Keys {
	if b.signed == nil {
		return b.keys
	}
	var out formats.Keys
	for _, k := range b.keys.Keys {
		if k.NotAfter = (time.Time{}); k.Use != formats.EventKey || b.signed[k.ID] {
			out.Keys = append(out.Keys, k)
		}
	}
	return out
}

func (b *Bundle) events(ctx context.Context, w io.Writer) error {
	var text []byte
	for from := b.First; from < b.Size; from += bundlePage {
		leaves, err := b.source.Ledger.LeavesFrom(ctx, b.organization, from, int(min(bundlePage, b.Size-from)))
		if err != nil {
			return err
		}
		lines, err := b.source.stored(ctx, leaves, func(eventstore.Recorded) error { return nil })
		if err != nil {
			return err
		}
		text = text[:0]
		for _, line := range lines {
			if b.signed != nil {
				if stored, err := formats.ReadStored(line.Metadata); err == nil { // or the verifier names it
					b.signed[stored.Key] = true
				}
			}
			if text, err = line.Append(text); err != nil {
				return err
			}
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func encoded(w io.Writer, v any) error {
	text, err := formats.EncodeFile(v)
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}
