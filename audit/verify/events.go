package verify

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
)

// part is some lines of the events on their way through the check. What takes time is done for
// several at once; what depends on their order is done in it.
type part struct {
	lines []string
	seen  []seen
	err   error // reading ended with it
	ready chan struct{}
}

// seen is what was calculated about one event.
type seen struct {
	line formats.Line
	leaf tlog.Hash
	link string // that the next event of the stream names
	prev string // that it names
	time time.Time

	message, sig []byte
	key          ed25519.PublicKey

	kind Kind // "": it is signed
	why  string
}

const (
	// partLines is how many lines are checked together. Of the events of one stream among them, one
	// signature is calculated.
	partLines = 2048
	// partSize bounds them in bytes, so that a part of long lines takes no more memory.
	partSize = 4 << 20
	// skew is how far the clocks of the service's processes may be apart.
	skew = 10 * time.Minute
	// maxLine is the longest line, in bytes. The log takes no event of that size.
	maxLine = 4 << 20
)

// events reads the lines and checks each by itself, on all processors, and then all of them in
// order.
func (c *check) events(f *zip.File) {
	r, err := f.Open()
	if err != nil {
		c.found(Unreadable, formats.NoIndex, 0, "%s: %v", f.Name, err)
		return
	}
	defer r.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	keys := map[string]formats.Key{}
	for _, k := range c.Report.Keys {
		if k.Use == formats.EventKey && k.Algorithm == "Ed25519" && len(k.PublicKey) == ed25519.PublicKeySize {
			keys[k.ID] = k
		}
	}
	workers := runtime.GOMAXPROCS(0)
	todo, inOrder := make(chan *part, workers), make(chan *part, 4*workers)
	for range workers {
		go func() {
			for p := range todo {
				p.look(c.Range.StoreID, keys, c.every)
				close(p.ready)
			}
		}()
	}
	go func() {
		defer close(todo)
		defer close(inOrder)
		lines := bufio.NewReaderSize(r, 1<<16)
		for more := true; more; {
			p := &part{ready: make(chan struct{})}
			p.lines, p.err = readLines(lines)
			more = p.err == nil
			inOrder <- p
			todo <- p
		}
	}()
	t := c.begin()
	for p := range inOrder {
		<-p.ready
		for _, s := range p.seen {
			t.add(s)
		}
		if p.err != nil && !errors.Is(p.err, io.EOF) {
			c.found(Unreadable, t.next, 0, "%s can't be read beyond this entry: %v", f.Name, p.err)
		}
		if c.OnProgress != nil {
			c.OnProgress(c.Entries, c.Range.Last-c.Range.First+1)
		}
	}
	t.end()
}

var (
	errUnfinished = errors.New("the last line has no end")
	errLong       = errors.New("a line is longer than any event")
)

func readLines(r *bufio.Reader) (lines []string, err error) {
	for size := 0; len(lines) < partLines && size < partSize; {
		text, err := readLine(r)
		if err != nil {
			return lines, err
		}
		lines, size = append(lines, text), size+len(text)
	}
	return lines, nil
}

func readLine(r *bufio.Reader) (string, error) {
	var long []byte
	for {
		text, err := r.ReadSlice('\n')
		switch {
		case err == nil:
			text = bytes.TrimSuffix(text, []byte("\n"))
			return string(append(long, text...)), nil
		case errors.Is(err, bufio.ErrBufferFull) && len(long) < maxLine:
			long = append(long, text...)
		case errors.Is(err, bufio.ErrBufferFull):
			return "", errLong
		case errors.Is(err, io.EOF) && len(long)+len(text) > 0:
			return "", errUnfinished
		default:
			return "", err
		}
	}
}

// look checks each line by itself. A signed event names the SHA-256 of what was signed with the one
// before it, so its signature vouches for that one too, and those are calculated only if every
// signature is wanted.
func (p *part) look(storeID string, keys map[string]formats.Key, every bool) {
	p.seen = make([]seen, len(p.lines))
	vouched := map[string]bool{}
	for i, text := range slices.Backward(p.lines) {
		s := look(text, storeID, keys)
		if s.kind == "" && (every || !vouched[s.link]) && !ed25519.Verify(s.key, s.message, s.sig) {
			s.kind, s.why = Altered, "it isn't what was signed at this place of its stream"
		}
		if s.kind == "" {
			vouched[s.prev] = true
		}
		s.message, s.sig, p.lines[i] = nil, nil, ""
		p.seen[i] = s
	}
}

// look reads one line. The signature is left to the caller.
func look(text, storeID string, keys map[string]formats.Key) (s seen) {
	var err error
	if s.line, err = formats.ParseLine([]byte(text)); err != nil {
		s.kind, s.why = Altered, err.Error()
		s.line.Index = formats.NoIndex
		return s
	}
	s.leaf = s.line.Entry().Leaf()
	m, err := formats.ReadStored(s.line.Metadata)
	if err != nil {
		s.kind, s.why = Foreign, "its metadata isn't that of an event of the service"
		return s
	}
	s.message = s.line.Message(storeID, m.Signed)
	link := sha256.Sum256(s.message)
	s.link, s.prev = base64.RawURLEncoding.EncodeToString(link[:]), m.Prev
	s.time = m.Time
	key, known := keys[m.Key]
	s.key = key.PublicKey
	s.sig, err = base64.RawURLEncoding.Strict().DecodeString(m.Sig)
	switch {
	case !known:
		s.kind, s.why = Foreign, "it is signed with a key that isn't known"
	case err != nil:
		s.kind, s.why = Altered, "its signature isn't one"
	case m.Time.Before(key.NotBefore.Add(-skew)) || !key.NotAfter.IsZero() && m.Time.After(key.NotAfter.Add(skew)):
		s.kind, s.why = Foreign, "its key didn't sign at that time"
	}
	return s
}

// order checks events in their order: their numbers, their streams, and the tree that they make.
type order struct {
	*check

	tree    *formats.Tree
	next    int64             // index of the next entry
	ends    map[string]string // the link of the last event of each stream
	pending []formats.Checkpoint
	lost    bool // the tree differs from what was signed, so what follows proves nothing more
}

func (c *check) begin() *order {
	t := &order{check: c, next: c.Range.First, ends: map[string]string{}, pending: c.checkpoints}
	tree, err := formats.NewTree(c.Range.First, c.Range.Before)
	if err != nil {
		c.found(Altered, formats.NoIndex, 0, "%s: %v", formats.RangeFile, err)
		t.lost = true
		tree = &formats.Tree{}
	}
	t.tree = tree
	for len(t.pending) > 0 && t.pending[0].Size <= c.Range.First {
		c.found(Inserted, formats.NoIndex, 0, "the checkpoint over %d entries is not about this range", t.pending[0].Size)
		t.pending = t.pending[1:]
	}
	return t
}

func (t *order) add(s seen) {
	t.Entries++
	l := s.line
	if s.kind != "" {
		index := l.Index
		if index == formats.NoIndex {
			index = t.next
		}
		t.found(s.kind, index, l.Position, "%s", s.why)
	}
	switch {
	case l.Index == formats.NoIndex && s.kind == "":
		t.found(Altered, t.next, l.Position, "the line has no index, so it isn't one of a bundle")
	case l.Index == formats.NoIndex:
	case l.Index > t.next:
		t.found(Gap, l.Index, l.Position, "the entries from %d to %d are missing before it", t.next, l.Index-1)
		t.next = l.Index
	case l.Index < t.next:
		t.found(Reordered, l.Index, l.Position, "it follows the entry %d", t.next-1)
		t.next = l.Index
	}
	t.next++
	t.chain(s)
	t.period.add(t.check, s)
	t.tree.Append(s.leaf)
	t.compare()
}

// chain checks that an event follows the one before it in its stream.
func (t *order) chain(s seen) {
	l := s.line
	if s.link == "" {
		return
	}
	before, known := t.ends[l.Stream]
	if !known && t.Range.First == 0 {
		begin := formats.Beginning(t.Range.StoreID, l.Stream)
		before, known = base64.RawURLEncoding.EncodeToString(begin[:]), true
	}
	t.ends[l.Stream] = s.link
	switch {
	case !known || before == s.prev || s.kind != "":
	case before == s.link:
		t.found(Inserted, l.Index, l.Position, "the event %s is there twice", l.ID)
	default:
		t.found(
			Dropped, l.Index, l.Position, "the event before it in %s isn't the one that it was signed after: that one is gone "+
				"or elsewhere", l.Stream,
		)
	}
}

// compare compares the tree with the checkpoint over as many entries, if there is one.
func (t *order) compare() {
	if len(t.pending) == 0 || t.pending[0].Size != t.tree.Size() {
		return
	}
	c := t.pending[0]
	t.pending = t.pending[1:]
	if t.lost || c.Root == t.tree.Root() {
		return
	}
	t.lost = true
	t.found(
		Altered, c.Size-1, 0, "the entries up to this one don't give the root of the checkpoint over %d; "+
			"those after it weren't compared", c.Size,
	)
}

// end checks that everything came.
func (t *order) end() {
	switch {
	case t.next <= t.Range.Last:
		t.found(Dropped, t.next, 0, "this entry and those after it, up to %d, are missing at the end", t.Range.Last)
	case t.next > t.Range.Last+1:
		t.found(Inserted, t.Range.Last+1, 0, "%s ends before this entry", formats.RangeFile)
	}
	t.period.finish(t.check)
	for _, c := range t.pending {
		t.found(Dropped, formats.NoIndex, 0, "the entries end before the checkpoint over %d", c.Size)
	}
}
