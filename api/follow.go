package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"agentkey/api/door"
	"agentkey/api/live"
	"agentkey/domain"
	"agentkey/readmodels"
)

// following is a reader that is told what happens, as its answer.
type following struct {
	server *Server
	call   *call
	wants  live.Wants
	since  *uint64                          // what the reader has; nil: it begins
	ends   func(*readmodels.Happening) bool // whether its caller may have lost what they may read
}

// StreamAdminEvents answers GET /api/admin/events.
func (s *Server) StreamAdminEvents(
	ctx context.Context, r StreamAdminEventsRequestObject,
) (StreamAdminEventsResponseObject, error) {
	call := callOf(ctx)
	since, err := lastEvent(requestOf(ctx))
	if err != nil {
		return nil, err
	}
	include := string(value(r.Params.Include))
	wants := live.Wants{
		Fetches: strings.Contains(include, "fetches"), Deliveries: strings.Contains(include, "deliveries"),
	}
	if !slices.Contains(door.Permissions(call.Caller.Role), "audit") {
		wants.Only = func(one *readmodels.Happening) bool { return !inner(one.Action) }
	}
	return following{s, call, wants, since, func(one *readmodels.Happening) bool { return inner(one.Action) }}, nil
}

// StreamMyEvents answers GET /api/me/events.
func (s *Server) StreamMyEvents(
	ctx context.Context, _ StreamMyEventsRequestObject,
) (StreamMyEventsResponseObject, error) {
	call := callOf(ctx)
	since, err := lastEvent(requestOf(ctx))
	if err != nil {
		return nil, err
	}
	mine := func(one *readmodels.Happening) bool { return one.AgentID == call.Caller.Actor.ID }
	return following{s, call, live.Wants{Only: func(one *readmodels.Happening) bool {
		return mine(one) || one.AgentID == "" && strings.HasPrefix(one.Action, "tool.")
	}}, since, func(one *readmodels.Happening) bool { return mine(one) && strings.HasPrefix(one.Action, "agent.") }}, nil
}

// outer are the kinds of action that lists show to everyone who reads them. All others are about
// the organization, its people and keys, which only the audit shows.
var outer = []string{
	"agent.", "credential.", "delivery.", "grant.", "instruction_suggestion.", "rule.",
	"suggestion.",
	"tool.",
}

func inner(action string) bool {
	return !slices.ContainsFunc(outer, func(prefix string) bool { return strings.HasPrefix(action, prefix) })
}

// lastEvent reads what a reader that comes back has; nil for one that begins.
func lastEvent(r *http.Request) (*uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		return nil, nil
	}
	id, err := positionOf("Last-Event-ID", text, "id of an event of this stream")
	return &id, err
}

// VisitStreamAdminEventsResponse writes the events.
func (f following) VisitStreamAdminEventsResponse(w http.ResponseWriter) error { return f.write(w) }

// VisitStreamMyEventsResponse writes the events.
func (f following) VisitStreamMyEventsResponse(w http.ResponseWriter) error { return f.write(w) }

// write tells the reader what happens until they leave, are too slow or may read no more, or the
// server stops.
func (f following) write(w http.ResponseWriter) error {
	if f.call.headOnly {
		w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	ctx, cancel := context.WithCancel(f.call.ctx)
	defer cancel()
	defer context.AfterFunc(f.server.Stopping, cancel)()
	organization := f.call.Caller.Organization
	reader, from := f.server.Live.Read(organization, f.wants)
	defer f.server.Live.Leave(organization, reader)
	return streamEvents(ctx, w, f.server.Clock, pingEvery, func(ctx context.Context, events *eventStream) {
		if err := f.catchUp(ctx, events, from); err != nil {
			return
		}
		check := time.NewTicker(pingEvery)
		defer check.Stop()
		for {
			var err error
			select {
			case <-ctx.Done():
				return
			case <-check.C: // what it came with may have expired
				err = f.stillMay(ctx)
			case one, open := <-reader.C:
				if !open {
					return
				}
				if f.ends(one) {
					err = f.stillMay(ctx)
				}
				if err == nil && tell(events, one) != nil {
					return
				}
			}
			if err != nil && ctx.Err() == nil {
				_, document, _ := f.server.problem(f.call, err)
				_ = events.event("error", json.RawMessage(document)) // it was the last
				return
			}
		}
	})
}

// catchUp tells a reader that comes back what it missed, and every reader where it is.
func (f following) catchUp(ctx context.Context, events *eventStream, from uint64) error {
	if f.since == nil || *f.since == from {
		return events.at(from)
	}
	missed, err := f.server.Live.Happened(
		ctx, f.call.Caller.Organization, *f.since, from, f.wants.Fetches, f.wants.Deliveries,
	)
	if err != nil {
		return err
	}
	if *f.since > from || len(missed) > readmodels.MostHappened {
		return events.happened(from, "reset", struct{}{})
	}
	for i := range missed {
		one := &missed[i]
		if f.wants.Only != nil && !f.wants.Only(one) {
			continue
		}
		if err := tell(events, one); err != nil {
			return err
		}
	}
	return events.at(from)
}

// stillMay is the refusal of a caller who came with what no longer works. While that can't be known
// they stay: what they are told they could have read before.
func (f following) stillMay(ctx context.Context) error {
	again := f.call.Call
	err := f.server.Door.Admit(ctx, &again)
	if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Kind != domain.KindUnavailable {
		return refusal
	}
	if err == nil && f.call.seesAudit() {
		return door.Permitted(again.Caller.Role, "audit") // which decides what they are told
	}
	return nil
}

func tell(events *eventStream, one *readmodels.Happening) error {
	return events.happened(one.Position, one.Action, one)
}
