package embedded_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"agentkey/eventstore/embedded"
)

// verdict is the outcome of an append in words: "at N" and "nothing" for success, "wrong at N",
// "wrong, no stream".
func verdict(r *streams.AppendResp) string {
	if s := r.GetSuccess(); s != nil {
		if _, none := s.GetCurrentRevisionOption().(*streams.AppendResp_Success_NoStream); none {
			return "nothing"
		}
		return fmt.Sprintf("at %d", s.GetCurrentRevision())
	}
	wrong := r.GetWrongExpectedVersion()
	if _, none := wrong.GetCurrentRevisionOption().(*streams.AppendResp_WrongExpectedVersion_CurrentNoStream); none {
		return "wrong, no stream"
	}
	return fmt.Sprintf("wrong at %d", wrong.GetCurrentRevision())
}

// TestDecisionTable is the protocol's table of what an append may expect, on every sort of stream.
// Each case has a store of its own: ids are known in the first stream that used them.
func TestDecisionTable(t *testing.T) {
	var w *wire
	a, b, x, y := proposed("happened", "1"), proposed("happened", "2"), proposed("happened", "3"), proposed(
		"happened", "4",
	)
	states := map[string]func(name string){
		"new":        func(string) {},
		"metadata":   func(name string) { w.bound(name, `{"$maxCount":10}`) },
		"two events": func(name string) { w.wrote(name, "none", a, b) },
		"deleted":    func(name string) { w.wrote(name, "none", a, b); w.softDelete(name) },
		"revived":    func(name string) { w.wrote(name, "none", a, b); w.softDelete(name); w.wrote(name, "none", x) },
		"tombstoned": func(name string) { w.wrote(name, "none", a, b); w.tombstone(name) },
	}
	type events = []*streams.AppendReq_ProposedMessage
	tests := []struct {
		state    string
		expected any
		events   events
		want     string
	}{
		{"new", "none", events{x, y}, "at 1"},
		{"new", "any", events{x, y}, "at 1"},
		{"new", "exists", events{x}, "wrong, no stream"},
		{"new", 0, events{x}, "wrong, no stream"},
		{"new", "none", nil, "nothing"},
		{"new", "any", nil, "nothing"},
		{"new", "exists", nil, "wrong, no stream"},

		{"metadata", "none", events{x}, "at 0"},
		{"metadata", "any", events{x}, "at 0"},
		{"metadata", "exists", events{x}, "at 0"},
		{"metadata", 0, events{x}, "wrong, no stream"},

		{"two events", 1, events{x, y}, "at 3"},
		{"two events", "any", events{x}, "at 2"},
		{"two events", "exists", events{x}, "at 2"},
		{"two events", 1, nil, "at 1"},
		{"two events", "any", nil, "at 1"},
		{"two events", 0, nil, "wrong at 1"},
		{"two events", "none", nil, "wrong at 1"},
		{"two events", "none", events{x}, "wrong at 1"},
		{"two events", 0, events{x}, "wrong at 1"},
		{"two events", 2, events{x}, "wrong at 1"},
		{"two events", "none", events{a, b}, "at 1"},
		{"two events", "none", events{a}, "at 0"},
		{"two events", 0, events{b}, "at 1"},
		{"two events", "none", events{a, x}, "wrong at 1"},
		{"two events", "none", events{a, b, x}, "wrong at 1"},
		{"two events", 1, events{b}, "at 2"}, // written before, but not after this revision
		{"two events", "any", events{a, b}, "at 1"},
		{"two events", "any", events{a}, "at 0"},
		{"two events", "exists", events{a, b}, "at 1"},
		{"two events", "any", events{b, x}, "wrong at 1"},
		{"two events", "any", events{x, b}, "at 3"}, // only the first id tells
		{"two events", "exists", events{a, x}, "wrong at 1"},

		{"deleted", "none", events{x}, "at 2"},
		{"deleted", "any", events{x}, "at 2"},
		{"deleted", 1, events{x}, "at 2"},
		{"deleted", "exists", events{x}, "stream-deleted"},
		{"deleted", "exists", events{a}, "stream-deleted"},
		{"deleted", "none", events{a, b}, "at 1"},
		{"deleted", "none", events{a, x}, "wrong at 1"},
		{"deleted", 0, events{x}, "wrong at 1"},
		{"deleted", 2, events{x}, "wrong at 1"},

		{"revived", 2, events{y}, "at 3"},
		{"revived", "exists", events{y}, "at 3"},
		{"revived", "none", events{y}, "wrong at 2"},
		{"revived", 1, events{x}, "at 2"},

		{"tombstoned", "none", events{x}, "stream-deleted"},
		{"tombstoned", "none", events{a, b}, "stream-deleted"},
		{"tombstoned", "any", events{x}, "stream-deleted"},
		{"tombstoned", "any", nil, "stream-deleted"},
		{"tombstoned", "exists", events{x}, "stream-deleted"},
		{"tombstoned", 1, events{x}, "stream-deleted"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s at %v, %d events, %s", tt.state, tt.expected, len(tt.events), tt.want), func(t *testing.T) {
			w = serve(t, embedded.Options{})
			const name = "table"
			states[tt.state](name)
			head := w.store.Head()
			response, trailer, err := w.append(name, tt.expected, tt.events...)
			if tt.want == "stream-deleted" {
				refused(t, err, trailer, codes.FailedPrecondition, "exception=stream-deleted", "stream-name="+name)
			} else if err != nil || verdict(response) != tt.want {
				t.Errorf("got %q and %v, want %q", verdict(response), err, tt.want)
			}
			if len(tt.events) == 0 && w.store.Head() != head {
				t.Error("an append without events wrote something")
			}
		})
	}
}

func TestAWrongExpectationIsRepeatedInTheAnswer(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(2)...)
	for _, tt := range []struct {
		name     string
		expected any
		check    func(*streams.AppendResp_WrongExpectedVersion) bool
	}{
		{"s", "none", func(r *streams.AppendResp_WrongExpectedVersion) bool { return r.GetExpectedNoStream() != nil }},
		{
			"new", "exists",
			func(r *streams.AppendResp_WrongExpectedVersion) bool { return r.GetExpectedStreamExists() != nil },
		},
		{"s", 7, func(r *streams.AppendResp_WrongExpectedVersion) bool { return r.GetExpectedRevision() == 7 }},
	} {
		response, _, err := w.append(tt.name, tt.expected, proposed("happened", "1"))
		if err != nil || response.GetWrongExpectedVersion() == nil || !tt.check(response.GetWrongExpectedVersion()) {
			t.Errorf("%v on %s: %v %v", tt.expected, tt.name, response, err)
		}
	}
	known := proposed("happened", "1")
	w.wrote("s", 1, known)
	if response, _, err := w.append("s", "any", known, proposed("happened", "2")); err != nil ||
		response.GetWrongExpectedVersion().GetExpectedAny() == nil {
		t.Errorf("any: %v %v", response, err)
	}
	// The largest numbers of the wire are revisions that no stream has, not one of the other
	// expectations.
	for _, r := range []uint64{math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64} {
		o := expected("fresh", 0)
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: r}
		if response, _, err := w.appendWith(o, proposed("happened", "1")); err != nil ||
			response.GetWrongExpectedVersion() == nil {
			t.Errorf("revision %d: %v %v", r, response, err)
		}
	}
}

func TestSuccessTellsWhereTheLastEventIs(t *testing.T) {
	w := serve(t, embedded.Options{})
	response, _, err := w.append("s", "none", several(3)...)
	if err != nil {
		t.Fatal(err)
	}
	s := response.GetSuccess()
	p := s.GetPosition()
	if s.GetCurrentRevision() != 2 || p.GetCommitPosition() != w.store.Head() ||
		p.GetPreparePosition() != p.GetCommitPosition() {
		t.Errorf("got %v, the head is %d", s, w.store.Head())
	}
	response, _, err = w.append("s", 2)
	if _, none := response.GetSuccess().GetPositionOption().(*streams.AppendResp_Success_NoPosition); err != nil ||
		!none {
		t.Errorf("without events: %v %v", response, err)
	}
}

func TestEventsComeBackAsTheyWereWritten(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_900, time.UTC)
	w := serve(t, embedded.Options{Clock: func() time.Time { return at }})
	id := uuid.New()
	var most, least uint64
	for i := range 8 {
		most, least = most<<8|uint64(id[i]), least<<8|uint64(id[8+i])
	}
	halves := &shared.UUID{
		Value: &shared.UUID_Structured_{
			Structured: &shared.UUID_Structured{MostSignificantBits: int64(most), LeastSignificantBits: int64(least)},
		},
	}
	structured := proposed("type.ü", "{}")
	structured.Id, structured.CustomMetadata = halves, []byte{0, 1, 255}
	binary := proposed("binary", "\x00\xff")
	binary.Metadata["content-type"] = "application/octet-stream"
	other := binary.Id.GetString_()
	w.wrote("stream/ü", "none", structured, binary)
	for _, textIDs := range []bool{false, true} {
		got, _, err := w.read(readOptions("stream/ü", func(o *streams.ReadReq_Options) {
			if textIDs {
				o.UuidOption.Content = &streams.ReadReq_Options_UUIDOption_String_{String_: empty}
			}
		}))
		if err != nil || len(got) != 2 {
			t.Fatalf("%d events, %v", len(got), err)
		}
		first, second := got[0].GetEvent().GetEvent(), got[1].GetEvent().GetEvent()
		if textIDs {
			if first.GetId().GetString_() != id.String() || second.GetId().GetString_() != other {
				t.Errorf("ids are %v and %v", first.GetId(), second.GetId())
			}
		} else if first.GetId().GetStructured().GetMostSignificantBits() != int64(most) ||
			first.GetId().GetStructured().GetLeastSignificantBits() != int64(least) {
			t.Errorf("the id is %v", first.GetId())
		}
		created := strconv.FormatInt(at.UnixNano()/100, 10)
		if diff := cmp.Diff(
			map[string]string{"type": "type.ü", "content-type": "application/json", "created": created},
			first.GetMetadata(),
		); diff != "" {
			t.Error(diff)
		}
		if string(first.GetData()) != "{}" || string(first.GetCustomMetadata()) != "\x00\x01\xff" ||
			string(second.GetData()) != "\x00\xff" || len(second.GetCustomMetadata()) != 0 {
			t.Errorf("came back as %v and %v", first, second)
		}
		if second.GetMetadata()["content-type"] != "application/octet-stream" || first.GetCommitPosition() == 0 ||
			first.GetCommitPosition() != first.GetPreparePosition() ||
			got[0].GetEvent().GetCommitPosition() != first.GetCommitPosition() || got[0].GetEvent().GetLink() != nil {
			t.Errorf("came back as %v", got[0])
		}
	}
}

func TestBadAppendsAreRefusedWhole(t *testing.T) {
	w := serve(t, embedded.Options{})
	with := func(change func(*streams.AppendReq_ProposedMessage)) *streams.AppendReq_ProposedMessage {
		p := proposed("happened", "1")
		change(p)
		return p
	}
	missing := "exception=missing-required-metadata-property"
	tooMuch := []string{"exception=maximum-append-size-exceeded", "maximum-append-size=" + strconv.Itoa(1<<20)}
	type events = []*streams.AppendReq_ProposedMessage
	long := slices.Repeat(events{proposed("happened", strings.Repeat("x", 10_000))}, 100)
	for _, tt := range []struct {
		name    string
		options *streams.AppendReq_Options
		events  events
		trailer []string
	}{
		{
			"no type", expected("s", "any"),
			events{with(func(p *streams.AppendReq_ProposedMessage) { delete(p.Metadata, "type") })},
			[]string{missing},
		},
		{
			"no content type", expected("s", "any"),
			events{with(func(p *streams.AppendReq_ProposedMessage) { delete(p.Metadata, "content-type") })},
			[]string{missing},
		},
		{
			"no metadata, many times", expected("s", "any"),
			slices.Repeat(events{with(func(p *streams.AppendReq_ProposedMessage) { clear(p.Metadata) })}, 500),
			[]string{missing},
		},
		{"no id", expected("s", "any"), events{with(func(p *streams.AppendReq_ProposedMessage) { p.Id = nil })}, nil},
		{
			"an id that is none", expected("s", "any"),
			events{with(func(p *streams.AppendReq_ProposedMessage) { p.Id = text("x") })},
			nil,
		},
		{
			"one byte too much data", expected("s", "any"),
			events{
				with(func(p *streams.AppendReq_ProposedMessage) { p.Data = make([]byte, 1<<20-2*len("happened")+1) }),
			},
			tooMuch,
		},
		{"too much in many events", expected("s", "any"), func() (out events) {
			for range 1025 {
				out = append(out, proposed("t", strings.Repeat("x", 1022)))
			}
			return out
		}(), tooMuch},
		{"no name", expected("", "any"), long, nil},
		{"metadata of metadata", expected("$$$$s", "any"), several(1), nil},
		{"no options", nil, long, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head := w.store.Head()
			_, trailer, err := w.appendWith(tt.options, append(several(3), tt.events...)...)
			refused(t, err, trailer, codes.InvalidArgument, tt.trailer...)
			if w.store.Head() != head {
				t.Error("something was written")
			}
			if w.cut.Load() != 0 {
				t.Error("it was answered before it was read, which loses the answer")
			}
		})
	}
}

func TestTheSizeOfAnAppendCountsDataMetadataAndTwiceTheType(t *testing.T) {
	w := serve(t, embedded.Options{})
	p := proposed("happened", "")
	p.CustomMetadata = make([]byte, 1000)
	p.Data = make([]byte, 1<<20-1000-2*len("happened"))
	w.wrote("s", "none", p)
	got, _, err := w.read(readOptions("s"))
	if err != nil || len(got) != 1 || len(got[0].GetEvent().GetEvent().GetData()) != len(p.Data) {
		t.Errorf("came back: %d messages, %v", len(got), err)
	}
}

func TestAMessageBeyondTheTransportsLimit(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	_, _, err := w.append("s", "any", proposed("happened", strings.Repeat("x", 16<<20)))
	refused(t, err, nil, codes.ResourceExhausted)
	// More than gRPC's default of 4 MiB arrives, so that the answer can say what the limit is.
	_, trailer, err := w.append("s", "any", proposed("happened", strings.Repeat("x", 15<<20)))
	refused(t, err, trailer, codes.InvalidArgument, "exception=maximum-append-size-exceeded")
}

func TestAnyRepeatedAtOnceIsWrittenOnce(t *testing.T) {
	w := serve(t, embedded.Options{})
	for n := range 20 {
		name, p := "s-"+strconv.Itoa(n), several(2)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { w.wrote(name, "any", p...) })
		}
		wg.Wait()
		if got, _, err := w.read(readOptions(name)); err != nil || len(got) != 2 {
			t.Fatalf("%d events, %v", len(got), err)
		}
	}
}

// TestConcurrentAppendsAreAtomicAndOrdered lets appends of several events race on few streams while
// a reader pulls the log: each call's events lie together, and what a reader saw never moves.
func TestConcurrentAppendsAreAtomicAndOrdered(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	const appenders, calls, events = 16, 20, 4
	var wrote atomic.Int32
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for c := range calls {
				batch := several(events)
				for i := range batch {
					batch[i].Data = fmt.Appendf(nil, "%d/%d", a, c)
				}
				w.wrote("race-"+strconv.Itoa(a%3), "any", batch...)
				wrote.Add(events)
			}
		})
	}
	seen := map[uint64]string{}
	for wrote.Load() < appenders*calls*events && !t.Failed() {
		page, _, err := w.read(readOptions("", all))
		if err != nil {
			t.Fatal(err)
		}
		checkOrder(t, page, seen, events)
	}
	wg.Wait()
	page, _, err := w.read(readOptions("", all))
	if err != nil || len(page) != appenders*calls*events {
		t.Fatalf("%d events: %v", len(page), err)
	}
	checkOrder(t, page, seen, events)
	if len(seen) != len(page) {
		t.Errorf("%d positions for %d events", len(seen), len(page))
	}
}

func checkOrder(t *testing.T, page []*streams.ReadResp, seen map[uint64]string, events int) {
	t.Helper()
	revisions := map[string]uint64{}
	if len(page)%events != 0 {
		t.Fatalf("a read saw %d events: a part of a call", len(page))
	}
	for i, m := range page {
		e := m.GetEvent().GetEvent()
		what := line(m) + string(e.GetData())
		if before, known := seen[e.GetCommitPosition()]; known && before != what {
			t.Fatalf("at %d was %s, now %s", e.GetCommitPosition(), before, what)
		}
		seen[e.GetCommitPosition()] = what
		if i > 0 && e.GetCommitPosition() <= page[i-1].GetEvent().GetEvent().GetCommitPosition() {
			t.Fatalf("%d comes after a later position", e.GetCommitPosition())
		}
		if i%events > 0 && string(e.GetData()) != string(page[i-1].GetEvent().GetEvent().GetData()) {
			t.Fatalf("another call's event at %d", e.GetCommitPosition())
		}
		name := string(e.GetStreamIdentifier().GetStreamName())
		if e.GetStreamRevision() != revisions[name] {
			t.Fatalf("%s at position %d should have revision %d", what, e.GetCommitPosition(), revisions[name])
		}
		revisions[name]++
	}
}

// TestTheFirstStreamThatUsedAnIDKeepsIt repeats an append in another stream. With any, a server
// looks for the id alone.
func TestTheFirstStreamThatUsedAnIDKeepsIt(t *testing.T) {
	w := serve(t, embedded.Options{})
	p := several(1)
	for _, step := range []struct{ name, want string }{
		{"first", "at 0"}, {"second", "at 0"}, {"first", "at 0"}, {"second", "at 1"},
	} {
		if r, _, err := w.append(step.name, "any", p...); err != nil || verdict(r) != step.want {
			t.Errorf("to %s: %v %v, not %s", step.name, r, err, step.want)
		}
	}
}
