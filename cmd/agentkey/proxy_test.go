package main

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// proxy stands between a program and what it depends on, and does to the connection what networks
// do.
type proxy struct {
	t       testing.TB
	running sync.WaitGroup

	mu       sync.Mutex
	at       string       // its address
	listener net.Listener // nil: nobody listens
	target   string       // an address, or the path of a socket
	conns    map[net.Conn]bool
	mute     bool // what the target answers is lost
	lost     int  // answers, or pieces of them
	most     int  // bytes that come back before the rest is lost; 0: all
}

// startProxy listens on loopback until the test ends.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, at: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	p.lead(target)
	t.Cleanup(func() {
		p.lead("")
		p.running.Wait()
	})
	return p
}

// lead ends every connection. Those that come after it go to another target; where that is "",
// nobody listens.
func (p *proxy) lead(target string) {
	p.t.Helper()
	p.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	switch {
	case target == "":
		_ = p.listener.Close()
		p.listener = nil
	case p.listener == nil:
		listener, err := net.Listen("tcp", p.at)
		if err != nil {
			p.t.Fatal(err)
		}
		p.listener, p.at = listener, listener.Addr().String()
		p.running.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				p.running.Go(func() { p.serve(conn) })
			}
		})
	}
}

func (p *proxy) address() string { return p.at }

func (p *proxy) serve(conn net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	network := "tcp"
	if filepath.IsAbs(target) {
		network = "unix"
	}
	far, err := net.Dial(network, target)
	if err != nil {
		_ = conn.Close()
		return
	}
	p.mu.Lock()
	p.conns[conn], p.conns[far] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(far, conn)
		_ = far.Close()
	})
	_, _ = io.Copy(answers{p, conn}, far)
	_ = conn.Close()
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	delete(p.conns, far)
}

// answers writes what the target says, unless it must be lost.
type answers struct {
	p    *proxy
	conn net.Conn
}

// Write implements io.Writer.
func (a answers) Write(b []byte) (int, error) {
	a.p.mu.Lock()
	lost := a.p.mute
	if lost {
		a.p.lost++
	} else if a.p.most > 0 {
		a.p.most -= min(len(b), a.p.most)
		a.p.mute = a.p.most == 0
	}
	a.p.mu.Unlock()
	if lost {
		return len(b), nil
	}
	return a.conn.Write(b)
}

// loseAnswers lets requests through and loses what comes back, until cut.
func (p *proxy) loseAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// loseAnswersAfter is loseAnswers that begins when so many bytes have come back.
func (p *proxy) loseAnswersAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most, p.lost = bytes, 0
}

// lostAnswers counts what was lost so far.
func (p *proxy) lostAnswers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// cut ends every connection; those that come after it work.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = false
	for conn := range p.conns {
		_ = conn.Close()
	}
}
