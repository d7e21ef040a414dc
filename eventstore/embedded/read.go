package embedded

import (
	"math"
	"strconv"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Read answers a read of a stream or of the whole log, or follows one of them.
func (s *service) Read(req *streams.ReadReq, call streams.Streams_ReadServer) error {
	o := req.GetOptions()
	if o.GetUuidOption() == nil {
		return status.Error(codes.InvalidArgument, "a read must say how ids are written")
	}
	_, text := o.GetUuidOption().GetContent().(*streams.ReadReq_Options_UUIDOption_String_)
	f, err := newFilter(o)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if o.GetAll() == nil && len(o.GetStream().GetStreamIdentifier().GetStreamName()) == 0 {
		return status.Error(codes.InvalidArgument, "a read must name a stream or all of them")
	}
	out := &sender{call: call, textIDs: text}
	backwards := o.GetReadDirection() == streams.ReadReq_Options_Backwards
	if count, counted := o.GetCountOption().(*streams.ReadReq_Options_Count); counted {
		if stream := o.GetStream(); stream != nil {
			return s.readStream(out, stream, count.Count, backwards)
		}
		return s.readAll(out, o.GetAll(), f, count.Count, backwards)
	}
	if backwards || o.GetSubscription() == nil {
		return status.Error(codes.InvalidArgument, "a read needs a count, and a subscription goes forwards")
	}
	if err := call.Send(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{
		Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}}); err != nil {
		return err
	}
	if stream := o.GetStream(); stream != nil {
		return s.followStream(out, stream)
	}
	return s.followAll(out, o.GetAll(), f)
}

func (s *service) readStream(
	out *sender, o *streams.ReadReq_Options_StreamOptions, count uint64, backwards bool,
) error {
	ctx := out.call.Context()
	name := string(o.GetStreamIdentifier().GetStreamName())
	i, err := s.store.infos.of(ctx, s.store.pages.lookup, name)
	if err != nil {
		return failed(err)
	}
	switch {
	case i.tombstoned:
		return streamDeleted(ctx, name)
	case !i.exists():
		return out.call.Send(&streams.ReadResp{Content: &streams.ReadResp_StreamNotFound_{
			StreamNotFound: &streams.ReadResp_StreamNotFound{StreamIdentifier: o.GetStreamIdentifier()},
		}})
	}
	first, last := i.first(), i.head
	switch r := o.GetRevisionOption().(type) {
	case *streams.ReadReq_Options_StreamOptions_Revision:
		at := revision(r.Revision)
		if backwards {
			last = min(last, at)
		} else {
			first = max(first, at)
		}
	case *streams.ReadReq_Options_StreamOptions_Start:
		if backwards {
			last = min(last, 0)
		}
	case *streams.ReadReq_Options_StreamOptions_End:
		if !backwards {
			first = last + 1
		}
	}
	for count > 0 && first <= last {
		n := min(count, pageSize)
		page, err := s.store.page(ctx, name, i.sid, first, last, int(n), backwards)
		if err != nil {
			return failed(err)
		}
		for _, r := range page {
			if backwards {
				last = r.rev - 1
			} else {
				first = r.rev + 1
			}
			if s.tooOld(i, r) {
				continue
			}
			if err := out.event(r); err != nil {
				return err
			}
			count--
		}
		if uint64(len(page)) < n {
			break
		}
	}
	return nil
}

func (s *service) tooOld(i info, r record) bool {
	return i.maxAge > 0 && ticks(s.store.opts.Clock())-r.created > min(i.maxAge, math.MaxInt64/second)*second
}

func (s *service) readAll(
	out *sender, o *streams.ReadReq_Options_AllOptions, f filter, count uint64, backwards bool,
) error {
	ctx := out.call.Context()
	head := int64(s.store.head.Load()) //nolint:gosec // positions fit
	var from int64
	switch p := o.GetAllOption().(type) {
	case *streams.ReadReq_Options_AllOptions_Position:
		from = int64(min(p.Position.GetCommitPosition(), math.MaxInt64))
	case *streams.ReadReq_Options_AllOptions_End:
		from = head + 1
	}
	for count > 0 {
		var page []record
		var err error
		if backwards {
			page, err = s.store.before(ctx, min(from, head+1), pageSize)
		} else {
			page, err = s.store.after(ctx, from, head, pageSize)
		}
		if err != nil {
			return failed(err)
		}
		for _, r := range page {
			from = r.pos
			if !backwards {
				from = r.pos + 1
			}
			if count == 0 || !f.matches(r) {
				continue
			}
			if err := out.event(r); err != nil {
				return err
			}
			count--
		}
		if len(page) < pageSize {
			break
		}
	}
	return nil
}

// sender writes the messages of one read.
type sender struct {
	call    streams.Streams_ReadServer
	textIDs bool
}

func (o *sender) event(r record) error {
	position := uint64(r.pos) //nolint:gosec // positions are positive
	contentType := "application/octet-stream"
	if r.json {
		contentType = "application/json"
	}
	id := structured(r.id)
	if o.textIDs {
		id = &shared.UUID{Value: &shared.UUID_String_{String_: uuid.UUID(r.id).String()}}
	}
	return o.call.Send(&streams.ReadResp{Content: &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{
		Event: &streams.ReadResp_ReadEvent_RecordedEvent{
			Id: id, StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(r.stream)}, StreamRevision: uint64(r.rev), //nolint:gosec // not negative
			PreparePosition: position, CommitPosition: position,
			Metadata: map[string]string{
				"type": r.typ, "content-type": contentType, "created": strconv.FormatInt(r.created, 10),
			},
			CustomMetadata: r.meta, Data: r.data,
		},
		Position: &streams.ReadResp_ReadEvent_CommitPosition{CommitPosition: position},
	}}})
}

func (o *sender) checkpoint(position uint64) error {
	return o.call.Send(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{
		Checkpoint: &streams.ReadResp_Checkpoint{CommitPosition: position, PreparePosition: position},
	}})
}

func (o *sender) caughtUp() error {
	return o.call.Send(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}})
}
