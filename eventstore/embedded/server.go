package embedded

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"agentkey/eventstore"
)

// ServeOptions say who may come in. The zero value lets everybody in who reaches the listener.
type ServeOptions struct {
	TLS      *tls.Config
	Username string // with Password: HTTP basic credentials on every call on streams, over TLS only
	Password string
}

// serverVersion is what clients are told: the protocol of EventStoreDB 24.10.
const serverVersion = "24.10.0"

// streamWorkers is how many calls find a goroutine waiting; more than that get one of their own.
const streamWorkers = 64

// maxMessage is the largest message that is received, in bytes.
const maxMessage = 16 << 20

// Serve answers EventStoreDB's protocol on a listener until the store is closed.
func (s *Store) Serve(listener net.Listener, o ServeOptions) error {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.NumStreamWorkers(streamWorkers), // a call begins on a stack that has grown already
		// Clients ping every ten seconds even without a call; the default would drop them for it.
		grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true},
		),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	if o.Username != "" {
		if o.TLS == nil {
			return errors.New("a user and a password need TLS: clients do not send them without it")
		}
		opts = append(opts, grpc.UnaryInterceptor(
			func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				if err := o.admit(ctx, info.FullMethod); err != nil {
					return nil, err
				}
				return next(ctx, req)
			}), grpc.StreamInterceptor(
			func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				if err := o.admit(ss.Context(), info.FullMethod); err != nil {
					return err
				}
				return next(srv, ss)
			}))
	}
	server := grpc.NewServer(opts...)
	streams.RegisterStreamsServer(server, &service{store: s})
	serverfeatures.RegisterServerFeaturesServer(server, &features{})
	gossip.RegisterGossipServer(server, &member{address: listener.Addr()})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return listener.Close()
	}
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the event store: %w", err)
	}
	return nil
}

// open are the calls that clients make without their credentials while they look for a node.
var open = []string{serverfeatures.ServerFeatures_GetSupportedMethods_FullMethodName, gossip.Gossip_Read_FullMethodName}

func (o ServeOptions) admit(ctx context.Context, method string) error {
	if slices.Contains(open, method) {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(o.Username+":"+o.Password))
	for _, got := range md.Get("authorization") {
		if subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 {
			return nil
		}
	}
	return status.Error(codes.Unauthenticated, "unknown user or wrong password")
}

type features struct {
	serverfeatures.UnimplementedServerFeaturesServer
}

// GetSupportedMethods advertises what is implemented: no batch appends, no persistent
// subscriptions.
func (*features) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	out := &serverfeatures.SupportedMethods{EventStoreServerVersion: serverVersion}
	for _, method := range []string{"append", "read", "delete", "tombstone"} {
		out.Methods = append(
			out.Methods,
			&serverfeatures.SupportedMethod{ServiceName: "event_store.client.streams.streams", MethodName: method},
		)
	}
	return out, nil
}

// member is this store as a cluster of one, for clients that were given a list of seeds.
type member struct {
	gossip.UnimplementedGossipServer
	address net.Addr
}

// Read answers with the one member there is, at the address where clients reached it.
func (m *member) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	address := m.address.String()
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get(":authority")) > 0 {
		address = md.Get(":authority")[0]
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "this store is reached by a socket, not by an address")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, status.Error(codes.Internal, "the port of this store is not a number")
	}
	id := newID()
	return &gossip.ClusterInfo{Members: []*gossip.MemberInfo{{
		InstanceId: structured(id), TimeStamp: ticks(time.Now()), //nolint:forbidigo // of the protocol, nothing depends on it
		State: gossip.MemberInfo_Leader, IsAlive: true,
		HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(number)},
	}}}, nil
}

// exception is an error as clients of EventStoreDB read it: a status, and trailers that say more.
func exception(ctx context.Context, code codes.Code, message string, pairs ...string) error {
	_ = grpc.SetTrailer(ctx, metadata.Pairs(pairs...)) // fails only when the call is over
	return status.Error(code, message)
}

func streamDeleted(ctx context.Context, name string) error {
	return exception(
		ctx, codes.FailedPrecondition, "Event stream '"+name+"' is deleted.", "exception", "stream-deleted",
		"stream-name", name,
	)
}

// failed is the status of a store that can't write or read now.
func failed(err error) error {
	switch {
	case isFull(err):
		// Not Unavailable: the client would look for another node, again and again.
		return status.Error(
			codes.ResourceExhausted, "the disk of the event store is full; make room, nothing was written",
		)
	case errors.Is(err, errClosing), errors.Is(err, errBusy):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unavailable, "the event store: "+err.Error())
}

// reserved says what is wrong with a stream's name, or nothing.
func reserved(name string) string {
	switch {
	case name == "":
		return "a stream needs a name"
	case name == "$$", strings.HasPrefix(name, "$$$$"):
		return "a metadata stream belongs to a stream, and has none of its own"
	case strings.TrimPrefix(name, "$$") == eventstore.BackupStream:
		return "the store alone notes that it is a copy"
	}
	return ""
}
