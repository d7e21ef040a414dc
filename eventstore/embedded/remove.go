package embedded

import (
	"context"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Delete hides a stream until it is appended to again.
func (s *service) Delete(ctx context.Context, req *streams.DeleteReq) (*streams.DeleteResp, error) {
	o := req.GetOptions()
	expected := anyRevision
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.DeleteReq_Options_Revision:
		expected = revision(e.Revision)
	case *streams.DeleteReq_Options_NoStream:
		expected = noStream
	case *streams.DeleteReq_Options_StreamExists:
		expected = streamExists
	}
	position, err := s.remove(ctx, deleting, string(o.GetStreamIdentifier().GetStreamName()), expected)
	if err != nil {
		return nil, err
	}
	return &streams.DeleteResp{PositionOption: &streams.DeleteResp_Position_{
		Position: &streams.DeleteResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

// Tombstone ends a stream for good.
func (s *service) Tombstone(ctx context.Context, req *streams.TombstoneReq) (*streams.TombstoneResp, error) {
	o := req.GetOptions()
	expected := anyRevision
	switch e := o.GetExpectedStreamRevision().(type) {
	case *streams.TombstoneReq_Options_Revision:
		expected = revision(e.Revision)
	case *streams.TombstoneReq_Options_NoStream:
		expected = noStream
	case *streams.TombstoneReq_Options_StreamExists:
		expected = streamExists
	}
	position, err := s.remove(ctx, tombstoning, string(o.GetStreamIdentifier().GetStreamName()), expected)
	if err != nil {
		return nil, err
	}
	return &streams.TombstoneResp{PositionOption: &streams.TombstoneResp_Position_{
		Position: &streams.TombstoneResp_Position{CommitPosition: position, PreparePosition: position},
	}}, nil
}

func (s *service) remove(ctx context.Context, k kind, name string, expected int64) (uint64, error) {
	problem := reserved(name)
	if problem == "" && strings.HasPrefix(name, "$$") {
		problem = "metadata goes with its stream"
	}
	if problem != "" {
		return 0, status.Error(codes.InvalidArgument, problem)
	}
	r := &request{kind: k, stream: name, expected: expected, done: make(chan struct{})}
	if err := s.store.submit(ctx, r); err != nil {
		return 0, failed(err)
	}
	if r.reply.err != nil {
		return 0, failed(r.reply.err)
	}
	switch r.reply.verdict {
	case deleted:
		return 0, streamDeleted(ctx, name)
	case wrong:
		return 0, exception(ctx, codes.FailedPrecondition, "the stream is not at the expected revision",
			"exception", "wrong-expected-version", "stream-name", name,
			"expected-version", strconv.FormatInt(expected, 10), "actual-version", strconv.FormatInt(r.reply.revision, 10))
	case written:
	}
	return r.reply.position, nil
}
