package audit_test

import (
	"archive/zip"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/audit/export"
	"agentkey/audit/formats"
	"agentkey/audit/verify"
	"agentkey/eventstore/codec"
)

// keys are the public keys of the world.
func (w *world) keys() formats.Keys {
	from := w.began.Add(-time.Hour).UTC().Truncate(time.Second)
	return formats.Keys{Keys: []formats.Key{
		{ID: "checkpoints", Use: formats.CheckpointKey, Algorithm: "Ed25519", PublicKey: w.public(), NotBefore: from},
		{ID: "key", Use: formats.EventKey, Algorithm: "Ed25519", PublicKey: w.public(), NotBefore: from},
	}}
}

func (w *world) source(r *running) *export.Source {
	keys := w.keys()
	return &export.Source{
		Log: w.log, Ledger: r.Ledger, Keys: func() (formats.Keys, error) { return keys, nil },
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) bundle(s *export.Source, from, to uuid.UUID) ([]byte, *export.Bundle) {
	w.t.Helper()
	b := must[*export.Bundle](w.t)(s.Bundle(w.t.Context(), first, from, to))
	var out bytes.Buffer
	if err := b.Write(w.t.Context(), &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes(), b
}

// check verifies a bundle. The error says that it can't be read.
func check(bundle []byte, keys ...formats.Key) (report verify.Report, found []verify.Finding, err error) {
	report, err = verify.Bundle(bytes.NewReader(bundle), int64(len(bundle)), verify.Options{
		Keys: keys, OnFinding: func(f verify.Finding) { found = append(found, f) },
	})
	return report, found, err
}

// TestABundleHoldsWhereverItBegins takes bundles of many ranges of a log with several checkpoints.
func TestABundleHoldsWhereverItBegins(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.run()
		s := w.source(r)
		if _, err := s.Bundle(ctx, first, uuid.Nil, uuid.Nil); !isEarly(err) {
			t.Errorf("before the first checkpoint: %v", err)
		}
		sizes := []int64{}
		for _, n := range []int{2, 254, 1, 300, 37} {
			r.follows(t, w.grow([]string{"one", "two"}[n%2], first, n))
			w.pass(time.Minute)
			r.SignDue(ctx)
			sizes = append(sizes, w.checkpoint(r, first).Size)
		}
		r.follows(t, w.grow("one", first, 3)) // no checkpoint covers them
		entries, ids := w.entries(first)
		last := int(sizes[len(sizes)-1])
		for _, ends := range [][2]int{
			{-1, -1}, {0, 0}, {-1, 2}, {1, -1}, {3, 3}, {255, 256}, {256, 256}, {257, 300}, {100, last - 1}, {last - 1, -1},
		} {
			id := func(i int) uuid.UUID {
				if i < 0 {
					return uuid.Nil
				}
				return ids[i]
			}
			raw, b := w.bundle(s, id(ends[0]), id(ends[1]))
			report, found, err := check(raw, w.keys().Keys...)
			if err != nil || report.Findings > 0 || report.OwnKeys {
				t.Fatalf("%v: %v: %v", ends, found, err)
			}
			end := int64(last)
			if i := slices.IndexFunc(sizes, func(n int64) bool { return n > int64(ends[1]) }); ends[1] >= 0 {
				end = sizes[i]
			}
			if begin := int64(max(ends[0], 0)); b.First != begin || b.Size != end || report.Entries != end-begin ||
				report.Newest.Size != end || report.Range.Last != end-1 {
				t.Errorf("%v: from %d up to %d, read %d", ends, b.First, b.Size, report.Entries)
			}
			for i, line := range strings.Split(strings.TrimSuffix(unzip(t, raw)[formats.EventsFile], "\n"), "\n") {
				l := must[formats.Line](t)(formats.ParseLine([]byte(line)))
				if entry := l.Entry(); !bytes.Equal(entry[:], entries[int(b.First)+i]) {
					t.Fatalf("%v: the line %d is another event", ends, i)
				}
			}
			if report, _, err := check(raw); err != nil || report.Findings > 0 || !report.OwnKeys {
				t.Errorf("%v: by its own keys: %+v: %v", ends, report, err)
			}
		}
		if _, err := s.Bundle(ctx, first, uuid.Nil, ids[last]); !isEarly(err) {
			t.Errorf("what no checkpoint covers: %v", err)
		}
		if _, err := s.Bundle(ctx, first, uuid.New(), uuid.Nil); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("an event that there isn't: %v", err)
		}
		if _, err := s.Bundle(ctx, other, ids[0], uuid.Nil); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("an event of another organization: %v", err)
		}
	})
}

func isEarly(err error) bool {
	_, early := errors.AsType[*audit.NotCoveredError](err)
	return early
}

func unzip(t testing.TB, raw []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, f := range must[*zip.Reader](t)(zip.NewReader(bytes.NewReader(raw), int64(len(raw)))).File {
		r := must[io.ReadCloser](t)(f.Open())
		files[f.Name] = string(must[[]byte](t)(io.ReadAll(r)))
	}
	return files
}

func zipped(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for name, text := range files {
		w := must[io.Writer](t)(archive.CreateHeader(&zip.FileHeader{Name: name}))
		must[int](t)(io.WriteString(w, text))
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tampering is a bundle, taken apart.
type tampering struct {
	*world

	files map[string]string
	lines []formats.Line
}

// with returns the bundle with other contents of a file.
func (x *tampering) with(name, text string) []byte {
	files := map[string]string{}
	maps.Copy(files, x.files)
	files[name] = text
	return zipped(x.t, files)
}

// events returns the bundle with other events. With renumber, their indexes are made to fit.
func (x *tampering) events(lines []formats.Line, renumber bool) []byte {
	var text []byte
	for i, l := range lines {
		if renumber {
			l.Index = x.lines[0].Index + int64(i)
		}
		text = must[[]byte](x.t)(l.Append(text))
	}
	return x.with(formats.EventsFile, string(text))
}

func (w *world) tampering() *tampering {
	r := w.run()
	for _, n := range []int{5, 4, 3} {
		r.follows(w.t, w.grow("one", first, n))
		r.follows(w.t, w.grow("two", first, 2))
		w.pass(time.Minute)
		r.SignDue(w.t.Context())
		w.checkpoint(r, first)
	}
	_, ids := w.entries(first)
	raw, _ := w.bundle(w.source(r), ids[4], uuid.Nil)
	x := &tampering{world: w, files: unzip(w.t, raw)}
	for line := range strings.SplitSeq(strings.TrimSuffix(x.files[formats.EventsFile], "\n"), "\n") {
		x.lines = append(x.lines, must[formats.Line](w.t)(formats.ParseLine([]byte(line))))
	}
	return x
}

// signed is an event with other data that the world's keyring, or another, signs at the same place.
func (x *tampering) signed(l formats.Line, key ed25519.PrivateKey, id string) formats.Line {
	stored := must[formats.Stored](x.t)(formats.ReadStored(l.Metadata))
	prev := codec.Link{}
	if err := prev.UnmarshalText([]byte(stored.Prev)); err != nil {
		x.t.Fatal(err)
	}
	l.Data = bytes.Replace(l.Data, []byte("tool"), []byte("t00l"), 1)
	l.Metadata, _ = must2(x.t)(codec.NewKeyring("store", id, key, nil).Sign(
		l.Stream, l.Revision, l.ID, l.Type, l.Data,
		codec.Signed{Organization: first, Time: stored.Time, Schema: codec.Schema, Prev: prev},
	))
	return l
}

func must2(t testing.TB) func([]byte, codec.Link, error) ([]byte, codec.Link) {
	return func(raw []byte, link codec.Link, err error) ([]byte, codec.Link) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw, link
	}
}

// TestWhatIsWrongWithABundleIsNamed tampers with it in each way that has a name.
func TestWhatIsWrongWithABundleIsNamed(t *testing.T) {
	t.Parallel()
	x := newWorld(t, "embedded").tampering()
	n := len(x.lines)
	without := func(i int) []formats.Line { return slices.Delete(slices.Clone(x.lines), i, i+1) }
	swapped := func(i, j int) []formats.Line {
		out := slices.Clone(x.lines)
		out[i], out[j] = out[j], out[i]
		return out
	}
	replaced := func(i int, l formats.Line) []formats.Line {
		out := slices.Clone(x.lines)
		out[i] = l
		return out
	}
	altered := x.lines[3]
	altered.Data = bytes.Replace(altered.Data, []byte("tool"), []byte("t00l"), 1)
	foreign := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	notes := strings.SplitAfter(x.files[formats.CheckpointsFile], "\n\n")
	others := newWorld(t, "embedded")
	others.key = foreign
	theirs := others.tampering()
	checkpoints := func(text string) []byte { return x.with(formats.CheckpointsFile, text) }
	twice := slices.Insert(slices.Clone(x.lines), 4, x.lines[3])
	by := func(i int, key ed25519.PrivateKey, id string) []byte {
		return x.events(replaced(i, x.signed(x.lines[i], key, id)), false)
	}
	for what, tt := range map[string]struct {
		raw  []byte
		want verify.Kind
	}{
		"an event with other data":           {x.events(replaced(3, altered), false), verify.Altered},
		"an event that our key signed later": {by(3, x.key, "key"), verify.Altered},
		"the last event, signed later":       {by(n-1, x.key, "key"), verify.Altered},
		"an event of another key":            {by(3, foreign, "key"), verify.Altered},
		"an event of an unknown key":         {by(3, foreign, "else"), verify.Foreign},
		"an event is missing":                {x.events(without(5), false), verify.Gap},
		"an event is missing, renumbered":    {x.events(without(5), true), verify.Dropped},
		"the first is missing":               {x.events(without(0), false), verify.Gap},
		"the last is missing":                {x.events(without(n-1), true), verify.Dropped},
		"the last five are missing":          {x.events(x.lines[:n-5], true), verify.Dropped},
		"two are swapped":                    {x.events(swapped(2, 3), false), verify.Reordered},
		"two are swapped, renumbered":        {x.events(swapped(2, 3), true), verify.Dropped},
		"an event twice":                     {x.events(twice, false), verify.Reordered},
		"an event twice, renumbered":         {x.events(twice, true), verify.Inserted},
		"an event more at the end":           {x.events(append(slices.Clone(x.lines), x.lines[0]), true), verify.Inserted},
		"no events":                          {x.with(formats.EventsFile, ""), verify.Dropped},
		"the last checkpoint is missing":     {checkpoints(strings.Join(notes[:len(notes)-3], "")), verify.Inserted},
		"checkpoints are swapped": {
			checkpoints(notes[2] + notes[3] + notes[0] + notes[1] + notes[4] + notes[5]), verify.Reordered,
		},
		"no checkpoints":                     {checkpoints(""), verify.Altered},
		"the checkpoints of another service": {checkpoints(theirs.files[formats.CheckpointsFile]), verify.Foreign},
		"a further signature": {
			checkpoints(strings.TrimSuffix(x.files[formats.CheckpointsFile], "\n") + "— someone AAAAAAAA\n\n"),
			verify.Foreign,
		},
		"a second signature of our key": {
			checkpoints(strings.Join(notes[:5], "") + strings.Repeat(strings.TrimSuffix(notes[5], "\n"), 2) + "\n"),
			verify.Altered,
		},
		"a ledger whose name clears the screen": {
			x.with(formats.RangeFile, strings.Replace(x.files[formats.RangeFile], `"agentkey/`, `"agentkey/\u001b[2J`, 1)),
			verify.Altered,
		},
		"the keys of another service": {x.with(formats.KeysFile, theirs.files[formats.KeysFile]), verify.Altered},
		"a file more":                 {x.with("notes.txt", ""), verify.Inserted},
	} {
		report, found, err := check(tt.raw, x.keys().Keys...)
		if err != nil || report.Findings == 0 ||
			!slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Kind == tt.want }) {
			t.Errorf("%s: want %s, found %v: %v", what, tt.want, found, err)
		}
	}
	delete(x.files, formats.CheckpointsFile)
	if _, found, err := check(zipped(t, x.files)); err != nil || len(found) == 0 || found[0].Kind != verify.Dropped {
		t.Errorf("a file is missing: %v: %v", found, err)
	}
	if _, found, err := check(zipped(t, theirs.files), x.keys().Keys...); err != nil || len(found) == 0 {
		t.Errorf("the whole bundle of another service: %v: %v", found, err)
	}
}

// TestEveryByteOfABundleCounts changes each byte of each file, and cuts the archive everywhere.
func TestEveryByteOfABundleCounts(t *testing.T) {
	t.Parallel()
	x := newWorld(t, "embedded").tampering()
	keys := x.keys().Keys
	for name, text := range x.files {
		if name == formats.ReadmeFile {
			continue
		}
		step := 1
		if name == formats.EventsFile { // lines of one form: steps of a prime reach every place of it
			step = 37
		}
		for i := 0; i < len(text); i += step {
			changed := []byte(text)
			changed[i] ^= 1 << (i % 7)
			if name == formats.EventsFile && positionAt(text, i) {
				continue // nothing signs it
			}
			report, _, err := check(x.with(name, string(changed)), keys...)
			if err != nil || report.Findings == 0 {
				t.Fatalf("the byte %d of %s can be %q instead of %q: %v", i, name, changed[i], text[i], err)
			}
		}
		for i := 0; i < len(text); i += 11 * step {
			if report, _, err := check(x.with(name, text[:i]), keys...); err != nil || report.Findings == 0 {
				t.Fatalf("%s can end at its byte %d: %v", name, i, err)
			}
		}
	}
	whole := zipped(t, x.files)
	for i := range len(whole) {
		if i%53 != 0 && i < len(whole)-100 {
			continue
		}
		if report, _, err := check(whole[:i], keys...); err == nil && report.Findings == 0 {
			t.Fatalf("the archive can end at its byte %d", i)
		}
	}
	if report, found, err := check(whole, keys...); err != nil || report.Findings > 0 {
		t.Errorf("unchanged: %v: %v", found, err)
	}
}

// positionAt reports whether a byte of the events is one of a position's digits.
func positionAt(text string, i int) bool {
	line := text[strings.LastIndexByte(text[:i], '\n')+1:]
	at := i - (len(text) - len(line))
	const member = `"position":`
	from := strings.Index(line, member) + len(member)
	return at >= from && at < from+strings.IndexByte(line[from:], ',')
}

// BenchmarkVerify checks a bundle of one organization.
func BenchmarkVerify(b *testing.B) {
	const events = 50_000
	w := newWorld(b, "embedded")
	r := w.run()
	var position uint64
	for i := range 50 {
		position = w.grow(fmt.Sprint("agent", i), first, events/50)
	}
	r.follows(b, position)
	w.pass(time.Minute)
	r.SignDue(b.Context())
	began := time.Now()
	raw, _ := w.bundle(w.source(r), uuid.Nil, uuid.Nil)
	wrote := time.Since(began)
	var read time.Duration
	for b.Loop() {
		began := time.Now()
		report, found, err := check(raw, w.keys().Keys...)
		if err != nil || report.Findings > 0 {
			b.Fatal(found, err)
		}
		read += time.Since(began)
	}
	b.ReportMetric(events/wrote.Seconds(), "written/s")
	b.ReportMetric(events*float64(b.N)/read.Seconds(), "verified/s")
	b.ReportMetric(float64(len(raw))/events, "bytes/event")
}

// TestABundleEndsWhereAWitnessHasJustSigned has a witness that signs one checkpoint and is gone.
func TestABundleEndsWhereAWitnessHasJustSigned(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.run()
		s := w.source(r)
		stream := codec.Checkpoints.Stream(first)
		_, key, _ := ed25519.GenerateKey(nil)
		cosigned := func(size int64) {
			note := []byte(must[string](t)(r.Checkpoint(ctx, first)))
			with := must[[]byte](t)(formats.Cosign(note, "w", key, w.clock()))
			_, after, err := w.log.Newest(ctx, stream, 1)
			if err != nil {
				t.Fatal(err)
			}
			appended := must[codec.Appended](t)(w.log.Write(ctx, stream, after, codec.CheckpointCosigned{
				Size: size, Witness: formats.Witness{Name: "w", Key: key.Public().(ed25519.PublicKey)}.String(),
				Line: strings.TrimSuffix(string(with[len(note):]), "\n"),
			}, codec.Signed{Organization: first, Time: w.clock()}))
			r.follows(t, appended.Position)
		}
		grow := func() int64 {
			r.follows(t, w.grow("one", first, 5))
			w.pass(time.Minute)
			r.SignDue(ctx)
			return w.checkpoint(r, first).Size
		}
		ends := func(from, to uuid.UUID, want int64) {
			t.Helper()
			raw, b := w.bundle(s, from, to)
			if report, found, err := check(raw, w.keys().Keys...); err != nil || report.Findings > 0 || b.Size != want {
				t.Errorf("it ends with %d and not %d entries: %v: %v", b.Size, want, found, err)
			}
		}
		early := grow()
		signed := grow()
		cosigned(signed)
		late := grow()
		cosigned(99) // of a checkpoint that there isn't
		_, ids := w.entries(first)
		ends(uuid.Nil, uuid.Nil, signed)
		ends(uuid.Nil, ids[early-1], signed) // the checkpoint at its end has no witness
		ends(ids[signed], uuid.Nil, late)
		ends(uuid.Nil, ids[late-1], late)
		w.pass(20 * time.Minute)
		ends(uuid.Nil, uuid.Nil, late)
		ends(uuid.Nil, ids[early-1], signed)
	})
}
