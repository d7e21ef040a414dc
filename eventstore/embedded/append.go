package embedded

import (
	"errors"
	"io"
	"strconv"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxAppend is EventStoreDB's limit on one append, in bytes: kept here so that what works on one
// machine works on a cluster.
const maxAppend = 1 << 20

// service answers the calls on streams. BatchAppend stays unimplemented; no client of ours calls
// it.
type service struct {
	streams.UnimplementedStreamsServer
	store *Store
}

// Append reads the whole request before it answers, so that the client sees the answer and not a
// broken stream.
func (s *service) Append(call streams.Streams_AppendServer) error {
	ctx := call.Context()
	first, err := call.Recv()
	if err != nil {
		return err
	}
	options := first.GetOptions()
	r := &request{stream: string(options.GetStreamIdentifier().GetStreamName()), done: make(chan struct{})}
	var refused error
	if options == nil {
		refused = status.Error(codes.InvalidArgument, "the first message of an append must be its options")
	} else if problem := reserved(r.stream); problem != "" {
		refused = status.Error(codes.InvalidArgument, problem)
	}
	switch e := options.GetExpectedStreamRevision().(type) {
	case *streams.AppendReq_Options_Revision:
		r.expected = revision(e.Revision)
	case *streams.AppendReq_Options_NoStream:
		r.expected = noStream
	case *streams.AppendReq_Options_StreamExists:
		r.expected = streamExists
	default:
		r.expected = anyRevision
	}
	if err := receive(call, r, refused); err != nil {
		return err
	}
	if err := s.store.submit(ctx, r); err != nil {
		return failed(err)
	}
	if r.reply.err != nil {
		return failed(r.reply.err)
	}
	switch r.reply.verdict {
	case deleted:
		return streamDeleted(ctx, r.stream)
	case wrong:
		return call.SendAndClose(wrongExpected(r))
	case written:
	}
	return call.SendAndClose(success(r))
}

// receive takes the events of an append. The first thing that is wrong with it, refused if that is
// set already, is answered once all was read.
func receive(call streams.Streams_AppendServer, r *request, refused error) error {
	ctx := call.Context()
	size := 0
	for {
		message, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return refused
		}
		if err != nil {
			return err
		}
		if refused != nil {
			continue
		}
		m := message.GetProposedMessage()
		if m == nil {
			refused = status.Error(codes.InvalidArgument, "an append has one message of options, then events")
			continue
		}
		p := proposal{data: m.GetData(), meta: m.GetCustomMetadata(), typ: m.GetMetadata()["type"]}
		contentType := m.GetMetadata()["content-type"]
		if p.typ == "" || contentType == "" {
			refused = exception(ctx, codes.InvalidArgument, "an event needs a type and a content type",
				"exception", "missing-required-metadata-property", "required-metadata-properties", "type,content-type")
			continue
		}
		p.json = contentType == "application/json"
		if p.id, err = parseID(m.GetId()); err != nil {
			refused = status.Error(codes.InvalidArgument, "the id of an event is not a UUID")
			continue
		}
		if size += len(p.data) + len(p.meta) + 2*len(p.typ); size > maxAppend {
			refused = exception(ctx, codes.InvalidArgument, "Maximum Append Size of "+strconv.Itoa(maxAppend)+" Exceeded.",
				"exception", "maximum-append-size-exceeded", "maximum-append-size", strconv.Itoa(maxAppend))
			r.events = nil // what is too much needs no memory
			continue
		}
		r.events = append(r.events, p)
	}
}

// revision is the nearest one that there can be.
func revision(r uint64) int64 { return int64(min(r, lastRevision)) }

func parseID(id *shared.UUID) (out [16]byte, err error) {
	switch v := id.GetValue().(type) {
	case *shared.UUID_Structured_:
		putHalves(&out, v.Structured.GetMostSignificantBits(), v.Structured.GetLeastSignificantBits())
		return out, nil
	case *shared.UUID_String_:
		return uuid.Parse(v.String_)
	}
	return out, errors.New("no id")
}

func putHalves(out *[16]byte, most, least int64) {
	for i := range 8 {
		out[i] = byte(uint64(most) >> (56 - 8*i))    //nolint:gosec // the bits, not the number
		out[8+i] = byte(uint64(least) >> (56 - 8*i)) //nolint:gosec // as above
	}
}

// structured is an id as two big-endian halves.
func structured(id [16]byte) *shared.UUID {
	var most, least uint64
	for i := range 8 {
		most = most<<8 | uint64(id[i])
		least = least<<8 | uint64(id[8+i])
	}
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits: int64(most), LeastSignificantBits: int64(least),
	}}}
}

func success(r *request) *streams.AppendResp {
	out := &streams.AppendResp_Success{}
	if r.reply.revision >= 0 {
		out.CurrentRevisionOption = &streams.AppendResp_Success_CurrentRevision{
			CurrentRevision: uint64(r.reply.revision),
		}
	} else {
		out.CurrentRevisionOption = &streams.AppendResp_Success_NoStream{NoStream: &shared.Empty{}}
	}
	if p := r.reply.position; p > 0 {
		out.PositionOption = &streams.AppendResp_Success_Position{
			Position: &streams.AppendResp_Position{CommitPosition: p, PreparePosition: p},
		}
	} else {
		out.PositionOption = &streams.AppendResp_Success_NoPosition{NoPosition: &shared.Empty{}}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_Success_{Success: out}}
}

func wrongExpected(r *request) *streams.AppendResp {
	out := &streams.AppendResp_WrongExpectedVersion{}
	if r.reply.revision >= 0 {
		out.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentRevision{
			CurrentRevision: uint64(r.reply.revision),
		}
	} else {
		out.CurrentRevisionOption = &streams.AppendResp_WrongExpectedVersion_CurrentNoStream{
			CurrentNoStream: &shared.Empty{},
		}
	}
	switch {
	case r.expected == noStream:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedNoStream{
			ExpectedNoStream: &shared.Empty{},
		}
	case r.expected == streamExists:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedStreamExists{
			ExpectedStreamExists: &shared.Empty{},
		}
	case r.expected < 0:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: &shared.Empty{}}
	default:
		out.ExpectedRevisionOption = &streams.AppendResp_WrongExpectedVersion_ExpectedRevision{
			ExpectedRevision: uint64(r.expected),
		}
	}
	return &streams.AppendResp{Result: &streams.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: out}}
}
