package embedded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestSupportedMethodsAreThoseThatThereAre(t *testing.T) {
	w := serve(t, embedded.Options{})
	got, err := serverfeatures.NewServerFeaturesClient(w.conn).GetSupportedMethods(wait.Context(t), empty)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^2[3-9]\.\d+\.\d+$`).MatchString(got.GetEventStoreServerVersion()) {
		t.Errorf("the version is %q", got.GetEventStoreServerVersion())
	}
	var names []string
	for _, m := range got.GetMethods() {
		names = append(names, m.GetServiceName()+"/"+m.GetMethodName())
	}
	const service = "event_store.client.streams.streams/"
	if !slices.Equal(names, []string{service + "append", service + "read", service + "delete", service + "tombstone"}) {
		t.Errorf("the methods are %v", names)
	}
}

func TestUnsupportedCallsAreUnimplemented(t *testing.T) {
	w := serve(t, embedded.Options{})
	batch, err := w.streams.BatchAppend(wait.Context(t))
	if err == nil {
		_, err = batch.Recv()
	}
	refused(t, err, nil, codes.Unimplemented)
	subscriptions := persistent.NewPersistentSubscriptionsClient(w.conn)
	_, err = subscriptions.Create(wait.Context(t), &persistent.CreateReq{})
	refused(t, err, nil, codes.Unimplemented)
	read, err := subscriptions.Read(wait.Context(t))
	if err == nil {
		_, err = read.Recv()
	}
	refused(t, err, nil, codes.Unimplemented)
	client := official(t, func(c *esdb.Configuration) { c.Address = "unix://" + w.socket })
	err = client.CreatePersistentSubscriptionToAll(wait.Context(t), "group", esdb.PersistentAllSubscriptionOptions{})
	if e := new(esdb.Error); !errors.As(err, &e) || e.Code() != esdb.ErrorCodeUnsupportedFeature {
		t.Errorf("the official client says %v", err)
	}
}

// official is the client that everybody uses, without our wrapper.
func official(t *testing.T, change func(*esdb.Configuration)) *esdb.Client {
	t.Helper()
	c, err := esdb.ParseConnectionString("esdb://127.0.0.1:1?tls=false")
	if err != nil {
		t.Fatal(err)
	}
	c.Logger = esdb.NoopLogging()
	change(c)
	client, err := esdb.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// listen serves a store on a port of loopback.
func listen(t *testing.T, w *wire, o embedded.ServeOptions) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := w.store.Serve(listener, o); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	return listener.Addr().String()
}

func TestGossipNamesOneLeaderAtTheClientsAddress(t *testing.T) {
	w := serve(t, embedded.Options{})
	address := listen(t, w, embedded.ServeOptions{})
	port := address[strings.LastIndex(address, ":")+1:]
	for _, target := range []string{address, "localhost:" + port} {
		seen, err := gossip.NewGossipClient(
			dial(t, target, insecure.NewCredentials()).conn,
		).Read(wait.Context(t), empty)
		if err != nil || len(seen.GetMembers()) != 1 {
			t.Fatalf("gossip: %v %v", seen, err)
		}
		m := seen.GetMembers()[0]
		if m.GetState() != gossip.MemberInfo_Leader || !m.GetIsAlive() ||
			net.JoinHostPort(m.GetHttpEndPoint().GetAddress(), port) != target {
			t.Errorf("the member is %v, reached at %s", m, target)
		}
	}
	client := official(t, func(c *esdb.Configuration) {
		host, _, _ := strings.Cut(address, ":")
		number, err := net.LookupPort("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		seed := &esdb.EndPoint{Host: host, Port: uint16(number)}
		c.GossipSeeds = []*esdb.EndPoint{seed, seed}
	})
	if _, err := client.AppendToStream(
		wait.Context(t), "s", esdb.AppendToStreamOptions{},
		esdb.EventData{EventID: uuid.New(), EventType: "happened", ContentType: esdb.ContentTypeJson},
	); err != nil {
		t.Errorf("by a list of seeds: %v", err)
	}
}

// certificate is a self-made one for 127.0.0.1, with the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "event store"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestAUserAndAPasswordOverTLS(t *testing.T) {
	w := serve(t, embedded.Options{})
	cert, pool := certificate(t)
	address := listen(
		t, w,
		embedded.ServeOptions{
			TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Username: "agentkey", Password: "correct",
		},
	)
	try := func(user, password string) error {
		c, err := eventstore.Open(
			eventstore.Config{URL: "esdb://" + address, RootCAs: pool, Username: user, Password: password},
		)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, err = c.Append(
			wait.Context(t), "s", eventstore.Any,
			eventstore.Event{ID: uuid.New(), Type: "happened", Data: []byte("{}")},
		)
		if err == nil {
			_, err = c.Head(wait.Context(t))
		}
		return err
	}
	if err := try("agentkey", "correct"); err != nil {
		t.Errorf("the right ones: %v", err)
	}
	for _, bad := range [][2]string{{"agentkey", "wrong"}, {"agentkey", ""}, {"other", "correct"}, {"", ""}} {
		if err := try(bad[0], bad[1]); !errors.Is(err, eventstore.ErrRefused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// Calls and streams ask for them alike; only what clients ask before they send any does not.
	raw := dial(t, address, credentials.NewClientTLSFromCert(pool, ""))
	if _, err := serverfeatures.NewServerFeaturesClient(raw.conn).GetSupportedMethods(
		wait.Context(t), empty,
	); err != nil {
		t.Errorf("the features were not told: %v", err)
	}
	if _, err := gossip.NewGossipClient(raw.conn).Read(wait.Context(t), empty); err != nil {
		t.Errorf("the member was not told: %v", err)
	}
	_, err := raw.streams.Tombstone(
		wait.Context(t),
		&streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: identifier("s")}},
	)
	refused(t, err, nil, codes.Unauthenticated)
	_, _, err = raw.read(readOptions("s"))
	refused(t, err, nil, codes.Unauthenticated)
	_, _, err = raw.append("s", "any", several(1)...)
	refused(t, err, nil, codes.Unauthenticated)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("agentkey:correct"))
	ctx := metadata.AppendToOutgoingContext(wait.Context(t), "authorization", basic)
	if _, err := raw.streams.Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{
		StreamIdentifier: identifier("s"), ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: empty},
	}}); err != nil {
		t.Errorf("with the right ones: %v", err)
	}
	// Plain text does not get in.
	plain, err := eventstore.Open(
		eventstore.Config{URL: "esdb://" + address + "?tls=false", Timeout: 300 * time.Millisecond},
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Head(wait.Context(t)); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("without TLS: %v", err)
	}
}

func TestAPasswordWithoutTLSIsRefused(t *testing.T) {
	w := serve(t, embedded.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if err := w.store.Serve(listener, embedded.ServeOptions{Username: "agentkey", Password: "x"}); err == nil ||
		!strings.Contains(err.Error(), "TLS") {
		t.Errorf("got %v", err)
	}
}

// TestPingsWithoutACallAreNotPunished pings an idle connection as often as the server promises to
// bear. With gRPC's default the fourth would be answered by GOAWAY.
func TestPingsWithoutACallAreNotPunished(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	every := time.NewTicker(5050 * time.Millisecond)
	defer every.Stop()
	if err := conn.SetReadDeadline(time.Now().Add(40 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for n := range byte(5) {
		if n > 0 && n < 4 { // the last shows that the one before it was no strike too many
			<-every.C
		}
		if err := framer.WritePing(false, [8]byte{n}); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatalf("ping %d: %v", n, err)
			}
			switch f := frame.(type) {
			case *http2.GoAwayFrame:
				t.Fatalf("ping %d: sent away, %s", n, f.DebugData())
			case *http2.PingFrame:
				if answered = f.IsAck() && f.Data[0] == n; !f.IsAck() {
					if err := framer.WritePing(true, f.Data); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}
