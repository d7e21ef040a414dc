package readmodelstest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Wire is a way to a server through which faults are made: it can be cut, so that the server is
// away, stalled, so that it hangs, and mended.
type Wire struct {
	URL string // of the database, through the wire

	t      testing.TB
	to     string
	at     string
	mu     sync.Mutex
	listen net.Listener // nil while it is cut
	conns  map[net.Conn]bool
	flow   chan struct{} // closed while bytes flow
}

// NewWire lays a wire to the server of a URL.
func NewWire(t testing.TB, database string) *Wire {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{t: t, to: u.Host, at: "127.0.0.1:0", conns: map[net.Conn]bool{}, flow: make(chan struct{})}
	close(w.flow)
	w.Mend()
	w.at = w.listen.Addr().String()
	u.Host = w.at
	w.URL = u.String()
	t.Cleanup(w.Cut)
	return w
}

// Mend lets new connections through, and bytes flow.
func (w *Wire) Mend() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.flow:
	default:
		close(w.flow)
	}
	if w.listen != nil {
		return
	}
	listen, err := net.Listen("tcp", w.at) //nolint:noctx // a listener of a test
	if err != nil {
		w.t.Fatal(err)
	}
	w.listen = listen
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go w.carry(conn)
		}
	}()
}

// Cut ends every connection and refuses new ones.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listen != nil {
		_ = w.listen.Close()
		w.listen = nil
	}
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// Stall lets connections live and nothing through.
func (w *Wire) Stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flow = make(chan struct{})
}

func (w *Wire) carry(near net.Conn) {
	far, err := net.Dial("tcp", w.to) //nolint:noctx // as above
	if err != nil {
		_ = near.Close()
		return
	}
	w.mu.Lock()
	cut := w.listen == nil
	w.conns[near], w.conns[far] = true, true
	w.mu.Unlock()
	if cut {
		w.Cut()
	}
	go w.copy(near, far)
	w.copy(far, near)
}

func (w *Wire) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		flow := w.flow
		w.mu.Unlock()
		<-flow
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
