package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"agentkey/eventstore/spans"
)

// The errors of the log, matched with errors.Is.
var (
	// ErrWrongRevision: the stream is not at the revision that the append named. Nothing was written.
	ErrWrongRevision = errors.New("the stream moved on")
	// ErrStreamNotFound: the stream was never written to, or was soft deleted.
	ErrStreamNotFound = errors.New("there is no such stream")
	// ErrStreamDeleted: the stream was tombstoned; it can't be written or read again.
	ErrStreamDeleted = errors.New("the stream was removed for good")
	// ErrTooLarge: one append is larger than the log takes. Nothing was written.
	ErrTooLarge = errors.New("too much for one append")
	// ErrUnavailable: the log can't be reached, refuses for now, or its answer was lost. After an
	// append the outcome is unknown; the same append with the same ids may be repeated.
	ErrUnavailable = errors.New("the event log is unavailable")
	// ErrDiskFull is an ErrUnavailable whose reason is known. Nothing was written.
	ErrDiskFull = fmt.Errorf("%w: its disk is full", ErrUnavailable)
	// ErrRefused: the log refuses the user. Waiting does not help.
	ErrRefused = errors.New("the event log refuses access")
)

// WrongRevisionError is an ErrWrongRevision of an append that says where the stream is, whether or
// not an event of it can still be seen.
type WrongRevisionError struct {
	Current int64 // NoStream when it has no event; Any when the log did not tell
	err     error
}

// Error implements error.
func (e *WrongRevisionError) Error() string { return ErrWrongRevision.Error() + ": " + e.err.Error() }

// Unwrap implements errors.Is and errors.As.
func (e *WrongRevisionError) Unwrap() []error { return []error{ErrWrongRevision, e.err} }

// wrongRevision finds the stream's revision in the only place where the client leaves it: the end
// of its text.
func wrongRevision(err error) *WrongRevisionError {
	wrong := &WrongRevisionError{Current: Any, err: err}
	text := strings.TrimSuffix(err.Error(), "'")
	switch told := text[strings.LastIndexByte(text, '\'')+1:]; told {
	case "no_stream":
		wrong.Current = NoStream
	default:
		if revision, err := strconv.ParseInt(told, 10, 64); err == nil && revision >= 0 {
			wrong.Current = revision
		}
	}
	return wrong
}

// classify maps what the client and gRPC say to our errors. The client wraps some of its errors and
// hides the status of others behind a code that says nothing.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	// EOF is all that is left of an answer that came before the request was sent whole, or of none.
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var client *esdb.Error
	if !errors.As(err, &client) {
		return fmt.Errorf("%w: %w", sort(status.Code(err)), err)
	}
	switch client.Code() { //nolint:exhaustive // the others are told by their status
	case esdb.ErrorCodeWrongExpectedVersion:
		return wrongRevision(err)
	case esdb.ErrorCodeResourceNotFound:
		return fmt.Errorf("%w: %w", ErrStreamNotFound, err)
	case esdb.ErrorCodeStreamDeleted:
		return fmt.Errorf("%w: %w", ErrStreamDeleted, err)
	case esdb.ErrorCodeAccessDenied, esdb.ErrorCodeUnauthenticated:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case esdb.ErrorUnavailable, esdb.ErrorAborted, esdb.ErrorCodeNotLeader, esdb.ErrorCodeDeadlineExceeded,
		esdb.ErrorCodeConnectionClosed:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", sort(status.Code(client.Err())), err)
}

var errUnexpected = errors.New("the event log answered unexpectedly")

func sort(code codes.Code) error {
	switch code { //nolint:exhaustive // what is left is unexpected
	case codes.FailedPrecondition:
		return ErrWrongRevision
	case codes.InvalidArgument:
		return ErrTooLarge
	case codes.ResourceExhausted:
		return ErrDiskFull // sizes were checked before sending
	case codes.Unauthenticated, codes.PermissionDenied:
		return ErrRefused
	case codes.NotFound:
		return ErrStreamNotFound
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled:
		return ErrUnavailable
	}
	return errUnexpected
}

// classOf names what sort of fault an error is, for spans; "" for none. That a stream is not there
// is an answer.
func classOf(err error) string {
	switch {
	case err == nil, errors.Is(err, ErrStreamNotFound), errors.Is(err, ErrStreamDeleted):
		return ""
	case errors.Is(err, ErrWrongRevision):
		return "wrong_revision"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return spans.Other
}
