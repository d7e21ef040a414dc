package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
)

// decisionsAtOnce is how many decisions of one call are carried out at a time.
const decisionsAtOnce = 8

// DecideRequests answers POST /api/admin/requests/decide. Each decision has a command id of its
// own, derived from that of the call: a call that is repeated under its idempotency key finds what
// was decided and decides the rest.
func (s *Server) DecideRequests(
	ctx context.Context, r DecideRequestsRequestObject,
) (DecideRequestsResponseObject, error) {
	call, decisions := callOf(ctx), r.Body.Decisions
	defer func() {
		for _, d := range decisions {
			clear(value(d.Credential))
		}
	}()
	if err := unfit(decisions); err != nil {
		return nil, err
	}
	done, failed := make([]commands.GrantResult, len(decisions)), make([]error, len(decisions))
	var workers errgroup.Group
	workers.SetLimit(decisionsAtOnce)
	for i, d := range decisions {
		workers.Go(func() error {
			if err := call.ctx.Err(); err != nil { // nobody waits for the answer
				return loop.Refusal(err)
			}
			done[i], failed[i] = s.decideOne(call, d)
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	out, last := DecideRequests200JSONResponse{Results: make([]DecisionResult, len(decisions))}, uint64(0)
	for i, d := range decisions {
		out.Results[i] = DecisionResult{RequestID: d.RequestID, Status: http.StatusOK}
		if failed[i] != nil {
			err := s.forbidden(call, s.withOutcome(call, d.RequestID, failed[i]))
			if err := s.failedOne(call, &out.Results[i], fmt.Sprintf("decisions[%d].", i), err); err != nil {
				return nil, err
			}
			continue
		}
		n := s.naming(call.Caller.Organization)
		request := n.approved(call.ctx, n.request(call.ctx, requestLeft(done[i])), done[i])
		out.Results[i].Request, last = &request, max(last, done[i].Position)
	}
	call.done(last) // 0, which every read includes, where nothing was decided
	return out, nil
}

// unfit refuses decisions that contradict themselves or each other.
func unfit(decisions []Decision) error {
	var wrong []domain.Field
	add := func(i int, field, message string) {
		wrong = append(wrong, domain.Field{Field: fmt.Sprintf("decisions[%d].%s", i, field), Message: message})
	}
	first := map[string]int{}
	for i, d := range decisions {
		const denies, approves = "a decision that denies takes none", "a decision that approves takes none"
		switch {
		case d.Decision == VerdictDeny && d.Credential != nil:
			add(i, "credential", denies)
		case d.Decision == VerdictDeny && d.ExpiresAt != nil:
			add(i, "expires_at", denies)
		case d.Decision == VerdictApprove && d.Reason != nil:
			add(i, "reason", approves)
		}
		if before, twice := first[d.RequestID]; twice {
			add(before, "request_id", fmt.Sprintf("it is the same as decisions[%d].request_id", i))
			add(i, "request_id", fmt.Sprintf("it is the same as decisions[%d].request_id", before))
			continue
		}
		first[d.RequestID] = i
	}
	if len(wrong) == 0 {
		return nil
	}
	refusal := domain.Invalid(wrong[0].Field, wrong[0].Message)
	refusal.Fields = wrong
	return refusal
}

// decideOne carries out one decision, as ApproveRequest and DenyRequest do.
func (s *Server) decideOne(call *call, d Decision) (commands.GrantResult, error) {
	m := call.meta()
	m.CommandID = loop.DerivedID(call.command, "decision about "+d.RequestID)
	if d.Etag != nil {
		m.Seen = parseIfMatch([]string{*d.Etag}).seen()
	}
	if d.Decision == VerdictDeny {
		return s.Grants.Deny(call.ctx, m, d.RequestID, value(d.Reason))
	}
	secret, err := credential(d.Credential)
	defer secret.Clear()
	if err != nil {
		return commands.GrantResult{}, err
	}
	return s.Grants.Approve(call.ctx, m, d.RequestID, commands.Terms{Credential: secret, ExpiresAt: d.ExpiresAt})
}

// failedOne says in a result why a decision was refused or failed. Where that may pass, the
// idempotency key of the call stays good for another try.
func (s *Server) failedOne(call *call, out *DecisionResult, place string, err error) error {
	if refusal, is := errors.AsType[*domain.Error](err); is && len(refusal.Fields) > 0 {
		err = renamed(refusal, func(field string) string { return place + field })
	}
	status, document, refusal := s.problem(call, err)
	call.code = "" // the call itself isn't refused
	out.Status, out.Problem = status, &Problem{}
	if err := json.Unmarshal(document, out.Problem); err != nil {
		return err
	}
	if out.Problem.RetryAfter == nil && refusal.RetryAfter > 0 {
		out.Problem.RetryAfter = optionalTime(s.Clock().Add(refusal.RetryAfter).Truncate(time.Millisecond))
	}
	call.unfinished = call.unfinished || status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
	return nil
}
