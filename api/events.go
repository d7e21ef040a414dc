package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// How a stream of events is written.
const (
	pingEvery   = 15 * time.Second
	writeWithin = 10 * time.Second // one event, or its reader has stalled
)

// eventStream answers with server-sent events. The limits of time that hold for a whole answer do
// not hold for it; each event has one of its own.
type eventStream struct {
	mu     sync.Mutex
	w      http.ResponseWriter
	socket *http.ResponseController
	clock  func() time.Time
	failed error // once set, nothing more is written
}

// streamEvents writes the head of an answer, runs do, and sends a comment each time that every has
// passed, so that nobody between takes the connection for dead. The context that do gets ends when
// the reader leaves or stalls.
func streamEvents(
	ctx context.Context, w http.ResponseWriter, clock func() time.Time, every time.Duration,
	do func(context.Context, *eventStream),
) error {
	s := &eventStream{w: w, socket: http.NewResponseController(w), clock: clock}
	// reading the request is over, and who reads on notices that the caller left
	if err := s.socket.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	ctx, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer cancel()
	if err := s.write(nil); err != nil {
		return nil // the caller left before it began
	}
	pinging.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if s.write([]byte(": ping\n\n")) != nil {
					cancel()
				}
			}
		}
	})
	do(ctx, s)
	return nil
}

// event writes one event; data becomes JSON. An error means that the reader is gone.
func (s *eventStream) event(name string, data any) error {
	raw, err := json.Marshal(data) // without a line break in it
	if err != nil {
		return err
	}
	return s.write([]byte("event: " + name + "\ndata: " + string(raw) + "\n\n"))
}

// happened writes one event with an id that its reader comes back with.
func (s *eventStream) happened(id uint64, name string, data any) error {
	raw, err := json.Marshal(data) // without a line break in it
	if err != nil {
		return err
	}
	return s.write([]byte("id: " + strconv.FormatUint(id, 10) + "\nevent: " + name + "\ndata: " + string(raw) + "\n\n"))
}

// at tells the reader where it is.
func (s *eventStream) at(id uint64) error {
	return s.write([]byte("id: " + strconv.FormatUint(id, 10) + "\n\n"))
}

func (s *eventStream) write(text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if s.failed = s.socket.SetWriteDeadline(s.clock().Add(writeWithin)); s.failed != nil {
		return s.failed
	}
	if _, s.failed = s.w.Write(text); s.failed != nil {
		return s.failed
	}
	s.failed = s.socket.Flush()
	return s.failed
}

// gone reports whether the reader is gone.
func (s *eventStream) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}
