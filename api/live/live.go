// Package live shows readers what happens while it happens, as the read model has it: a reader
// that learns of an event finds it in the lists. It neither decides who may read nor keeps
// anything; a reader that was away asks the read model for what it missed.
package live

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"

	"agentkey/readmodels"
)

// held is how many events a reader may be behind before it is cut off. It comes back with the last
// that it has, and a reader that never reads costs nobody anything.
const held = 256

// Hub gives what happens in an organization to all who read there, with one query for all of them.
type Hub struct {
	// Moved returns the position of the read model once it is beyond one.
	Moved func(ctx context.Context, after uint64) (uint64, error)
	// Happened lists what happened between two positions; see readmodels.DB.Happened.
	Happened func(
		ctx context.Context, organization string, after, through uint64, fetches, deliveries bool,
	) ([]readmodels.Happening, error)
	Logger *slog.Logger

	mu      sync.Mutex
	through uint64 // the read model's position as of the last round
	rooms   map[string]*room
}

// room is who reads in one organization, and through where they were told.
type room struct {
	through uint64
	readers map[*Reader]struct{}
}

// Reader is one who reads. It is told only what its Wants says.
type Reader struct {
	// C has what happens, in the order of the log. It is closed when the reader is cut off: it was too
	// slow, or what happened couldn't be read.
	C <-chan *readmodels.Happening

	c     chan *readmodels.Happening
	room  *room
	wants Wants
}

// Wants narrows what a reader is told. Fetches and deliveries are many.
type Wants struct {
	Fetches, Deliveries bool
	Only                func(*readmodels.Happening) bool // nil: everything else
}

// include reports whether a reader wants to know about something.
func (w Wants) include(one *readmodels.Happening) bool {
	switch {
	case strings.HasPrefix(one.Action, "credential.") && !w.Fetches,
		strings.HasPrefix(one.Action, "delivery.") && !w.Deliveries:
		return false
	}
	return w.Only == nil || w.Only(one)
}

// Read lets a reader in, which is told what happens after the position that is returned. It must
// leave.
func (h *Hub) Read(organization string, wants Wants) (r *Reader, from uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := h.rooms[organization]
	if in == nil {
		in = &room{through: h.through, readers: map[*Reader]struct{}{}}
		if h.rooms == nil {
			h.rooms = map[string]*room{}
		}
		h.rooms[organization] = in
	}
	c := make(chan *readmodels.Happening, held)
	r = &Reader{C: c, c: c, room: in, wants: wants}
	in.readers[r] = struct{}{}
	return r, in.through
}

// Leave lets a reader go.
func (h *Hub) Leave(organization string, r *Reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(r.room.readers, r)
	if len(r.room.readers) == 0 && h.rooms[organization] == r.room {
		delete(h.rooms, organization)
	}
}

// Run tells readers what happens until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	for {
		position, err := h.Moved(ctx, h.through)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.through = position
		asked := maps.Clone(h.rooms)
		h.mu.Unlock()
		for organization, in := range asked {
			h.tell(ctx, organization, in, position)
		}
	}
}

// tell gives the readers of a room what happened up to a position.
func (h *Hub) tell(ctx context.Context, organization string, in *room, through uint64) {
	for in.through < through {
		h.mu.Lock()
		fetches, deliveries := in.want()
		h.mu.Unlock()
		happened, err := h.Happened(ctx, organization, in.through, through, fetches, deliveries)
		h.mu.Lock()
		to := through
		if len(happened) > readmodels.MostHappened {
			to = happened[readmodels.MostHappened-1].Position
			happened = happened[:readmodels.MostHappened]
		}
		for r := range in.readers {
			if err != nil || !r.take(happened) {
				close(r.c)
				delete(in.readers, r)
			}
		}
		in.through = to
		h.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			h.Logger.WarnContext(ctx, "readers of events were cut off", slog.String("error", err.Error()))
		}
	}
}

// want reports what at least one reader of a room wants.
func (in *room) want() (fetches, deliveries bool) {
	for r := range in.readers {
		fetches, deliveries = fetches || r.wants.Fetches, deliveries || r.wants.Deliveries
	}
	return fetches, deliveries
}

// take reports whether everything that the reader wants has room with it.
func (r *Reader) take(happened []readmodels.Happening) bool {
	for i := range happened { // all readers share them
		one := &happened[i]
		if !r.wants.include(one) {
			continue
		}
		select {
		case r.c <- one:
		default:
			return false
		}
	}
	return true
}
