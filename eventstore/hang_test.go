package eventstore_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// pausable is a TCP proxy that, once paused, passes nothing on and closes nothing, like the kernel
// of a machine whose process is stopped.
type pausable struct {
	address string
	paused  atomic.Bool
	mu      sync.Mutex
	open    []net.Conn
}

// cut closes every connection.
func (p *pausable) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.open {
		_ = conn.Close()
	}
}

func startPausable(t *testing.T, to string) *pausable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pausable{address: listener.Addr().String()}
	keep := func(conn net.Conn) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = append(p.open, conn)
	}
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
	})
	pass := func(from, to net.Conn) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if p.paused.Load() {
				return // without a word
			}
			if err == nil {
				_, err = to.Write(buffer[:n])
			}
			if err != nil {
				_, _ = from.Close(), to.Close()
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			keep(client)
			if p.paused.Load() {
				continue
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			keep(server)
			go pass(client, server)
			go pass(server, client)
		}
	}()
	return p
}

// cluster is the gossip of two nodes.
type cluster struct {
	gossip.UnimplementedGossipServer
	nodes  [2]string
	leader atomic.Int32
}

// Read implements gossip.GossipServer.
func (c *cluster) Read(context.Context, *shared.Empty) (*gossip.ClusterInfo, error) {
	info := &gossip.ClusterInfo{}
	for n, node := range c.nodes {
		host, port, _ := net.SplitHostPort(node)
		number, _ := strconv.Atoi(port)
		m := &gossip.MemberInfo{
			State: gossip.MemberInfo_Follower, IsAlive: true,
			HttpEndPoint: &gossip.EndPoint{Address: host, Port: uint32(number)},
		}
		if int(c.leader.Load()) == n {
			m.State = gossip.MemberInfo_Leader
		}
		info.Members = append(info.Members, m)
	}
	return info, nil
}

// served is an address of a store beside its socket.
func served(t *testing.T, s *eventstoretest.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := s.Store.Serve(listener, embedded.ServeOptions{}); err != nil {
			t.Logf("serve: %v", err)
		}
	}()
	return listener.Addr().String()
}

// TestANodeThatHangsIsLeft pauses the leader of two, and lets the other one lead after a while. A
// call that began before, a subscription, and a call that begins after must not wait for the
// keep-alive, which ends a silent connection after 20 seconds.
func TestANodeThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	s := eventstoretest.Start(t)
	c := &cluster{}
	server := grpc.NewServer()
	gossip.RegisterGossipServer(server, c)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	node, seed := startPausable(t, served(t, s)), startPausable(t, listener.Addr().String())
	c.nodes = [2]string{node.address, served(t, s)}
	client := dial(t, eventstore.Config{URL: "esdb://" + seed.address + "," + listener.Addr().String() + "?tls=false"})
	mustAppend(t, client, "s", eventstore.NoStream, event(0))
	sub, err := client.SubscribeAll(t.Context(), 0, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for caughtUp := false; !caughtUp; {
		item, err := sub.Next()
		if err != nil {
			t.Fatal(err)
		}
		caughtUp = item.CaughtUp
	}
	before := client.Generation()

	hung := time.Now()
	node.paused.Store(true)
	seed.paused.Store(true)
	elected := time.AfterFunc(2*time.Second, func() { c.leader.Store(1) })
	defer elected.Stop()
	dropped := make(chan error, 1)
	go func() {
		_, err := sub.Next()
		dropped <- err
	}()
	pending := event(1)
	a, err := client.Append(wait.Context(t), "s", 0, pending)
	took := time.Since(hung)
	t.Logf("written %s after the leader hung", took.Round(10*time.Millisecond))
	if err != nil || a.Revision != 1 || took > 10*time.Second {
		t.Errorf("the append: %+v after %s: %v", a, took, err)
	}
	if client.Generation() == before {
		t.Error("another connection was not counted")
	}
	if err := <-dropped; !errors.Is(err, eventstore.ErrUnavailable) || time.Since(hung) > 10*time.Second {
		t.Errorf("the subscription ended with %v after %s", err, time.Since(hung))
	}
	if err := sub.Close(); err != nil {
		t.Logf("close the subscription: %v", err)
	}
	out, err := client.ReadForward(wait.Context(t), "s", 0, 10)
	if err != nil || len(out) != 2 || out[1].ID != pending.ID {
		t.Errorf("afterwards there are %d events: %v", len(out), err)
	}
	// The next does not begin at the node that hung.
	began := time.Now()
	mustAppend(t, client, "s", 1, event(2))
	t.Logf("the next took %s", time.Since(began).Round(time.Millisecond))
}

// TestClosingDuringAProbeDoesNotPanic closes clients of a node that hangs while they probe it, and
// ends the connection at the same moment.
func TestClosingDuringAProbeDoesNotPanic(t *testing.T) {
	t.Parallel()
	s := eventstoretest.Start(t)
	address := served(t, s)
	for range eventstoretest.Rounds(20) {
		node := startPausable(t, address)
		c, err := eventstore.Open(
			eventstore.Config{URL: "esdb://" + node.address + "?tls=false", Timeout: 100 * time.Millisecond},
		)
		if err != nil {
			t.Fatal(err)
		}
		wait.Until(t, "it is connected", func() bool {
			_, err := c.Head(wait.Context(t))
			return err == nil
		})
		node.paused.Store(true)
		if _, err := c.Head(wait.Context(t)); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("a node that hangs: %v", err)
		}
		cut := make(chan struct{})
		go func() {
			node.cut()
			close(cut)
		}()
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		<-cut
	}
}
