package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentkey/audit"
	"agentkey/audit/export"
	"agentkey/audit/formats"
	"agentkey/domain"
	"agentkey/readmodels"
)

// settles is how long after the end of a period nothing of it can come any more.
const settles = time.Minute

// evidence is a pack as it is written.
type evidence struct {
	server       *Server
	call         *call
	organization string
	begin, end   readmodels.Moment
	bundle       *export.Bundle
}

// GetAuditEvidence answers GET /api/admin/audit/evidence.
func (s *Server) GetAuditEvidence(
	ctx context.Context, r GetAuditEvidenceRequestObject,
) (GetAuditEvidenceResponseObject, error) {
	call := callOf(ctx)
	from, to := r.Params.From.UTC(), r.Params.To.UTC()
	switch {
	case !from.Before(to):
		return nil, domain.Invalid("from", "it must be before to")
	case to.After(s.Clock()):
		return nil, domain.Invalid("to", "it lies in the future")
	}
	out := evidence{server: s, call: call, organization: call.Caller.Organization}
	err := out.period(from, to)
	if err != nil {
		return nil, err
	}
	first, last, err := out.ends()
	if err != nil {
		return nil, err
	}
	out.bundle, err = s.Export.FinalBundle(call.ctx, out.organization, first, last)
	return out, s.proven(err, "audit entry")
}

// period finds between which positions a time is.
func (x *evidence) period(from, to time.Time) error {
	s, ctx := x.server, x.call.ctx
	end, final, err := s.Models.MomentBefore(ctx, x.organization, to)
	unsure := func() bool { return !final && (err == nil || errors.Is(err, readmodels.ErrNotFound)) }
	if unsure() {
		// nothing has happened since, as far as the read model is
		wait := settles - s.Clock().Sub(to)
		newest, failed := s.Export.Newest(ctx)
		if failed != nil {
			return s.proven(failed, "period")
		}
		if failed := s.reached(x.call, newest); failed != nil {
			return failed
		}
		if end, final, err = s.Models.MomentBefore(ctx, x.organization, to); unsure() && wait > 0 {
			return s.proven(&audit.NotCoveredError{RetryAfter: wait.Truncate(time.Second) + time.Second}, "period")
		}
	}
	if errors.Is(err, readmodels.ErrNotFound) {
		return s.tooEarly(x.call, "to")
	}
	if err != nil {
		return asked(err, "audit entry")
	}
	begin, _, err := s.Models.MomentBefore(ctx, x.organization, from)
	if err != nil && !errors.Is(err, readmodels.ErrNotFound) {
		return asked(err, "audit entry")
	}
	x.begin, x.end = begin, end
	return nil
}

// ends are the first and the last event of the period. If it has none, both are the last one before
// it.
func (x *evidence) ends() (first, last uuid.UUID, err error) {
	at := func(after uint64) (uuid.UUID, error) {
		entries, err := x.server.Models.AuditAfter(
			x.call.ctx, x.organization, readmodels.AuditFilter{}, after, x.end.Position, 1, false,
		)
		if err != nil {
			return uuid.Nil, asked(err, "audit entry")
		}
		if len(entries) == 0 {
			return uuid.Nil, domain.NotFound("audit entry")
		}
		return eventID(entries[0].ID), nil
	}
	if last, err = at(x.end.Position - 1); err != nil || x.begin.Position == x.end.Position {
		return last, last, err
	}
	first, err = at(x.begin.Position)
	return first, last, err
}

// VisitGetAuditEvidenceResponse writes the pack.
func (x evidence) VisitGetAuditEvidenceResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Disposition", `attachment; filename="agentkey-evidence.zip"`)
	w.Header().Set("X-Export-Entries", strconv.FormatInt(x.bundle.Size-x.bundle.First, 10))
	return x.server.stream(x.call, w, "application/zip", x.write)
}

func (x evidence) write(ctx context.Context, out exportWriter) error {
	notes := x.bundle.Checkpoints
	return export.WriteEvidence(out, formats.Evidence{
		Organization: x.organization, From: x.begin.Time, To: x.end.Time, Begin: x.begin.Position, End: x.end.Position,
		Checkpoint: notes[len(notes)-1],
	}, func(name string, w io.Writer) error { return x.file(ctx, name, w) })
}

func (x evidence) file(ctx context.Context, name string, w io.Writer) error {
	s, organization := x.server, x.organization
	position := PastPosition(x.end.Position) //nolint:gosec // a log never holds 2^63
	then := view{DB: s.Models.At(x.end), now: x.end.Time, position: &position}
	switch name {
	case export.IdentitiesFile:
		return writeTable(ctx, w, name, identityColumns, s.identityRows(then, organization))
	case export.AccessReviewFile:
		return writeTable(
			ctx, w, name, accessReviewColumns, s.accessReviewRows(then, organization, readmodels.GrantFilter{}),
		)
	case export.DecisionsFile:
		decided := s.decisionRows(then.DB, organization, readmodels.AuditFilter{}, x.begin.Position)
		return writeTable(ctx, w, name, decisionColumns, func(
			ctx context.Context, p readmodels.Page,
		) (readmodels.List[DecisionReportItem], error) {
			if p.Before == 0 {
				p.Before = x.end.Position + 1
			}
			return decided(ctx, p)
		})
	case export.ChangesFile:
		return writeTable(ctx, w, name, changeColumns, func(
			ctx context.Context, p readmodels.Page,
		) (readmodels.List[AccessChange], error) {
			found, err := s.Models.AccessChanges(ctx, organization, x.begin, x.end, p)
			if err != nil {
				return readmodels.List[AccessChange]{}, asked(err, "audit entry")
			}
			n := s.naming(organization)
			return readmodels.List[AccessChange]{Items: n.changes(ctx, found.Items), Next: found.Next}, n.err
		})
	case export.ExposureFile:
		return writeTable(ctx, w, name, exposureColumns, exposureRows(then, organization, readmodels.GrantFilter{}))
	case formats.AuditFile:
		return x.bundle.Write(ctx, w)
	}
	return fmt.Errorf("%s has no place in an evidence pack", name)
}

func (s *Server) identityRows(model view, organization string) rows[Agent] {
	return func(ctx context.Context, p readmodels.Page) (readmodels.List[Agent], error) {
		found, err := model.Agents(ctx, organization, readmodels.AgentFilter{}, model.now, p)
		if err != nil {
			return readmodels.List[Agent]{}, asked(err, "agent")
		}
		n := s.naming(organization)
		return readmodels.List[Agent]{Items: views(found.Items, func(a readmodels.Agent) Agent {
			return n.agent(ctx, a, model.now)
		}), Next: found.Next}, n.err
	}
}

var identityColumns = []column[Agent]{
	{"agent_id", func(a Agent) string { return a.ID }},
	{"agent_name", func(a Agent) string { return a.Name }},
	{"description", func(a Agent) string { return a.Description }},
	{"status", func(a Agent) string { return string(a.Status) }},
	{"registered_at", func(a Agent) string { return cellTime(&a.CreatedAt) }},
	{"registered_by_type", func(a Agent) string { return string(a.CreatedBy.Type) }},
	{"registered_by_id", func(a Agent) string { return a.CreatedBy.ID }},
	{"registered_by_label", func(a Agent) string { return value(a.CreatedBy.Label) }},
	{"keys", func(a Agent) string { return strconv.Itoa(len(a.working())) }},
	{"newest_key_since", func(a Agent) string {
		working := a.working()
		if len(working) == 0 {
			return ""
		}
		return cellTime(&working[len(working)-1].CreatedAt)
	}},
	{"approved_tools", func(a Agent) string { return strconv.Itoa(a.Grants.Approved) }},
}

var changeColumns = append(append([]column[AccessChange]{
	{"agent_id", func(c AccessChange) string { return c.Agent.ID }},
	{"agent_name", func(c AccessChange) string { return c.Agent.Name }},
	{"tool_id", func(c AccessChange) string { return c.Tool.ID }},
	{"tool_name", func(c AccessChange) string { return c.Tool.Name }},
	{"change", func(c AccessChange) string {
		switch {
		case c.Before == nil:
			return "given"
		case c.After == nil:
			return "ended"
		}
		return "changed"
	}},
	{"events", func(c AccessChange) string { return strings.Join(c.Events, " ") }},
}, effectiveColumns("before", func(c AccessChange) *EffectiveAccess { return c.Before })...),
	effectiveColumns("after", func(c AccessChange) *EffectiveAccess { return c.After })...)

// effectiveColumns are those of the access before or after; empty where there was none.
func effectiveColumns(when string, of func(AccessChange) *EffectiveAccess) (out []column[AccessChange]) {
	for _, c := range []column[*EffectiveAccess]{
		{"origin", func(a *EffectiveAccess) string { return string(a.Origin) }},
		{"request_id", func(a *EffectiveAccess) string { return value(a.RequestID) }},
		{"reason", func(a *EffectiveAccess) string { return value(a.Reason) }},
		{"approved_at", func(a *EffectiveAccess) string { return cellTime(&a.ApprovedAt) }},
		{"approved_by_type", func(a *EffectiveAccess) string { return string(a.ApprovedBy.Type) }},
		{"approved_by_id", func(a *EffectiveAccess) string { return a.ApprovedBy.ID }},
		{"approved_by_label", func(a *EffectiveAccess) string { return value(a.ApprovedBy.Label) }},
		{"expires_at", func(a *EffectiveAccess) string { return cellTime(a.ExpiresAt) }},
	} {
		out = append(out, column[AccessChange]{when + "_" + c.name, func(change AccessChange) string {
			if a := of(change); a != nil {
				return c.cell(a)
			}
			return ""
		}})
	}
	return out
}
