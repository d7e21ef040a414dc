package embedded_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

// remove calls Delete or Tombstone and returns the position.
func (w *wire) remove(final bool, name string, e any) (uint64, metadata.MD, error) {
	w.t.Helper()
	var trailer metadata.MD
	o := expected(name, e)
	if final {
		d := &streams.TombstoneReq_Options{StreamIdentifier: o.GetStreamIdentifier()}
		switch e := o.GetExpectedStreamRevision().(type) {
		case *streams.AppendReq_Options_Any:
			d.ExpectedStreamRevision = &streams.TombstoneReq_Options_Any{Any: e.Any}
		case *streams.AppendReq_Options_NoStream:
			d.ExpectedStreamRevision = &streams.TombstoneReq_Options_NoStream{NoStream: e.NoStream}
		case *streams.AppendReq_Options_StreamExists:
			d.ExpectedStreamRevision = &streams.TombstoneReq_Options_StreamExists{StreamExists: e.StreamExists}
		case *streams.AppendReq_Options_Revision:
			d.ExpectedStreamRevision = &streams.TombstoneReq_Options_Revision{Revision: e.Revision}
		}
		r, err := w.streams.Tombstone(wait.Context(w.t), &streams.TombstoneReq{Options: d}, grpc.Trailer(&trailer))
		return r.GetPosition().GetCommitPosition(), trailer, err
	}
	d := &streams.DeleteReq_Options{StreamIdentifier: o.GetStreamIdentifier()}
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Any:
		d.ExpectedStreamRevision = &streams.DeleteReq_Options_Any{Any: e.Any}
	case *streams.AppendReq_Options_NoStream:
		d.ExpectedStreamRevision = &streams.DeleteReq_Options_NoStream{NoStream: e.NoStream}
	case *streams.AppendReq_Options_StreamExists:
		d.ExpectedStreamRevision = &streams.DeleteReq_Options_StreamExists{StreamExists: e.StreamExists}
	case *streams.AppendReq_Options_Revision:
		d.ExpectedStreamRevision = &streams.DeleteReq_Options_Revision{Revision: e.Revision}
	}
	r, err := w.streams.Delete(wait.Context(w.t), &streams.DeleteReq{Options: d}, grpc.Trailer(&trailer))
	return r.GetPosition().GetCommitPosition(), trailer, err
}

func TestDeleteAndTombstoneExpectations(t *testing.T) {
	w := serve(t, embedded.Options{})
	states := map[string]func(name string){
		"new":        func(string) {},
		"metadata":   func(name string) { w.bound(name, `{"$maxCount":10}`) },
		"two events": func(name string) { w.wrote(name, "none", several(2)...) },
		"deleted":    func(name string) { w.wrote(name, "none", several(2)...); w.softDelete(name) },
		"tombstoned": func(name string) { w.wrote(name, "none", several(2)...); w.tombstone(name) },
	}
	wrong := func(expected, actual int64) []string {
		return []string{
			"exception=wrong-expected-version", fmt.Sprintf("expected-version=%d", expected),
			fmt.Sprintf("actual-version=%d", actual),
		}
	}
	gone := []string{"exception=stream-deleted"}
	const whatever, exists = int64(-2), int64(-4)
	tests := []struct {
		state     string
		expected  any
		deletes   []string // nil: it is done
		tombstone []string
	}{
		{"new", "any", wrong(whatever, -1), nil},
		{"new", "none", wrong(-1, -1), nil},
		{"new", "exists", wrong(exists, -1), wrong(exists, -1)},
		{"new", 0, wrong(0, -1), wrong(0, -1)},
		{"metadata", "exists", wrong(exists, -1), nil},
		{"metadata", "any", wrong(whatever, -1), nil},
		{"two events", "any", nil, nil},
		{"two events", "exists", nil, nil},
		{"two events", 1, nil, nil},
		{"two events", 0, wrong(0, 1), wrong(0, 1)},
		{"two events", 2, wrong(2, 1), wrong(2, 1)},
		{"two events", "none", wrong(-1, 1), wrong(-1, 1)},
		{"deleted", "any", nil, nil},
		{"deleted", 1, nil, nil},
		{"deleted", "exists", gone, gone},
		{"tombstoned", "any", gone, gone},
		{"tombstoned", "exists", gone, gone},
		{"tombstoned", "none", gone, gone},
		{"tombstoned", 1, gone, gone},
	}
	for n, tt := range tests {
		for _, final := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s at %v, for good: %t", tt.state, tt.expected, final), func(t *testing.T) {
				name := fmt.Sprintf("s-%d-%t", n, final)
				states[tt.state](name)
				want := tt.deletes
				if final {
					want = tt.tombstone
				}
				head := w.store.Head()
				position, trailer, err := w.remove(final, name, tt.expected)
				switch {
				case want != nil:
					refused(t, err, trailer, codes.FailedPrecondition, append(want, "stream-name="+name)...)
					if w.store.Head() != head {
						t.Error("something was written")
					}
				case err != nil || position <= head || position != w.store.Head():
					t.Errorf("position %d after %d: %v", position, head, err)
				}
			})
		}
	}
}

func TestASoftDeleteIsAMetadataEvent(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.bound("s", `{"$maxCount":5}`)
	w.wrote("s", "none", several(3)...)
	w.softDelete("s")
	metadataOf := func() (uint64, string) {
		t.Helper()
		got, _, err := w.read(readOptions("$$s", count(1)))
		if err != nil || len(got) != 1 || got[0].GetEvent().GetEvent().GetMetadata()["type"] != "$metadata" {
			t.Fatalf("metadata: %v %v", got, err)
		}
		return got[0].GetEvent().GetEvent().GetStreamRevision(), string(got[0].GetEvent().GetEvent().GetData())
	}
	if revision, data := metadataOf(); revision != 1 || data != `{"$tb":9223372036854775807}` {
		t.Errorf("the metadata is %s at %d", data, revision)
	}
	if got, _, err := w.read(readOptions("s")); err != nil || !slices.Equal(saw(got), []string{"not found"}) {
		t.Errorf("reading it: %v %v", saw(got), err)
	}
	w.wrote("s", "none", several(2)...)
	if revision, data := metadataOf(); revision != 2 || data != `{"$tb":3}` {
		t.Errorf("the metadata is %s at %d", data, revision)
	}
	if got, _, err := w.read(readOptions("s")); err != nil || !slices.Equal(saw(got), []string{"3@s", "4@s"}) {
		t.Errorf("after one more append: %v %v", saw(got), err)
	}
	got, _, err := w.read(readOptions("", all))
	want := []string{"0@$$s", "0@s", "1@s", "2@s", "1@$$s", "2@$$s", "3@s", "4@s"}
	if diff := cmp.Diff(want, saw(got)); diff != "" || err != nil {
		t.Errorf("the log (-want +got):\n%s%v", diff, err)
	}
}

func TestATombstoneIsTheLastEventThereCanBe(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(2)...)
	w.tombstone("s")
	got, _, err := w.read(readOptions("", all, allFrom(w.positions()[2])))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d events: %v", len(got), err)
	}
	e := got[0].GetEvent().GetEvent()
	if e.GetMetadata()["type"] != "$streamDeleted" || e.GetStreamRevision() != math.MaxInt64 {
		t.Errorf("the tombstone is %v", e)
	}
	for _, change := range []func(*streams.ReadReq_Options){count(1), backwards, revision(1), streamEnd} {
		_, trailer, err := w.read(readOptions("s", change))
		refused(t, err, trailer, codes.FailedPrecondition, "exception=stream-deleted", "stream-name=s")
	}
	// An ordinary event of that type ends nothing.
	w.wrote("other", "none", proposed("$streamDeleted", "{}"))
	w.wrote("other", 0, several(1)...)
}

func TestMetadataIsNotRemovedByItself(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.bound("s", `{"$maxCount":1}`)
	for _, final := range []bool{false, true} {
		for _, name := range []string{"$$s", ""} {
			_, _, err := w.remove(final, name, "any")
			refused(t, err, nil, codes.InvalidArgument)
		}
	}
	w.wrote("s", "none", several(3)...)
	if got, _, err := w.read(readOptions("s")); err != nil || !slices.Equal(saw(got), []string{"2@s"}) {
		t.Errorf("its bound is gone: %v %v", saw(got), err)
	}
}

func TestStateSurvivesAReopening(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, embedded.Options{Dir: dir})
	same := several(2)
	first.wrote("plain", "none", same...)
	first.bound("bounded", `{"$maxCount":1}`)
	first.wrote("bounded", "none", several(2)...)
	first.wrote("deleted", "none", several(2)...)
	first.softDelete("deleted")
	first.wrote("gone", "none", several(1)...)
	first.tombstone("gone")
	head := first.store.Head()
	closed(t, first.store)
	w := serve(t, embedded.Options{Dir: dir})
	if w.store.Head() != head {
		t.Errorf("the head was %d and is %d", head, w.store.Head())
	}
	if r, _, err := w.append("plain", "none", same...); err != nil || verdict(r) != "at 1" {
		t.Errorf("repeated: %v %v", r, err)
	}
	for name, want := range map[string][]string{
		"plain": {"0@plain", "1@plain"}, "bounded": {"1@bounded"}, "deleted": {"not found"},
	} {
		if got, _, err := w.read(readOptions(name)); err != nil || !slices.Equal(saw(got), want) {
			t.Errorf("%s: %v %v", name, saw(got), err)
		}
	}
	_, trailer, err := w.append("gone", "any", several(1)...)
	refused(t, err, trailer, codes.FailedPrecondition, "exception=stream-deleted")
	if p := w.wrote("deleted", "none", several(1)...); p != w.store.Head() || p <= head {
		t.Errorf("position %d after %d", p, head)
	}
}
