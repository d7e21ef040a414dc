package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
)

// usage is what a caller is shown of buckets, as vended/refused, and of groups.
func (c client) usage(query string) (buckets, groups []string) {
	c.t.Helper()
	a := c.must(200, "GET", "/api/admin/usage?"+query, nil)
	count := func(v any) string {
		n, _ := v.(map[string]any)
		return fmt.Sprint(n["vended"], "/", n["refused"])
	}
	list, _ := a.At("buckets").([]any)
	var vended, refused float64
	for _, b := range list {
		n, _ := b.(map[string]any)
		buckets = append(buckets, count(b))
		vended += n["vended"].(float64)
		if r, told := n["refused"].(float64); told {
			refused += r
		}
	}
	if a.At("totals.vended") != vended || a.At("totals.refused") != nil && a.At("totals.refused") != refused {
		c.t.Errorf("%s: the totals are %v of %v and %v", query, a.At("totals"), vended, refused)
	}
	list, _ = a.At("groups").([]any)
	for _, g := range list {
		n, _ := g.(map[string]any)
		groups = append(groups, fmt.Sprint(n["name"], " ", count(g), " ", n["last_at"] != nil))
	}
	return buckets, groups
}

// everyQuarter lets an agent fetch once in each quarter of an hour of some days, in the log of a
// stopped program.
func (p *program) everyQuarter(agentID string, days ...time.Time) {
	p.t.Helper()
	p.stop()
	p.office(func(ctx context.Context, o *office) error {
		for _, day := range days {
			made, end, err := o.inst.Log.Newest(ctx, "agent-"+agentID, 5)
			if err != nil {
				return err
			}
			var entries []codec.Entry
			isVend := func(e codec.Verified) bool { _, is := e.Event.(agent.CredentialVended); return is }
			vend := made[slices.IndexFunc(made, isVend)]
			for at := day; at.Before(day.AddDate(0, 0, 4)); at = at.Add(15 * time.Minute) {
				entries = append(entries, again(p.t, vend, at, vend.Event))
			}
			if _, err := o.inst.Log.Append(ctx, "agent-"+agentID, end, entries...); err != nil {
				return err
			}
		}
		return nil
	})
	p.run()
	p.followed()
}

// TestUsageFollowsAStory reads it after each step, and then over days on which clocks changed.
func TestUsageFollowsAStory(t *testing.T) {
	onEachDatabase(t, unlimited, func(t *testing.T, p *program) {
		admin := p.admin()
		viewer, other := p.mustToken(admin, "Wall", "viewer"), p.organization("Another", "owner")
		f := mustFleet(p, 2, 2)
		is := func(step string, c client, query string, want, wantGroups []string) {
			t.Helper()
			buckets, groups := c.usage(query)
			if diff := cmp.Diff(want, buckets); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step, diff)
			}
			if diff := cmp.Diff(wantGroups, groups); diff != "" {
				t.Errorf("the groups %s (-want +got):\n%s", step, diff)
			}
		}
		// The days of now and of a minute ago, whenever this runs.
		recent := "from=" + url.QueryEscape(time.Now().UTC().Add(-time.Minute).Format("2006-01-02T00:00:00Z")) +
			"&to=" + time.Now().UTC().Add(48*time.Hour).Format("2006-01-02T00:00:00Z")
		sum := func(c client, query string) string {
			buckets, groups := c.usage(recent + query)
			used := slices.DeleteFunc(buckets, func(b string) bool { return b == "0/0" || b == "0/<nil>" })
			return strings.Join(append(used, groups...), ", ")
		}
		totals := func(step string, c client, query, want string) {
			t.Helper()
			if got := sum(c, query); got != want {
				t.Errorf("%s: %q, not %q", step, got, want)
			}
		}
		totals("at first", admin, "&group_by=agent", "")
		one, two := p.with(f.keys[0]), p.with(f.keys[1])
		for range 3 {
			one.fetch(f.tools[0])
		}
		two.fetch(f.tools[1])
		admin.must(204, "DELETE", "/api/admin/agents/"+f.ids[1]+"/grants/"+f.tools[1], nil)
		two.refused(403, "access_not_approved", "GET", "/api/tools/"+f.tools[1]+"/credentials", nil)
		two.refused(404, "not_found", "GET", "/api/tools/"+newID().String()+"/credentials", nil)
		admin.must(200, "PATCH", "/api/admin/tools/"+f.tools[0], object{"name": "GitHub"})
		totals("by agent", admin, "&group_by=agent", "4/2, Agent 0 3/0 true, Agent 1 1/2 true")
		totals("by tool", admin, "&group_by=tool", "4/2, GitHub 3/0 true, Tool 1 1/1 true")
		totals("of an agent", admin, "&group_by=tool&agent_id="+f.ids[1], "1/2, Tool 1 1/1 true")
		totals("of a tool", admin, "&group_by=agent&tool_id="+f.tools[0], "3/0, Agent 0 3/0 true")
		totals("of both", admin, "&agent_id="+f.ids[1]+"&tool_id="+f.tools[1], "1/1")
		totals("for a viewer", viewer, "&group_by=agent", "4/<nil>, Agent 0 3/<nil> true, Agent 1 1/<nil> true")
		totals("of nobody", admin, "&group_by=tool&agent_id="+newID().String(), "")
		for _, theirs := range []string{"", "&agent_id=" + f.ids[0], "&tool_id=" + f.tools[0]} {
			totals("for another organization", other, "&group_by=agent"+theirs, "")
		}
		admin.must(204, "DELETE", "/api/admin/agents/"+f.ids[1], nil)
		admin.must(204, "DELETE", "/api/admin/tools/"+f.tools[1], nil)
		totals("of a retired agent", admin, "&group_by=agent", "4/2, Agent 0 3/0 true, Agent 1 1/2 true")
		totals("of a removed tool", admin, "&group_by=tool", "4/2, GitHub 3/0 true, Tool 1 1/1 true")

		day := func(month time.Month, day int) time.Time { return time.Date(2025, month, day, 0, 0, 0, 0, time.UTC) }
		p.everyQuarter(f.ids[0], day(3, 8), day(3, 29), day(10, 25), day(11, 1))
		admin, other = p.admin(), p.with(other.key)
		for _, tt := range []struct{ zone, from, to, want string }{
			{"Europe/Berlin", "2025-03-29T23:00:00Z", "2025-03-31T22:00:00Z", "92/0 96/0"},
			{"Europe/Berlin", "2025-10-25T22:00:00Z", "2025-10-27T23:00:00Z", "100/0 96/0"},
			{"America/New_York", "2025-03-09T05:00:00Z", "2025-03-11T04:00:00Z", "92/0 96/0"},
			{"America/New_York", "2025-11-02T04:00:00Z", "2025-11-04T05:00:00Z", "100/0 96/0"},
			{"Asia/Kolkata", "2025-03-29T18:30:00Z", "2025-03-31T18:30:00Z", "96/0 96/0"},
			{"Asia/Kolkata", "2025-03-28T18:30:00Z", "2025-03-29T18:30:00Z", "74/0"}, // it begins at 05:30 there
			{"UTC", "2025-03-27T00:00:00Z", "2025-03-30T00:00:00Z", "0/0 0/0 96/0"},
		} {
			query := "tz=" + tt.zone + "&from=" + tt.from + "&to=" + tt.to
			var vended int
			for b := range strings.FieldsSeq(tt.want) {
				var n int
				_, _ = fmt.Sscan(b, &n)
				vended += n
			}
			is(tt.zone+" "+tt.from, admin, query+"&group_by=agent", strings.Fields(tt.want),
				[]string{fmt.Sprint("Agent 0 ", vended, "/0 true")})
			is(tt.zone+" of a tool", admin, query+"&tool_id="+f.tools[0]+"&group_by=agent", strings.Fields(tt.want),
				[]string{fmt.Sprint("Agent 0 ", vended, "/0 true")})
			a := admin.must(200, "GET", "/api/admin/usage?"+query, nil)
			if a.Text("from") != tt.from || a.Text("to") != tt.to || a.Text("tz") != tt.zone || a.At("groups") != nil {
				t.Errorf("%s: %s", query, a.Body)
			}
			is("the hours of it", admin, "bucket=hour&tz=Asia/Kolkata&from=2025-03-30T18:30:00Z&to=2025-03-30T20:30:00Z",
				[]string{"4/0", "4/0"}, nil)
		}
		is("for another organization", other, "from=2025-03-29T00:00:00Z&to=2025-03-30T00:00:00Z&group_by=tool",
			[]string{"0/0"}, nil)

		for query, field := range map[string]string{
			"tz=Mars/Olympus": "tz", "tz=Local": "tz", "bucket=week": "bucket", "group_by=person": "group_by",
			"from=2025-03-30T00:00:00Z&to=2025-03-29T00:00:00Z":             "from",
			"bucket=hour&from=2024-01-01T00:00:00Z&to=2025-02-20T16:00:00Z": "bucket",
			"from=yesterday": "from", "agent_id=x": "agent_id", "interval=day": "interval",
		} {
			if a := admin.refused(400, "validation_failed", "GET", "/api/admin/usage?"+query, nil); !namesField(a, field) {
				t.Errorf("%s: %s", query, a.Body)
			}
		}
		admin.refused(503, "read_model_behind", "GET", "/api/admin/usage", nil, "X-Wait-For-Position", "9000000000000000000")
		p.settled()
		p.stop()
		p.compareWithRebuild()
	})
}
