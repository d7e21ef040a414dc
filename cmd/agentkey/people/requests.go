package people

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	agentkey "agentkey/clients/go"
)

type requests struct {
	List    requestsList    `cmd:"" default:"withargs" help:"List what agents request, newest first. This is what agentkey requests does alone."`
	Show    requestsShow    `cmd:"" help:"Show a request."`
	Approve requestsApprove `cmd:"" help:"Show a request, ask, and approve what was shown."`
	Deny    requestsDeny    `cmd:"" help:"Show a request, ask, and deny what was shown."`
}

type requestsList struct {
	listed

	Status string `enum:"pending,approved,denied,withdrawn,all" default:"pending" help:"pending, approved, denied, withdrawn or all."`
	Agent  string `placeholder:"ID" help:"Only those of this agent."`
	Tool   string `placeholder:"ID" help:"Only those for this tool."`
}

// Run lists requests.
func (l *requestsList) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	query := agentkey.ListRequestsParams{
		AgentID: given[agentkey.AgentIDFilter](l.Agent), ToolID: given[agentkey.ToolIDFilter](l.Tool),
	}
	if l.Status != "all" {
		query.Status = only[agentkey.AccessRequestStatus](l.Status)
	}
	return list(
		sh, l.listed, c, requestsPath, query.Values(), []string{"ID", "AGENT", "TOOL", "STATUS", "SINCE", "REASON"},
		func(r agentkey.AccessRequest) []string {
			return []string{r.ID, r.AgentName, r.ToolName, string(r.Status), minute(&r.CreatedAt), r.Reason}
		},
	)
}

const requestsPath = "/api/admin/requests"

type requestsShow struct {
	output
	one
}

// Run shows a request.
func (s *requestsShow) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, s.output, c, s.path(requestsPath+"/"), sh.request)
}

func (sh *Shell) request(r agentkey.AccessRequest) error {
	wanted, decided := "", minute(r.DecidedAt)
	if r.RequestedSeconds != nil {
		wanted = (time.Duration(*r.RequestedSeconds) * time.Second).String()
	}
	if r.DecidedBy != nil {
		decided += " by " + named(*r.DecidedBy)
	}
	approvals := ""
	if r.Approvals != nil {
		approvals = fmt.Sprintf("%d of %d", len(r.Approvals.Given), r.Approvals.Required)
	}
	if err := sh.facts(
		"request", r.ID, "agent", r.AgentName+" ("+r.AgentID+")", "tool", r.ToolName+" ("+r.ToolID+")", "reason", r.Reason,
		"for", wanted, "since", minute(&r.CreatedAt), "status", string(r.Status), "approvals", approvals, "decided", decided,
		"denied because", value(r.DenialReason),
	); err != nil || r.Context == nil {
		return err
	}
	return sh.context(*r.Context)
}

// context shows what helps to decide: who asks, what for, and what was between the two before.
func (sh *Shell) context(about agentkey.RequestContext) error {
	var before []string
	for _, past := range about.History {
		line := minute(&past.At) + " " + string(past.Action)
		if past.By != nil {
			line += " by " + named(*past.By)
		}
		if why := value(past.DenialReason); why != "" {
			line += ": " + why
		}
		before = append(before, line)
	}
	return sh.facts(
		"about agent", about.Agent.Description, "owner", by(about.Agent.Owner),
		"labels", labelsOf(about.Agent.Labels), "last seen", minute(about.Agent.LastSeenAt),
		"it has", fmt.Sprintf("%d tools", about.Agent.Approved),
		"about tool", about.Tool.Description, "url", value(about.Tool.URL),
		"used by", fmt.Sprintf("%d agents", about.Tool.Approved), "ends by", minute(about.Tool.MaxExpiresAt),
		"before", strings.Join(before, "; "),
	)
}

// deciding is a decision about a request.
type deciding struct {
	output
	one

	Yes bool `short:"y" help:"Don't ask. What changed while the command ran isn't decided."`
}

// decided shows a request, asks, and makes a decision about what was shown. Where that changed, it
// shows the request again.
func (d *deciding) decided(
	sh *Shell, question string,
	decide func(*agentkey.Client, agentkey.AccessRequest, agentkey.Option) (*agentkey.AccessRequest, error),
) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	for {
		var r agentkey.AccessRequest
		etag, err := showing(sh, output{}, c, d.path(requestsPath+"/"), func(read agentkey.AccessRequest) error {
			if r = read; d.JSON {
				return nil
			}
			return sh.request(read)
		})
		if err != nil {
			return err
		}
		if r.Status != agentkey.AccessRequestStatusPending {
			return fmt.Errorf("the request is %s: there is nothing to decide", r.Status)
		}
		if err := sh.confirmed(d.Yes, question); err != nil {
			return err
		}
		after, err := decide(c, r, agentkey.WithIfMatch(etag))
		if stale(err) && !d.Yes {
			sh.say("It has changed since you read it, so nothing was done. This is what it is now:")
			continue
		}
		if err != nil {
			return explained(err)
		}
		return sh.print(d.output, after, func() error { return sh.outcome(after) })
	}
}

// stale reports whether what was decided on had changed.
func stale(err error) bool {
	refused, is := errors.AsType[*agentkey.Error](err)
	return is && refused.Status == http.StatusPreconditionFailed
}

func (sh *Shell) outcome(r *agentkey.AccessRequest) error {
	outcome := string(r.Status)
	if r.Status == agentkey.AccessRequestStatusPending && r.Approvals != nil {
		outcome = fmt.Sprintf("pending, with %d of %d approvals", len(r.Approvals.Given), r.Approvals.Required)
	}
	_, err := fmt.Fprintf(sh.Stdout, "The request of %s for %s is %s.\n", clean(r.AgentName), clean(r.ToolName), outcome)
	return err
}

type requestsApprove struct {
	deciding

	Expires string `help:"When the access ends: after so long, such as 90d or 12h, or at a time (RFC 3339)."`
	Parts   bool   `help:"The agent's own credential is a JSON object of several strings, such as user and password."`
}

// Help implements kong.HelpProvider.
func (requestsApprove) Help() string {
	return "If each agent has a credential of its own, the agent's comes from standard input or a prompt."
}

// Run approves a request.
func (a *requestsApprove) Run(sh *Shell) error {
	until, err := sh.moment("expires", a.Expires)
	if err != nil {
		return err
	}
	return a.decided(sh, "Approve it?", func(
		c *agentkey.Client, r agentkey.AccessRequest, seen agentkey.Option,
	) (*agentkey.AccessRequest, error) {
		approval := agentkey.Approval{ExpiresAt: until}
		if r.CredentialMode == agentkey.CredentialModePerAgent {
			credential, err := sh.credential(r.AgentName+" for "+r.ToolName, a.Parts)
			if err != nil {
				return nil, err
			}
			approval.Credential = &credential
		}
		return c.ApproveRequest(sh.Ctx, r.ID, approval, seen)
	})
}

type requestsDeny struct {
	deciding

	Reason string `help:"Why, which the agent reads."`
}

// Run denies a request.
func (d *requestsDeny) Run(sh *Shell) error {
	return d.decided(sh, "Deny it?", func(
		c *agentkey.Client, r agentkey.AccessRequest, seen agentkey.Option,
	) (*agentkey.AccessRequest, error) {
		return c.DenyRequest(sh.Ctx, r.ID, agentkey.Denial{Reason: given[string](d.Reason)}, seen)
	})
}
