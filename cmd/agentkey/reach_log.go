package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"agentkey/eventstore"
)

const logSetting = "AGENTKEY_EVENTSTORE_URL"

// examineLog says why the EventStoreDB of a URL can't be used, within two seconds: it looks at the
// name, the port, the TLS handshake and the user's rights over connections of its own, because the
// client hides all of them. nil: at least one node can be used, as far as can be seen.
func examineLog(ctx context.Context, url string) error {
	conf, err := eventstore.ParseURL(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 1900*time.Millisecond)
	defer cancel()
	addresses := []string{conf.Address}
	if len(conf.GossipSeeds) > 0 {
		addresses = nil
		for _, seed := range conf.GossipSeeds {
			addresses = append(addresses, net.JoinHostPort(seed.Host, strconv.Itoa(int(seed.Port))))
		}
	}
	found := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() { found <- examineNode(ctx, conf, address) }()
	}
	var faults []error
	for range addresses {
		err := <-found
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func examineNode(ctx context.Context, conf *esdb.Configuration, address string) error {
	s := server{
		address: address, setting: logSetting, plain: "add tls=false to " + logSetting,
		encrypt: "add tls=true to " + logSetting,
		trust:   "add tlsCAFile=FILE, with the certificate of that authority, to " + logSetting,
	}
	transport := insecure.NewCredentials()
	if !conf.DisableTLS {
		s.tls = &tls.Config{
			RootCAs: conf.RootCAs, NextProtos: []string{"h2"},
			InsecureSkipVerify: conf.SkipCertificateVerification, //nolint:gosec // as the URL says
		}
		s.tls.ServerName, _, _ = net.SplitHostPort(address)
		if conf.UserCertFile != "" {
			pair, err := tls.LoadX509KeyPair(conf.UserCertFile, conf.UserKeyFile)
			if err != nil {
				return fmt.Errorf("userCertFile and userKeyFile of %s: %w", logSetting, err)
			}
			s.tls.Certificates = []tls.Certificate{pair}
		}
		transport = credentials.NewTLS(s.tls)
	}
	if err := s.reach(ctx); err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it was only to see
	return s.mayRead(ctx, conn, conf.Username, conf.Password)
}

// mayRead reads the end of the log, as the feed must.
func (s server) mayRead(ctx context.Context, conn *grpc.ClientConn, user, password string) error {
	var opts []grpc.CallOption
	if user != "" {
		opts = append(opts, grpc.PerRPCCredentials(basic{user, password}))
	}
	call, err := streams.NewStreamsClient(conn).Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
			AllOption: &streams.ReadReq_Options_AllOptions_End{End: &shared.Empty{}},
		}},
		ReadDirection: streams.ReadReq_Options_Backwards,
		CountOption:   &streams.ReadReq_Options_Count{Count: 1},
		FilterOption:  &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption: &streams.ReadReq_Options_UUIDOption{
			Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}},
		},
	}}, opts...)
	if err == nil {
		_, err = call.Recv()
	}
	say := func(format string, args ...any) error { return &fault{text: fmt.Sprintf(format, args...), err: err} }
	switch code := status.Code(err); {
	case (code == codes.Unauthenticated || code == codes.PermissionDenied) && user == "":
		return say(
			"%s asks for a user and a password: write them into %s as esdb://user:password@host", s.address, s.setting,
		)
	case code == codes.Unauthenticated:
		return say("%s doesn't know the user %s, or the password is wrong: check both in %s", s.address, user, s.setting)
	case code == codes.PermissionDenied:
		return say(
			`the user %s may not read $all at %s: an administrator must add it to the metadata of $all, as `+
				`{"$acl":{"$r":["%s","$admins"]}}`, user, s.address, user,
		)
	case code == codes.Unimplemented:
		return say("%s isn't an EventStoreDB: check host and port in %s", s.address, s.setting)
	case code == codes.DeadlineExceeded:
		return s.explain(context.DeadlineExceeded)
	case code == codes.Unavailable:
		return say("%s isn't ready: check its state and its log (%s)", s.address, status.Convert(err).Message())
	}
	return nil // it answers; whatever it says of the log itself, the client hears too
}

// basic are a user's credentials as EventStoreDB takes them.
type basic struct{ user, password string }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	pair := base64.StdEncoding.EncodeToString([]byte(b.user + ":" + b.password))
	return map[string]string{"authorization": "Basic " + pair}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (basic) RequireTransportSecurity() bool { return true }
