package people

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	agentkey "agentkey/clients/go"
)

// Audit shows the audit. It is among the other commands about the audit.
type Audit struct {
	output

	Follow   bool   `short:"f" help:"Then show what happens as it happens, until you interrupt it."`
	Limit    int    `default:"50" help:"Show so many of the newest entries at most; 0 shows all."`
	Agent    string `placeholder:"ID" help:"Only what is by or about this agent."`
	Tool     string `placeholder:"ID" help:"Only what is about this tool."`
	Action   string `help:"Only these actions, such as credential.vended or grant.*, with commas between."`
	Category string `help:"Only these categories, such as decision or access, with commas between."`
	Query    string `short:"q" name:"query" help:"Only entries with this text."`
	From     string `help:"Not before this time (RFC 3339)."`
	To       string `help:"Before this time (RFC 3339)."`
}

// Run shows entries, the newest last.
func (a *Audit) Run(sh *Shell) error {
	if a.Limit < 0 || a.Follow && a.To != "" {
		return misused("--limit must not be negative, and --follow takes no --to")
	}
	query := url.Values{}
	for name, text := range map[string]string{
		"agent_id": a.Agent, "tool_id": a.Tool, "action": a.Action, "category": a.Category, "q": a.Query, "from": a.From,
		"to": a.To,
	} {
		if text != "" {
			query.Set(name, text)
		}
	}
	c, err := sh.client()
	if err != nil {
		return err
	}
	if !a.Follow {
		_, err := a.print(sh, c, query, 0, a.Limit)
		return err
	}
	return a.follow(sh, c, query)
}

// follow shows the newest entries, and what follows them. The stream says that something happened,
// and the audit what it was; what happened while the service was away is read after it.
func (a *Audit) follow(sh *Shell, c *agentkey.Client, query url.Values) error {
	last, begun := uint64(0), false
	for e, err := range c.Events(sh.Ctx, "fetches,deliveries", 0) {
		if err != nil {
			return sh.unlessEnough(explained(err))
		}
		if begun && e.ID <= last && e.Name != agentkey.Reset {
			continue
		}
		limit := 0
		if !begun {
			limit = a.Limit
		}
		newest, err := a.print(sh, c, query, last, limit)
		if err != nil {
			return sh.unlessEnough(err)
		}
		last, begun = max(last, newest, e.ID), true
	}
	return nil
}

// unlessEnough returns the error, but nil when somebody has ended what would go on forever.
func (sh *Shell) unlessEnough(err error) error {
	select {
	case <-sh.Ctx.Done():
		return nil
	default:
		return err
	}
}

// print prints the newest entries after a position, the newest last, and returns its position.
func (a *Audit) print(
	sh *Shell, c *agentkey.Client, query url.Values, after uint64, limit int,
) (newest uint64, err error) {
	query.Set("limit", "200")
	if limit > 0 {
		query.Set("limit", strconv.Itoa(min(limit, 200)))
	}
	var entries []json.RawMessage
	done := sh.working("Waiting for " + c.URL)
	defer done()
	for raw, err := range agentkey.Each[json.RawMessage](sh.Ctx, c, "/api/admin/audit", query) {
		if err != nil {
			return 0, explained(err)
		}
		var entry struct {
			Position uint64 `json:"position"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			return 0, fmt.Errorf("the answer isn't of AgentKey: %w", err)
		}
		if entry.Position <= after || limit > 0 && len(entries) == limit {
			break
		}
		newest = max(newest, entry.Position)
		entries = append(entries, raw)
		sh.progress.at(fmt.Sprintf("%d entries read so far", len(entries)))
	}
	done()
	for _, raw := range slices.Backward(entries) {
		if err := a.entry(sh, raw); err != nil {
			return 0, err
		}
	}
	return newest, nil
}

// entry prints one entry, on a line of its own.
func (a *Audit) entry(sh *Shell, raw json.RawMessage) error {
	if a.JSON {
		return sh.printLine(raw)
	}
	var e agentkey.AuditEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("the answer isn't of AgentKey: %w", err)
	}
	_, err := fmt.Fprintf(
		sh.Stdout, "%s  %s  %s\n", e.OccurredAt.UTC().Format(time.DateTime+"Z"), clean(string(e.Action)), clean(e.Summary),
	)
	return err
}
