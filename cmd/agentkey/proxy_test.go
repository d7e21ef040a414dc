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
	listener net.Listener
	target   string // an address, or the path of a socket

	mu    sync.Mutex
	conns map[net.Conn]bool
	mute  bool // what the target answers is lost
	lost  int  // answers, or pieces of them
}

// startProxy listens on loopback until the test ends.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		running.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve(conn net.Conn) {
	network := "tcp"
	if filepath.IsAbs(p.target) {
		network = "unix"
	}
	far, err := net.Dial(network, p.target)
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
