package people

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	agentkey "agentkey/clients/go"
)

type usage struct {
	output

	From   string `help:"Where it begins (RFC 3339). Without it, it is the last 30 days, or 24 hours with --bucket=hour."`
	To     string `help:"Where it ends (RFC 3339). Without it, now."`
	Bucket string `enum:"hour,day" default:"day" help:"hour or day."`
	TZ     string `name:"tz" default:"UTC" help:"The time zone of days, such as Europe/Berlin."`
	Agent  string `placeholder:"ID" help:"Only fetches by this agent."`
	Tool   string `placeholder:"ID" help:"Only fetches of this tool."`
	By     string `enum:"agent,tool" default:"agent" help:"Which have the most fetches, agent or tool."`
}

// longestBar is how wide the bar of the fullest hour or day is.
const longestBar = 30

// Run counts fetches.
func (u *usage) Run(sh *Shell) error {
	params := agentkey.GetUsageParams{
		Bucket: given[agentkey.UsageBucket](u.Bucket), Tz: &u.TZ, AgentID: given[agentkey.AgentIDFilter](u.Agent),
		ToolID: given[agentkey.ToolIDFilter](u.Tool), GroupBy: given[agentkey.GetUsageParamsGroupBy](u.By),
	}
	for _, bound := range []struct {
		flag, typed string
		into        **time.Time
	}{{"from", u.From, &params.From}, {"to", u.To, &params.To}} {
		if bound.typed == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, bound.typed)
		if err != nil {
			return misused("--%s %q isn't a time such as 2026-12-31T00:00:00Z", bound.flag, bound.typed)
		}
		*bound.into = &at
	}
	zone, err := time.LoadLocation(u.TZ)
	if err != nil {
		return misused("--tz %q isn't a time zone such as Europe/Berlin", u.TZ)
	}
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, u.output, c, "/api/admin/usage?"+params.Values().Encode(), func(counted agentkey.Usage) error {
		return u.print(sh, counted, zone)
	})
}

func (u *usage) print(sh *Shell, counted agentkey.Usage, zone *time.Location) error {
	shape := time.DateOnly
	if u.Bucket == "hour" {
		shape = "2006-01-02 15:04"
	}
	most := int64(1)
	for _, b := range counted.Buckets {
		most = max(most, b.Vended)
	}
	rows := make([][]string, 0, len(counted.Buckets)+1)
	for _, b := range counted.Buckets {
		rows = append(rows, []string{
			b.At.In(zone).Format(shape), strconv.FormatInt(b.Vended, 10), count(b.Refused),
			strings.Repeat("#", int(b.Vended*longestBar/most)),
		})
	}
	rows = append(rows, []string{"total", strconv.FormatInt(counted.Totals.Vended, 10), count(counted.Totals.Refused), ""})
	if err := sh.table([]string{"BEGINS", "FETCHED", "REFUSED", ""}, rows); err != nil || len(value(counted.Groups)) == 0 {
		return err
	}
	rows = rows[:0]
	for _, g := range *counted.Groups {
		rows = append(rows, []string{g.ID, g.Name, strconv.FormatInt(g.Vended, 10), count(g.Refused), minute(g.LastAt)})
	}
	_, _ = fmt.Fprintln(sh.Stdout) // the table says what fails
	return sh.table([]string{strings.ToUpper(u.By) + " ID", "NAME", "FETCHED", "REFUSED", "LAST"}, rows)
}

// count is a number that only some may know.
func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}
