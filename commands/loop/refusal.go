package loop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Restored is the refusal of what a log isn't trusted with that isn't the one that was written.
func Restored() *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnavailable, Code: "log_restored",
		Detail: "The event log was restored from a backup, lost the end of a stream, or was altered, and with that " +
			"perhaps lost revocations, so no credential is vended.",
		Hint: "An operator reads the runbook in docs/runbook.md, looks after who has access, then runs: agentkey " +
			"confirm-restore. After that send the same request again.",
		RetryAfter: time.Minute,
	}
}

// Refusal turns what the log says into what a caller may know. Refusals and faults pass unchanged.
func Refusal(err error) error {
	var refusal *domain.Error
	_, forged := errors.AsType[*codec.ForgedError](err)
	_, lost := errors.AsType[*codec.LostError](err)
	switch {
	case err == nil || errors.As(err, &refusal):
		return err
	case forged || lost:
		return fmt.Errorf("%w: %w", Restored(), err)
	case errors.Is(err, codec.ErrUnknownEvent):
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "newer_version_required",
			Detail: "A newer version of agentkey wrote to this part of the log.",
			Hint:   "Upgrade this process to the newest version that writes to the log.", RetryAfter: time.Minute,
		}
	case errors.Is(
		err, eventstore.ErrUnavailable,
	), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "event_log_unavailable",
			Detail: "The event log can't be reached, so nothing was decided or handed out.",
			Hint:   "Send the same request again after {wait}; {getReadiness} says when the log is back.",
			Next:   []domain.Next{{Op: "getReadiness"}}, RetryAfter: time.Second,
		}
	}
	return err
}
