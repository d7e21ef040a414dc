package main

import (
	queue "container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// spareConnections are held beyond the limit, so that a client that gets none of the others is
	// answered, and a balancer or an operator learns how the process is.
	spareConnections = 32
	// spareTime is how long each of them may last.
	spareTime = 5 * time.Second
	// graceTime is how long a connection may wait for a call before another takes its place.
	graceTime = 100 * time.Millisecond
)

// boundedListener bounds how many connections are open. When all are, a new one takes the place of
// the one that has waited longest for a call, because a client that sends nothing must not keep
// others out. When each has a call under way, a few more are only told to come back later.
type boundedListener struct {
	net.Listener
	limit int
	open  prometheus.Gauge
	full  *prometheus.CounterVec // by outcome

	mu     sync.Mutex
	held   int
	spares int
	idle   *queue.List // of *connection, the one that has waited longest first
}

func newBounded(listener net.Listener, limit int, m *metrics) *boundedListener {
	return &boundedListener{
		Listener: listener, limit: limit, open: m.connections, full: m.full, idle: queue.New(),
	}
}

// connection is one that counts. Its place in idle is nil while a call is under way.
type connection struct {
	net.Conn
	of     *boundedListener
	until  time.Time // when a spare one ends
	waits  *queue.Element
	since  time.Time // it waits
	closed bool
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close() // nobody hears of it
	}
}

// admit finds a place for a connection; nil: there is none.
func (l *boundedListener) admit(conn net.Conn) *connection {
	l.mu.Lock()
	c := &connection{Conn: conn, of: l}
	var longest *connection
	if l.held >= l.limit {
		if first := l.first(); first != nil && time.Since(first.since) >= graceTime {
			longest = first
			l.full.WithLabelValues("made_room").Inc()
			l.leave(longest)
		}
	}
	switch {
	case l.held < l.limit:
		l.held++
		l.wait(c)
	case l.spares < spareConnections:
		l.spares++
		c.until = time.Now().Add(spareTime)
		l.full.WithLabelValues("busy").Inc()
	default:
		l.full.WithLabelValues("refused").Inc()
		c = nil
	}
	if c != nil {
		l.open.Inc()
	}
	l.mu.Unlock()
	if longest != nil {
		_ = longest.Conn.Close() // its client sent nothing
	}
	if c != nil && c.spare() {
		_ = c.SetDeadline(c.until) // reads and writes fail with what is wrong
	}
	return c
}

// first is the connection that has waited longest; nil: none waits.
func (l *boundedListener) first() *connection {
	first := l.idle.Front()
	if first == nil {
		return nil
	}
	c, _ := first.Value.(*connection)
	return c
}

func (l *boundedListener) wait(c *connection) {
	c.waits, c.since = l.idle.PushBack(c), time.Now()
}

// leave gives up the place of a connection. The lock is held.
func (l *boundedListener) leave(c *connection) {
	if c.closed {
		return
	}
	c.closed = true
	l.open.Dec()
	if c.spare() {
		l.spares--
	} else {
		l.held--
	}
	if c.waits != nil {
		l.idle.Remove(c.waits)
		c.waits = nil
	}
}

// changed follows what a connection does; see http.Server.
func (l *boundedListener) changed(conn net.Conn, state http.ConnState) {
	c := plain(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil || c.closed || c.spare() {
		return
	}
	switch state {
	case http.StateActive:
		if c.waits != nil {
			l.idle.Remove(c.waits)
			c.waits = nil
		}
	case http.StateIdle:
		if c.waits == nil {
			l.wait(c)
		}
	case http.StateNew, http.StateHijacked, http.StateClosed:
	}
}

func plain(conn net.Conn) *connection {
	if secure, is := conn.(*tls.Conn); is {
		conn = secure.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

type spareKey struct{}

// mark notes in the context of its calls that a connection is a spare one; see http.Server.
func (l *boundedListener) mark(ctx context.Context, conn net.Conn) context.Context {
	if c := plain(conn); c != nil && c.spare() {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

// isSpare reports whether a call came over a connection beyond the limit.
func isSpare(ctx context.Context) bool { return ctx.Value(spareKey{}) != nil }

func (c *connection) spare() bool { return !c.until.IsZero() }

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.leave(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends what we send, so that a client which still sends reads its answer first.
func (c *connection) CloseWrite() error {
	if half, can := c.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return nil
}

// SetDeadline implements net.Conn. A spare connection ends in time, whatever the server allows.
func (c *connection) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.bound(t)) }

// SetReadDeadline implements net.Conn.
func (c *connection) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.bound(t)) }

// SetWriteDeadline implements net.Conn.
func (c *connection) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.bound(t)) }

func (c *connection) bound(t time.Time) time.Time {
	if c.spare() && (t.IsZero() || t.After(c.until)) {
		return c.until
	}
	return t
}
