package embedded_test

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

// wire speaks the protocol itself, because the official client hides much of it.
type wire struct {
	t       *testing.T
	store   *embedded.Store
	conn    *grpc.ClientConn
	streams streams.StreamsClient
	dir     string
	socket  string
	cut     *atomic.Int32 // messages that could not be sent, because an answer had come
}

// serve runs a store on its socket until the test ends.
func serve(t *testing.T, opts embedded.Options) *wire {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	store, err := embedded.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, store) })
	listener, socket, err := store.ListenUnix()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := store.Serve(listener, embedded.ServeOptions{}); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	w := dial(t, (&url.URL{Scheme: "unix", Path: socket}).String(), insecure.NewCredentials())
	w.store, w.dir, w.socket = store, opts.Dir, socket
	return w
}

func dial(t *testing.T, target string, creds credentials.TransportCredentials, opts ...grpc.DialOption) *wire {
	t.Helper()
	opts = append(
		opts, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(17<<20)),
	)
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t: t, conn: conn, streams: streams.NewStreamsClient(conn), cut: &atomic.Int32{}}
}

// in is the same connection for a test within the test.
func (w *wire) in(t *testing.T) *wire {
	inner := *w
	inner.t = t
	return &inner
}

func closed(t *testing.T, store *embedded.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

var empty = &shared.Empty{}

// proposed is an event with a fresh id.
func proposed(typ, data string) *streams.AppendReq_ProposedMessage {
	return &streams.AppendReq_ProposedMessage{
		Id: text(uuid.NewString()), Metadata: map[string]string{"type": typ, "content-type": "application/json"},
		Data: []byte(data),
	}
}

func several(n int) []*streams.AppendReq_ProposedMessage {
	out := make([]*streams.AppendReq_ProposedMessage, n)
	for i := range out {
		out[i] = proposed("happened", fmt.Sprintf(`{"n":%d}`, i))
	}
	return out
}

func text(id string) *shared.UUID { return &shared.UUID{Value: &shared.UUID_String_{String_: id}} }

func identifier(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

// expected are the options of an append: "any", "none", "exists", or a revision.
func expected(name string, e any) *streams.AppendReq_Options {
	o := &streams.AppendReq_Options{StreamIdentifier: identifier(name)}
	switch e {
	case "any":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: empty}
	case "none":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: empty}
	case "exists":
		o.ExpectedStreamRevision = &streams.AppendReq_Options_StreamExists{StreamExists: empty}
	default:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: uint64(e.(int))}
	}
	return o
}

func (w *wire) append(
	name string, e any, events ...*streams.AppendReq_ProposedMessage,
) (*streams.AppendResp, metadata.MD, error) {
	w.t.Helper()
	return w.appendWith(expected(name, e), events...)
}

func (w *wire) appendWith(
	o *streams.AppendReq_Options, events ...*streams.AppendReq_ProposedMessage,
) (*streams.AppendResp, metadata.MD, error) {
	w.t.Helper()
	call, err := w.streams.Append(wait.Context(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	send := func(r *streams.AppendReq) {
		switch err := call.Send(r); {
		case errors.Is(err, io.EOF):
			w.cut.Add(1)
		case err != nil:
			w.t.Fatal(err)
		}
	}
	if o != nil {
		send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}})
	}
	for _, e := range events {
		send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: e}})
	}
	response, err := call.CloseAndRecv()
	return response, call.Trailer(), err
}

// wrote appends and returns the position.
func (w *wire) wrote(name string, e any, events ...*streams.AppendReq_ProposedMessage) uint64 {
	w.t.Helper()
	response, _, err := w.append(name, e, events...)
	if err != nil || response.GetSuccess() == nil {
		w.t.Fatalf("append to %s at %v: %v %v", name, e, response, err)
	}
	return response.GetSuccess().GetPosition().GetCommitPosition()
}

// bound sets a stream's metadata.
func (w *wire) bound(name, json string) {
	w.t.Helper()
	w.wrote("$$"+name, "any", proposed("$metadata", json))
}

func (w *wire) softDelete(name string) {
	w.t.Helper()
	if _, err := w.streams.Delete(wait.Context(w.t), &streams.DeleteReq{Options: &streams.DeleteReq_Options{
		StreamIdentifier: identifier(name), ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: empty},
	}}); err != nil {
		w.t.Fatalf("delete %s: %v", name, err)
	}
}

func (w *wire) tombstone(name string) {
	w.t.Helper()
	if _, err := w.streams.Tombstone(wait.Context(w.t), &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{
		StreamIdentifier: identifier(name), ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: empty},
	}}); err != nil {
		w.t.Fatalf("tombstone %s: %v", name, err)
	}
}

// readOptions are those of a count read of a stream from its start; change turns them into another
// read.
func readOptions(name string, change ...func(*streams.ReadReq_Options)) *streams.ReadReq {
	o := &streams.ReadReq_Options{
		UuidOption: &streams.ReadReq_Options_UUIDOption{
			Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: empty},
		},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1 << 40},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: empty},
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: identifier(name),
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Start{Start: empty},
		}},
	}
	for _, f := range change {
		f(o)
	}
	return &streams.ReadReq{Options: o}
}

func revision(r uint64) func(*streams.ReadReq_Options) {
	return func(o *streams.ReadReq_Options) {
		o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: r}
	}
}

func streamEnd(o *streams.ReadReq_Options) {
	o.GetStream().RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: empty}
}

func backwards(o *streams.ReadReq_Options) { o.ReadDirection = streams.ReadReq_Options_Backwards }

func count(n uint64) func(*streams.ReadReq_Options) {
	return func(o *streams.ReadReq_Options) { o.CountOption = &streams.ReadReq_Options_Count{Count: n} }
}

func following(o *streams.ReadReq_Options) {
	o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
}

func all(o *streams.ReadReq_Options) {
	o.StreamOption = &streams.ReadReq_Options_All{
		All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: empty}},
	}
}

func allFrom(position uint64) func(*streams.ReadReq_Options) {
	return func(o *streams.ReadReq_Options) {
		o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_Position{
				Position: &streams.ReadReq_Options_Position{CommitPosition: position, PreparePosition: position},
			},
		}}
	}
}

func allEnd(o *streams.ReadReq_Options) {
	o.StreamOption = &streams.ReadReq_Options_All{
		All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: empty}},
	}
}

// read returns all messages of a count read, with the trailers.
func (w *wire) read(req *streams.ReadReq) ([]*streams.ReadResp, metadata.MD, error) {
	w.t.Helper()
	call, err := w.streams.Read(wait.Context(w.t), req)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*streams.ReadResp
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return out, call.Trailer(), nil
		}
		if err != nil {
			return out, call.Trailer(), err
		}
		out = append(out, m)
	}
}

// saw is a read or a subscription in one line a message: "rev@stream", "not found", "confirmed",
// "checkpoint", "caught up".
func saw(messages []*streams.ReadResp) []string {
	out := make([]string, 0, len(messages))
	for _, m := range messages {
		out = append(out, line(m))
	}
	return out
}

func line(m *streams.ReadResp) string {
	switch c := m.GetContent().(type) {
	case *streams.ReadResp_Event:
		return fmt.Sprintf(
			"%d@%s", c.Event.GetEvent().GetStreamRevision(), c.Event.GetEvent().GetStreamIdentifier().GetStreamName(),
		)
	case *streams.ReadResp_StreamNotFound_:
		return "not found"
	case *streams.ReadResp_Confirmation:
		return "confirmed"
	case *streams.ReadResp_Checkpoint_:
		return "checkpoint"
	case *streams.ReadResp_CaughtUp_:
		return "caught up"
	}
	return fmt.Sprintf("%T", m.GetContent())
}

// refused checks a status and its trailers, given as "key=value".
func refused(t *testing.T, err error, trailer metadata.MD, code codes.Code, want ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
	for _, pair := range want {
		key, value, _ := strings.Cut(pair, "=")
		if got := trailer.Get(key); len(got) != 1 || got[0] != value {
			t.Errorf("trailer %s is %q, want %q once", key, got, value)
		}
	}
}

// positions are those of the whole log's events, in order.
func (w *wire) positions() []uint64 {
	w.t.Helper()
	page, _, err := w.read(readOptions("", all))
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]uint64, len(page))
	for i, m := range page {
		out[i] = m.GetEvent().GetEvent().GetCommitPosition()
	}
	return out
}
