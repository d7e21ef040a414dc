// Package eventstoretest runs a real embedded event store for tests, on its socket, in a folder
// that goes with the test.
package eventstoretest

import (
	"log/slog"
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
)

// Server is a running store with a client connected to it.
type Server struct {
	Client *eventstore.Client
	Store  *embedded.Store
	Dir    string
	Socket string

	t    testing.TB
	opts embedded.Options
}

// Start runs a store until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, embedded.Options{})
}

// StartWith runs a store with options until the test ends. The folder is the test's own unless one
// is named.
func StartWith(t testing.TB, opts embedded.Options) *Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	s := &Server{Dir: opts.Dir, t: t, opts: opts}
	s.open()
	client, err := eventstore.Open(eventstore.Config{Socket: s.Socket, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Client = client
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
		s.Stop()
	})
	return s
}

func (s *Server) open() {
	s.t.Helper()
	store, err := embedded.Open(s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	listener, path, err := store.ListenUnix()
	if err != nil {
		s.t.Fatal(err)
	}
	s.Store, s.Socket = store, path
	go func() {
		if err := store.Serve(listener, embedded.ServeOptions{}); err != nil {
			s.t.Logf("serve: %v", err)
		}
	}()
}

// Stop closes the store; the client stays.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.Store.Close(); err != nil {
		s.t.Errorf("close the store: %v", err)
	}
}

// Restart closes the store and opens it again at the same place, under the same client.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.open()
}
