package embedded_test

import (
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"agentkey/eventstore/embedded"
)

type option = func(*streams.ReadReq_Options)

// lines are "first@stream" to "last@stream", in either direction.
func lines(name string, first, last int) []string {
	out := []string{}
	step := 1
	if last < first {
		step = -1
	}
	for i := first; ; i += step {
		out = append(out, fmt.Sprintf("%d@%s", i, name))
		if i == last {
			return out
		}
	}
}

func TestReadsOfAStream(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(300)...)
	w.wrote("s", 299, several(300)...) // more than two pages
	w.wrote("other", "none", several(2)...)
	streamStart := func(*streams.ReadReq_Options) {}
	for _, tt := range []struct {
		name    string
		options []option
		want    []string
	}{
		{"forwards from the start", []option{streamStart}, lines("s", 0, 599)},
		{"forwards from a revision, inclusive", []option{revision(590)}, lines("s", 590, 599)},
		{"at most the count", []option{revision(100), count(300)}, lines("s", 100, 399)},
		{"one", []option{count(1)}, lines("s", 0, 0)},
		{"none", []option{count(0)}, []string{}},
		{"forwards from the end", []option{streamEnd}, []string{}},
		{"forwards from beyond the end", []option{revision(600)}, []string{}},
		{"forwards from the largest revision", []option{revision(math.MaxUint64)}, []string{}},
		{"backwards from the end", []option{backwards, streamEnd}, lines("s", 599, 0)},
		{"backwards from a revision, inclusive", []option{backwards, revision(3)}, lines("s", 3, 0)},
		{"backwards, at most the count", []option{backwards, streamEnd, count(257)}, lines("s", 599, 343)},
		{
			"backwards from beyond the end",
			[]option{backwards, revision(math.MaxUint64), count(2)},
			lines("s", 599, 598),
		},
		{"backwards from the start", []option{backwards, streamStart}, lines("s", 0, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := w.read(readOptions("s", tt.options...))
			if diff := cmp.Diff(tt.want, saw(got)); diff != "" || err != nil {
				t.Errorf("(-want +got):\n%s%v", diff, err)
			}
		})
	}
	for _, change := range []option{count(5), backwards, streamEnd} {
		if got, _, err := w.read(readOptions("unknown", change)); err != nil || len(got) != 1 ||
			string(got[0].GetStreamNotFound().GetStreamIdentifier().GetStreamName()) != "unknown" {
			t.Errorf("a stream that never was: %v %v", got, err)
		}
	}
	w.bound("only metadata", `{"$maxCount":1}`)
	if got, _, err := w.read(readOptions("only metadata")); err != nil || !cmp.Equal(saw(got), []string{"not found"}) {
		t.Errorf("a stream with metadata only: %v %v", saw(got), err)
	}
}

func TestReadsOfTheLog(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("a", "none", several(300)...)
	w.wrote("b", "none", several(300)...)
	at := w.positions()
	a, b := lines("a", 0, 299), lines("b", 0, 299)
	for _, tt := range []struct {
		name    string
		options []option
		want    []string
	}{
		{"forwards from the start", []option{all}, append(append([]string{}, a...), b...)},
		{"forwards from a position, inclusive", []option{allFrom(at[590])}, lines("b", 290, 299)},
		{"forwards, at most the count", []option{allFrom(at[298]), count(3)}, []string{"298@a", "299@a", "0@b"}},
		{"forwards from the end", []option{allEnd}, []string{}},
		{"forwards from beyond the end", []option{allFrom(math.MaxUint64)}, []string{}},
		{"backwards from the end", []option{backwards, allEnd, count(2)}, lines("b", 299, 298)},
		{
			"backwards from a position, exclusive",
			[]option{backwards, allFrom(at[301])},
			append([]string{"0@b"}, lines("a", 299, 0)...),
		},
		{"backwards from beyond the end", []option{backwards, allFrom(math.MaxUint64), count(1)}, lines("b", 299, 299)},
		{"backwards from the start", []option{backwards, all}, []string{}},
		{"backwards from the first position", []option{backwards, allFrom(at[0])}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := w.read(readOptions("", tt.options...))
			if diff := cmp.Diff(tt.want, saw(got)); diff != "" || err != nil {
				t.Errorf("(-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func filtered(
	byStream bool, f *streams.ReadReq_Options_FilterOptions_Expression,
	change ...func(*streams.ReadReq_Options_FilterOptions),
) option {
	o := &streams.ReadReq_Options_FilterOptions{
		Filter:                       &streams.ReadReq_Options_FilterOptions_EventType{EventType: f},
		Window:                       &streams.ReadReq_Options_FilterOptions_Count{Count: empty},
		CheckpointIntervalMultiplier: 1,
	}
	if byStream {
		o.Filter = &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: f}
	}
	for _, c := range change {
		c(o)
	}
	return func(r *streams.ReadReq_Options) { r.FilterOption = &streams.ReadReq_Options_Filter{Filter: o} }
}

func pattern(p string) *streams.ReadReq_Options_FilterOptions_Expression {
	return &streams.ReadReq_Options_FilterOptions_Expression{Regex: p}
}

func prefixes(p ...string) *streams.ReadReq_Options_FilterOptions_Expression {
	return &streams.ReadReq_Options_FilterOptions_Expression{Prefix: p}
}

var filters = []struct {
	name     string
	byStream bool
	f        *streams.ReadReq_Options_FilterOptions_Expression
	want     []string
}{
	{"types by pattern", false, pattern(`^[^$~]`), []string{"0@agent-1", "1@agent-1", "0@agent-2", "0@other"}},
	{"types by pattern, anywhere", false, pattern(`shot`), []string{"0@snapshot-1"}},
	{"types by prefix", false, prefixes("$meta"), []string{"0@$$agent-1"}},
	{"types by prefixes", false, prefixes("~", "tool."), []string{"0@snapshot-1", "0@other"}},
	{"streams by pattern", true, pattern(`^agent-\d$`), []string{"0@agent-1", "1@agent-1", "0@agent-2"}},
	{
		"streams by prefix", true, prefixes("agent-", "$$"),
		[]string{"0@$$agent-1", "0@agent-1", "1@agent-1", "0@agent-2"},
	},
	{"nothing", true, prefixes("zebra"), []string{}},
}

func writeFiltered(w *wire) {
	w.t.Helper()
	w.bound("agent-1", `{"$maxCount":1000}`)
	w.wrote("agent-1", "none", proposed("agent.registered", "1"), proposed("agent.updated", "2"))
	w.wrote("snapshot-1", "none", proposed("~snapshot", "1"))
	w.wrote("agent-2", "none", proposed("agent.registered", "1"))
	w.wrote("other", "none", proposed("tool.added", "1"))
}

func TestFilteredReadsOfTheLog(t *testing.T) {
	w := serve(t, embedded.Options{})
	writeFiltered(w)
	for _, tt := range filters {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := w.read(readOptions("", all, filtered(tt.byStream, tt.f)))
			if diff := cmp.Diff(tt.want, saw(got)); diff != "" || err != nil {
				t.Errorf("(-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestReadsThatMakeNoSense(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(1)...)
	for name, req := range map[string]*streams.ReadReq{
		"no way to write ids": readOptions("s", func(o *streams.ReadReq_Options) { o.UuidOption = nil }),
		"no stream":           readOptions(""),
		"neither":             readOptions("s", func(o *streams.ReadReq_Options) { o.StreamOption = nil }),
		"no count":            readOptions("s", func(o *streams.ReadReq_Options) { o.CountOption = nil }),
		"follow backwards":    readOptions("s", following, backwards),
		"no pattern":          readOptions("", all, filtered(false, pattern(""))),
		"a look-ahead":        readOptions("", all, filtered(false, pattern("^(?!x)"))),
	} {
		if got, _, err := w.read(req); err == nil || len(got) != 0 {
			t.Errorf("%s: %v %v", name, saw(got), err)
		} else {
			refused(t, err, nil, codes.InvalidArgument)
		}
	}
}

func TestBoundsHideEventsBeyondThem(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w := serve(t, embedded.Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	ten := func(name string) { // one event a second, the last one now
		for i := range 10 {
			now.Add(int64(time.Second))
			w.wrote(name, "any", proposed("happened", strconv.Itoa(i)))
		}
	}
	for n, tt := range []struct {
		metadata string
		want     []string
	}{
		{`{"$maxCount":3}`, []string{"7", "8", "9"}},
		{`{"$maxCount":30}`, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		{`{"$tb":8}`, []string{"8", "9"}},
		{`{"$tb":10}`, []string{}},
		{`{"$tb":100}`, []string{}},
		{`{"$maxAge":2}`, []string{"7", "8", "9"}},
		{`{"$maxAge":1,"$maxCount":5,"$tb":1}`, []string{"8", "9"}},
		{`{"$maxAge":100,"$maxCount":2,"$tb":1}`, []string{"8", "9"}},
		{`{"$maxAge":100,"$maxCount":5,"$tb":9}`, []string{"9"}},
		{`{"$acl":{"$r":"x"},"mine":1,"$cacheControl":3}`, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		{`{"$maxCount":-1}`, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		{`no metadata`, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	} {
		t.Run(tt.metadata, func(t *testing.T) {
			name := "s" + strconv.Itoa(n)
			if n%2 == 0 { // before the first event or after the last
				w.bound(name, tt.metadata)
			}
			start := w.store.Head()
			ten(name)
			if n%2 == 1 {
				w.bound(name, tt.metadata)
			}
			for _, direction := range [][]option{nil, {backwards, streamEnd}} {
				got, _, err := w.read(readOptions(name, direction...))
				data := make([]string, len(got))
				for i, m := range got {
					data[i] = string(m.GetEvent().GetEvent().GetData())
				}
				want := append([]string{}, tt.want...)
				if direction != nil {
					for i := range want {
						want[i] = tt.want[len(want)-1-i]
					}
				}
				if diff := cmp.Diff(want, data); diff != "" || err != nil {
					t.Errorf("(-want +got):\n%s%v", diff, err)
				}
			}
			// The log shows them all the same.
			if got, _, err := w.read(readOptions("", allFrom(start+1))); err != nil || len(got) < 10 {
				t.Errorf("the log shows %d: %v", len(got), err)
			}
		})
	}
}

func TestAgeHidesAnEventWhenItsTimeHasCome(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	w := serve(t, embedded.Options{Clock: func() time.Time { return time.Unix(0, now.Load()) }})
	w.bound("s", `{"$maxAge":10}`)
	w.wrote("s", "none", several(2)...)
	now.Add(int64(10 * time.Second))
	if got, _, err := w.read(readOptions("s")); err != nil || len(got) != 2 {
		t.Errorf("at its age: %v %v", saw(got), err)
	}
	now.Add(100)
	if got, _, err := w.read(readOptions("s")); err != nil || len(got) != 0 { // empty, and no "not found"
		t.Errorf("beyond its age: %v %v", saw(got), err)
	}
	w.wrote("s", 1, several(1)...)
	if got, _, err := w.read(readOptions("s")); err != nil || !cmp.Equal(saw(got), []string{"2@s"}) {
		t.Errorf("the next: %v %v", saw(got), err)
	}
}

func TestOnlyTheNewestMetadataIsVisible(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(3)...)
	w.bound("s", `{"$maxCount":1}`)
	w.bound("s", `{"$maxCount":2}`)
	for _, change := range []option{count(1), count(10), streamEnd} {
		o := readOptions("$$s", change)
		if o.GetOptions().GetStream().GetEnd() != nil {
			backwards(o.GetOptions())
		}
		got, _, err := w.read(o)
		if err != nil || len(got) != 1 || string(got[0].GetEvent().GetEvent().GetData()) != `{"$maxCount":2}` {
			t.Errorf("%v %v", got, err)
		}
	}
	if got, _, err := w.read(readOptions("s")); err != nil || !cmp.Equal(saw(got), []string{"1@s", "2@s"}) {
		t.Errorf("%v %v", saw(got), err)
	}
}
