package api

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	wording "agentkey/commands/words"
	"agentkey/domain"
	"agentkey/readmodels"
)

// view is the read model that a query asks, and the time for which it does: as it is now, or as
// it was at as_of.
type view struct {
	*readmodels.DB

	now      time.Time
	position *PastPosition // of the last event that it includes; nil: now
}

// agent leaves out what the past doesn't know.
func (v view) agent(a Agent) Agent {
	if v.position != nil {
		a.FetchCount = nil
	}
	return a
}

// tool does the same.
func (v view) tool(t Tool) Tool {
	if v.position != nil {
		t.FetchCount = nil
	}
	return t
}

// at returns the read model as it was at as_of, and names the position of that in the answer.
func (s *Server) at(call *call, asOf *AsOf) (view, error) {
	if asOf == nil {
		return view{DB: s.Models, now: s.Clock()}, nil
	}
	m, err := s.moment(call, "as_of", *asOf)
	if err != nil {
		return view{}, err
	}
	call.done(m.Position)
	position := PastPosition(m.Position) //nolint:gosec // a log never holds 2^63
	return view{DB: s.Models.At(m), now: m.Time, position: &position}, nil
}

// moment reads a parameter that names a moment of the past, by its time or its position.
func (s *Server) moment(call *call, field, text string) (readmodels.Moment, error) {
	m, err := s.named(call, field, text)
	if errors.Is(err, readmodels.ErrNotFound) {
		return m, s.tooEarly(call, field)
	}
	return m, fault(err)
}

// tooEarly refuses a moment before the first event.
func (s *Server) tooEarly(call *call, field string) error {
	first, err := s.Models.FirstMoment(call.ctx, call.Caller.Organization)
	if errors.Is(err, readmodels.ErrNotFound) {
		return domain.Invalid(field, "nothing has happened in this organization yet")
	}
	if err != nil {
		return asked(err, "audit entry")
	}
	return domain.Invalid(field, fmt.Sprintf(
		"nothing had happened by then; the first event of this organization is of %s, at position %d",
		first.Time.Format(time.RFC3339Nano), first.Position,
	))
}

// fault leaves a refusal as it is, and turns an error of the read model into one.
func fault(err error) error {
	if _, refusal := errors.AsType[*domain.Error](err); refusal {
		return err
	}
	return asked(err, "audit entry")
}

func (s *Server) named(call *call, field, text string) (readmodels.Moment, error) {
	position, err := strconv.ParseUint(text, 10, 64)
	if err == nil {
		reached, err := s.Models.ReadCheckpoint(call.ctx)
		if err == nil && position > reached.Position {
			err = domain.Invalid(field, fmt.Sprintf(
				"there is no event at this position yet; the lists include everything up to position %d", reached.Position,
			))
		}
		if err != nil {
			return readmodels.Moment{}, err
		}
		return s.Models.MomentOf(call.ctx, call.Caller.Organization, position)
	}
	at, err := wording.Time(text)
	switch {
	case err != nil:
		return readmodels.Moment{}, domain.Invalid(
			field, "it must be a time as 2026-04-01T09:00:00Z (RFC 3339; in a URL, + is %2B), or a position in the event log",
		)
	case at.After(s.Clock()):
		return readmodels.Moment{}, domain.Invalid(field, "it lies in the future")
	}
	return s.Models.MomentAt(call.ctx, call.Caller.Organization, at)
}
