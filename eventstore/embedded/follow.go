package embedded

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// filter chooses events by type or stream. The zero filter lets all pass.
type filter struct {
	on       bool
	streams  bool
	pattern  *regexp.Regexp
	prefixes []string
	every    uint64 // considered events between two checkpoints
}

// countWindow is EventStoreDB's window when the client names none.
const countWindow = 32

func newFilter(o *streams.ReadReq_Options) (filter, error) {
	options := o.GetFilter()
	if options == nil {
		return filter{}, nil
	}
	f := filter{on: true, every: countWindow}
	if window, bounded := options.GetWindow().(*streams.ReadReq_Options_FilterOptions_Max); bounded {
		f.every = uint64(max(window.Max, 1))
	}
	f.every *= uint64(max(options.GetCheckpointIntervalMultiplier(), 1))
	expression := options.GetEventType()
	if by := options.GetStreamIdentifier(); by != nil {
		f.streams, expression = true, by
	}
	f.prefixes = expression.GetPrefix()
	if expression.GetRegex() == "" && len(f.prefixes) == 0 {
		return f, errors.New("a filter needs a pattern or prefixes of types or streams")
	}
	if text := expression.GetRegex(); text != "" {
		var err error
		if f.pattern, err = regexp.Compile(text); err != nil {
			return f, fmt.Errorf("the filter %q is not a regular expression that this store supports: %w", text, err)
		}
	}
	return f, nil
}

func (f filter) matches(r record) bool {
	if !f.on {
		return true
	}
	text := r.typ
	if f.streams {
		text = r.stream
	}
	if f.pattern != nil {
		return f.pattern.MatchString(text)
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// followAll sends what comes after a position, and continues as events are written. It pulls pages
// and keeps no buffer: a slow client is held back by its own window and costs no memory. Like
// EventStoreDB 23.10 it sends no position for having reached the end, only one after as many events
// as the filter names.
func (s *service) followAll(out *sender, o *streams.ReadReq_Options_AllOptions, f filter) error {
	ctx := out.call.Context()
	var at int64 // the newest position that was considered
	switch p := o.GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Position:
		at = int64(min(p.Position.GetCommitPosition(), math.MaxInt64-1))
	case *streams.ReadReq_Options_AllOptions_End:
		at = int64(s.store.head.Load()) //nolint:gosec // positions fit
	}
	considered, matched := uint64(0), !f.on // whether the last page had a match
	for live := false; ; {
		more := s.store.changed.wait()
		head := int64(s.store.head.Load()) //nolint:gosec // positions fit
		page, recent := s.store.tail.after(at, pageSize)
		if !recent {
			var err error
			if page, err = s.store.matching(ctx, f, matched, at+1, head); err != nil {
				return failed(err)
			}
		}
		matched = !f.on
		for _, r := range page {
			at = r.pos
			if f.matches(r) {
				matched = true
				if err := out.event(r); err != nil {
					return err
				}
			}
			if considered++; f.on && considered%f.every == 0 {
				if err := out.checkpoint(uint64(at)); err != nil { //nolint:gosec // positions are positive
					return err
				}
			}
		}
		if len(page) == pageSize {
			live = false
			continue
		}
		if !live {
			live = true
			if err := out.caughtUp(); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.store.closing:
			return status.Error(codes.Unavailable, errClosing.Error())
		}
	}
}

// followStream is followAll for one stream, which need not exist yet. A tombstone ends it: at once
// when it was there before, else after all that came before it.
func (s *service) followStream(out *sender, o *streams.ReadReq_Options_StreamOptions) error {
	ctx := out.call.Context()
	name := string(o.GetStreamIdentifier().GetStreamName())
	i, err := s.store.infos.of(ctx, s.store.pages.lookup, name)
	if err != nil {
		return failed(err)
	}
	if i.tombstoned {
		return streamDeleted(ctx, name)
	}
	at := int64(-1) // the newest revision that was considered
	switch r := o.GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Revision:
		at = min(revision(r.Revision), lastRevision-1)
	case *streams.ReadReq_Options_StreamOptions_End:
		at = i.head
	}
	for live := false; ; {
		more := s.store.changed.wait()
		if i, err = s.store.infos.of(ctx, s.store.pages.lookup, name); err != nil {
			return failed(err)
		}
		page, err := s.store.page(ctx, name, i.sid, max(at+1, i.first()), i.head, pageSize, false)
		if err != nil {
			return failed(err)
		}
		for _, r := range page {
			at = r.rev
			if s.tooOld(i, r) && !i.tombstoned {
				continue
			}
			if err := out.event(r); err != nil {
				return err
			}
		}
		if len(page) == pageSize {
			live = false
			continue
		}
		if i.tombstoned {
			return streamDeleted(ctx, name)
		}
		if !live {
			live = true
			if err := out.caughtUp(); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.store.closing:
			return status.Error(codes.Unavailable, errClosing.Error())
		}
	}
}
