package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// foreign runs a gRPC server that isn't an event store on a loopback port, and returns its address.
func foreign(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(opts...)
	register(server)
	go func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func to(t *testing.T, address string, timeout time.Duration) *eventstore.Client {
	t.Helper()
	return dial(t, eventstore.Config{URL: "esdb://" + address + "?tls=false", Timeout: timeout})
}

// TestRequiresLeaderArrivesOnTheWire records what each call says. The client would lose it.
func TestRequiresLeaderArrivesOnTheWire(t *testing.T) {
	var mu sync.Mutex
	said := map[string][]string{}
	address := foreign(t, func(*grpc.Server) {}, grpc.UnknownServiceHandler(func(_ any, call grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(call)
		md, _ := metadata.FromIncomingContext(call.Context())
		mu.Lock()
		defer mu.Unlock()
		method = method[strings.LastIndexByte(method, '/')+1:]
		// a call may be repeated
		if header := strings.Join(md.Get("requires-leader"), ","); !slices.Contains(said[method], header) {
			said[method] = append(said[method], header)
		}
		return status.Error(codes.Unimplemented, "records only")
	}))
	c := to(t, address, 0)
	ctx := wait.Context(t)
	_, appended := c.Append(ctx, "s", eventstore.Any, event(1))
	_, read := c.ReadForward(ctx, "s", 0, 1)
	_, head := c.Head(ctx)
	_, followed := c.SubscribeAll(ctx, 0, eventstore.Filter{})
	for n, err := range []error{
		appended, read, head, followed, c.Tombstone(ctx, "s"),
		c.SetStreamMetadata(ctx, "s", eventstore.StreamMetadata{MaxCount: 1}),
	} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("call %d: %v", n, err)
		}
	}
	want := map[string][]string{
		"GetSupportedMethods": {""}, // on connecting, before there is a call
		"Append":              {"true"}, "Read": {"true"}, "Tombstone": {"true"},
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAUserAndAPasswordWithoutTLSAreRefused(t *testing.T) {
	for _, cfg := range []eventstore.Config{
		{URL: "esdb://agentkey:needle@127.0.0.1:2113?tls=false"},
		{URL: "esdb://127.0.0.1:2113?tls=false", Username: "agentkey", Password: "needle"},
		{Socket: "/run/events.sock", Username: "agentkey", Password: "needle"},
	} {
		if _, err := eventstore.Open(cfg); err == nil || !strings.Contains(err.Error(), "TLS") ||
			strings.Contains(err.Error(), "needle") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := eventstore.Open(eventstore.Config{URL: "esdb://agentkey:needle@:::nonsense"}); err == nil ||
		strings.Contains(err.Error(), "needle") {
		t.Errorf("a bad URL: %v", err)
	}
	if _, err := eventstore.Open(
		eventstore.Config{URL: "esdb://127.0.0.1:2113", Username: "agentkey", Password: "x"},
	); err != nil {
		t.Errorf("with TLS: %v", err)
	}
}

// answering is a streams service that answers everything with one status, whole requests read.
type answering struct {
	streams.UnimplementedStreamsServer
	code    codes.Code
	trailer metadata.MD
}

func (a answering) err(ctx context.Context) error {
	_ = grpc.SetTrailer(ctx, a.trailer)
	return status.Error(a.code, "as the test says")
}

func (a answering) Append(call streams.Streams_AppendServer) error {
	for {
		if _, err := call.Recv(); errors.Is(err, io.EOF) {
			return a.err(call.Context())
		} else if err != nil {
			return err
		}
	}
}

func (a answering) Read(_ *streams.ReadReq, call streams.Streams_ReadServer) error {
	return a.err(call.Context())
}

func (a answering) Delete(ctx context.Context, _ *streams.DeleteReq) (*streams.DeleteResp, error) {
	return nil, a.err(ctx)
}

func (a answering) Tombstone(ctx context.Context, _ *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	return nil, a.err(ctx)
}

// TestErrorsAreToldByTheirStatus though the client wraps some and calls others unknown.
func TestErrorsAreToldByTheirStatus(t *testing.T) {
	sentinels := []error{
		eventstore.ErrWrongRevision, eventstore.ErrStreamNotFound, eventstore.ErrStreamDeleted, eventstore.ErrTooLarge,
		eventstore.ErrUnavailable, eventstore.ErrDiskFull, eventstore.ErrRefused,
	}
	for _, tt := range []struct {
		code    codes.Code
		trailer []string
		want    []error
	}{
		{
			codes.FailedPrecondition,
			[]string{"exception", "wrong-expected-version", "stream-name", "s"},
			[]error{eventstore.ErrWrongRevision},
		},
		{
			codes.FailedPrecondition,
			[]string{"exception", "stream-deleted", "stream-name", "s"},
			[]error{eventstore.ErrStreamDeleted},
		},
		{
			codes.InvalidArgument,
			[]string{"exception", "maximum-append-size-exceeded", "maximum-append-size", "5"},
			[]error{eventstore.ErrTooLarge},
		},
		{codes.ResourceExhausted, nil, []error{eventstore.ErrDiskFull, eventstore.ErrUnavailable}},
		{codes.NotFound, nil, []error{eventstore.ErrStreamNotFound}},
		{codes.Unauthenticated, nil, []error{eventstore.ErrRefused}},
		{codes.PermissionDenied, []string{"exception", "access-denied"}, []error{eventstore.ErrRefused}},
		{codes.Unavailable, nil, []error{eventstore.ErrUnavailable}},
		{codes.Aborted, nil, []error{eventstore.ErrUnavailable}},
		{codes.DeadlineExceeded, nil, []error{eventstore.ErrUnavailable}},
		{codes.Canceled, nil, []error{eventstore.ErrUnavailable}},
		{codes.Internal, nil, nil},
		{codes.Unknown, nil, nil},
	} {
		t.Run(fmt.Sprint(tt.code, tt.trailer), func(t *testing.T) {
			t.Parallel()
			address := foreign(t, func(s *grpc.Server) {
				streams.RegisterStreamsServer(s, answering{code: tt.code, trailer: metadata.Pairs(tt.trailer...)})
			})
			c := to(t, address, 0)
			limit := func() context.Context {
				if slices.Contains(tt.want, eventstore.ErrUnavailable) { // it would be tried until then
					return deadline(t, 300*time.Millisecond)
				}
				return wait.Context(t)
			}
			_, appended := c.Append(limit(), "s", eventstore.Any, event(1))
			_, read := c.ReadForward(limit(), "s", 0, 1)
			_, head := c.Head(limit())
			for name, err := range map[string]error{"append": appended, "read": read, "head": head} {
				if err == nil {
					t.Errorf("%s succeeded", name)
				}
				for _, sentinel := range sentinels {
					wanted := false
					for _, w := range tt.want {
						wanted = wanted || errors.Is(w, sentinel)
					}
					if errors.Is(err, sentinel) != wanted {
						t.Errorf("%s: %v is %q: %t", name, err, sentinel, !wanted)
					}
				}
			}
			tombstone := c.Tombstone(limit(), "s")
			gone := len(tt.want) == 1 &&
				(errors.Is(tt.want[0], eventstore.ErrStreamDeleted) || errors.Is(tt.want[0], eventstore.ErrWrongRevision) ||
					errors.Is(tt.want[0], eventstore.ErrStreamNotFound))
			if (tombstone == nil) != gone {
				t.Errorf("tombstone: %v", tombstone)
			}
		})
	}
}

// early is a server that answers an append before it has read it, so that the client loses the
// answer.
type early struct {
	streams.UnimplementedStreamsServer
}

func (early) Append(streams.Streams_AppendServer) error {
	return status.Error(codes.Unavailable, "Server Is Not Ready")
}

func TestAnAppendThatIsCutWhileItIsSentIsUnavailable(t *testing.T) {
	c := to(t, foreign(t, func(s *grpc.Server) { streams.RegisterStreamsServer(s, early{}) }), 0)
	large := events(100)
	for i := range large {
		large[i].Data = make([]byte, 10_000)
	}
	for range 5 {
		if _, err := c.Append(
			deadline(t, 200*time.Millisecond), "s", eventstore.Any, large...,
		); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

// silent takes calls and never answers.
type silent struct {
	streams.UnimplementedStreamsServer
}

func (silent) Append(call streams.Streams_AppendServer) error {
	<-call.Context().Done()
	return status.FromContextError(call.Context().Err()).Err()
}

func (silent) Read(_ *streams.ReadReq, call streams.Streams_ReadServer) error {
	<-call.Context().Done()
	return status.FromContextError(call.Context().Err()).Err()
}

func TestEveryCallHasADeadline(t *testing.T) {
	c := to(t, foreign(t, func(s *grpc.Server) { streams.RegisterStreamsServer(s, silent{}) }), 100*time.Millisecond)
	_, read := c.ReadForward(t.Context(), "s", 0, 1)
	_, head := c.Head(t.Context())
	_, followed := c.SubscribeAll(t.Context(), 0, eventstore.Filter{})
	_, appended := c.Append(deadline(t, 250*time.Millisecond), "s", eventstore.Any, event(1))
	for n, err := range []error{read, head, followed, appended} {
		if !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("call %d: %v", n, err)
		}
	}
}

// odd answers a read with a message on which the client panics.
type odd struct {
	streams.UnimplementedStreamsServer
}

func (odd) Read(_ *streams.ReadReq, call streams.Streams_ReadServer) error {
	return call.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}

func TestAPanicOfTheClientIsAnError(t *testing.T) {
	c := to(t, foreign(t, func(s *grpc.Server) { streams.RegisterStreamsServer(s, odd{}) }), 0)
	if _, err := c.ReadForward(wait.Context(t), "s", 0, 1); !errors.Is(err, eventstore.ErrUnavailable) ||
		!strings.Contains(err.Error(), "panicked") {
		t.Errorf("got %v", err)
	}
}

// TestAFollowerSendsTheAppendToItsLeader as a cluster does.
func TestAFollowerSendsTheAppendToItsLeader(t *testing.T) {
	leader := eventstoretest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := leader.Store.Serve(listener, embedded.ServeOptions{}); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	follower := foreign(t, func(s *grpc.Server) {
		streams.RegisterStreamsServer(
			s,
			answering{
				code: codes.NotFound,
				trailer: metadata.Pairs(
					"exception", "not-leader", "leader-endpoint-host", host, "leader-endpoint-port", port,
				),
			},
		)
	})
	c := to(t, follower, 0)
	before := c.Generation()
	a := mustAppend(t, c, "s", eventstore.NoStream, event(1))
	if a.Position != leader.Store.Head() || c.Generation() == before {
		t.Errorf(
			"appended at %+v, the leader is at %d, generation %d then %d", a, leader.Store.Head(), before,
			c.Generation(),
		)
	}
	if out, err := c.ReadForward(wait.Context(t), "s", 0, 1); err != nil || len(out) != 1 {
		t.Errorf("read %d: %v", len(out), err)
	}
}

// TestManyReadersAndWritersShareAClient under the race detector finds what they share too much.
func TestManyReadersAndWritersShareAClient(t *testing.T) {
	s := eventstoretest.Start(t)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("s-%d", n%4)
			for range 20 {
				if _, err := s.Client.Append(wait.Context(t), name, eventstore.Any, event(n)); err != nil {
					t.Errorf("append: %v", err)
				}
				if _, err := s.Client.ReadBackward(wait.Context(t), name, 3); err != nil {
					t.Errorf("read: %v", err)
				}
				if _, err := s.Client.Head(wait.Context(t)); err != nil {
					t.Errorf("head: %v", err)
				}
			}
		})
	}
	wg.Wait()
	written := 0
	for n := range 4 {
		events, err := s.Client.ReadForward(wait.Context(t), fmt.Sprintf("s-%d", n), 0, 16*20)
		if err != nil {
			t.Fatal(err)
		}
		written += len(events)
	}
	if written != 16*20 {
		t.Errorf("%d events were written", written)
	}
}
