package api

import (
	"cmp"
	"context"

	"agentkey/readmodels"
)

// GetUsage answers GET /api/admin/usage.
func (s *Server) GetUsage(ctx context.Context, r GetUsageRequestObject) (GetUsageResponseObject, error) {
	call, q := callOf(ctx), r.Params
	out := Usage{Bucket: cmp.Or(value(q.Bucket), UsageBucketDay), Tz: cmp.Or(value(q.Tz), "UTC")}
	b, err := bucketsIn(out.Bucket == UsageBucketHour, out.Tz)
	if err != nil {
		return nil, err
	}
	times, err := b.between(q.From, q.To, s.Clock())
	if err != nil {
		return nil, err
	}
	audit := call.seesAudit()
	found, err := s.Models.Usage(call.ctx, call.Caller.Organization, readmodels.UsageTerms{
		UsageFilter: readmodels.UsageFilter{AgentID: value(q.AgentID), ToolID: value(q.ToolID)},
		Times:       times, GroupBy: string(value(q.GroupBy)), Refused: audit,
	})
	if err != nil {
		return nil, asked(err, "usage")
	}
	refused := func(n int64) *int64 {
		if !audit {
			return nil
		}
		return &n
	}
	out.From, out.To = times[0], times[len(times)-1]
	out.Buckets = make([]UsageInBucket, len(found.Between))
	var all readmodels.Fetches
	for i, n := range found.Between {
		out.Buckets[i] = UsageInBucket{At: times[i], Vended: n.Vended, Refused: refused(n.Refused)}
		all.Vended, all.Refused = all.Vended+n.Vended, all.Refused+n.Refused
	}
	out.Totals = UsageInTotal{Vended: all.Vended, Refused: refused(all.Refused)}
	if q.GroupBy != nil {
		groups := views(found.Groups, func(g readmodels.UsageGroup) UsageOfGroup {
			return UsageOfGroup{
				ID: g.ID, Name: g.Name, Vended: g.Vended, Refused: refused(g.Refused), LastAt: optionalTime(g.LastAt),
			}
		})
		out.Groups = &groups
	}
	return GetUsage200JSONResponse(out), nil
}
