package people

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	agentkey "agentkey/clients/go"
)

type agents struct {
	List       agentsList       `cmd:"" default:"withargs" help:"List the agents, newest first. This is what agentkey agents does alone."`
	Show       agentsShow       `cmd:"" help:"Show an agent and its access."`
	Register   agentsRegister   `cmd:"" help:"Register an agent and print its key once."`
	RotateKey  agentsRotateKey  `cmd:"" help:"Replace an agent's key and print the new one once."`
	Suspend    agentsSuspend    `cmd:"" help:"Suspend an agent: its access ends, and it may call nothing."`
	Reactivate agentsReactivate `cmd:"" help:"Let a suspended agent call again. Its access isn't restored."`
	Retire     agentsRetire     `cmd:"" help:"Retire an agent forever."`
	Revoke     agentsRevoke     `cmd:"" help:"Revoke an agent's access to a tool."`
}

type agentsList struct {
	listed

	Query string `short:"q" name:"query" help:"Only those with this in the name, description or owner."`
	tagged

	Status string `enum:",active,suspended,retired" default:"" help:"Only those: active, suspended or retired."`
}

// Run lists agents.
func (l *agentsList) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	query := agentkey.ListAgentsParams{
		Q: given[agentkey.Q](l.Query), Status: only[agentkey.AgentStatus](l.Status), Tag: l.tags(),
	}.Values()
	return list(
		sh, l.listed, c, "/api/admin/agents", query,
		[]string{"ID", "NAME", "STATUS", "ACCESS", "PENDING", "LAST SEEN"},
		func(a agentkey.Agent) []string {
			seen := minute(a.LastSeenAt)
			if seen == "" {
				seen = "never"
			}
			return []string{
				a.ID, a.Name, string(a.Status), strconv.Itoa(a.Grants.Approved), strconv.Itoa(a.Grants.Pending), seen,
			}
		},
	)
}

// one names a resource.
type one struct {
	ID string `arg:"" help:"Its id, as lists print it."`
}

func (o one) path(prefix string) string { return prefix + url.PathEscape(o.ID) }

type agentsShow struct {
	output
	one
}

// Run shows an agent.
func (s *agentsShow) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, s.output, c, s.path("/api/admin/agents/"), func(a agentkey.Agent) error {
		if err := sh.facts(
			"id", a.ID, "name", a.Name, "description", a.Description, "owner", by(a.Owner), "labels", labelsOf(a.Labels),
			"status", string(a.Status),
			"registered", minute(&a.CreatedAt)+" by "+named(a.CreatedBy), "last seen", minute(a.LastSeenAt), "keys",
			strconv.Itoa(len(a.Keys)), "access", strconv.Itoa(a.Grants.Approved), "pending", strconv.Itoa(a.Grants.Pending),
		); err != nil || a.Grants.Approved+a.Grants.Pending == 0 {
			return err
		}
		_, _ = fmt.Fprintln(sh.Stdout) // the list says what fails
		return list(
			sh, listed{}, c, "/api/admin/grants", url.Values{"agent_id": {a.ID}},
			[]string{"TOOL ID", "TOOL", "STATUS", "UNTIL", "FETCHES", "LAST FETCHED"},
			func(g agentkey.Grant) []string {
				return []string{
					g.ToolID, g.ToolName, string(g.Status), minute(g.ExpiresAt), strconv.FormatInt(value(g.FetchCount), 10),
					minute(g.LastFetchedAt),
				}
			},
		)
	})
}

type agentsRegister struct {
	output

	Name        string `arg:"" help:"The agent's name."`
	Description string `help:"What the agent does."`
	Owner       string `help:"Who is responsible for it."`

	labelling
}

// Run registers an agent.
func (r *agentsRegister) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	made, err := c.RegisterAgent(sh.Ctx, agentkey.NewAgent{
		Name: r.Name, Description: given[string](r.Description), Owner: given[string](r.Owner),
		Labels: r.labels(),
	})
	return sh.keyOf(r.output, made, err, "Registered")
}

// keyOf prints a key, which is shown once, and nothing else where programs read.
func (sh *Shell) keyOf(o output, made *agentkey.AgentWithKey, err error, done string) error {
	if err != nil {
		return explained(err)
	}
	return sh.print(o, made, func() error {
		sh.say("%s %s (%s).", done, clean(made.Agent.Name), made.Agent.ID)
		if made.APIKey == nil { // the first answer was lost, and the key with it
			return fmt.Errorf("the key was lost on its way: run agentkey agents rotate-key %s", made.Agent.ID)
		}
		sh.say("This is its key. It isn't shown again:")
		_, err := fmt.Fprintln(sh.Stdout, *made.APIKey)
		return err
	})
}

type agentsRotateKey struct {
	output
	one

	Overlap string `help:"How long the old key still works, such as 1h. Without it, not at all."`
}

// Run replaces a key.
func (r *agentsRotateKey) Run(sh *Shell) error {
	var change agentkey.KeyRotation
	if r.Overlap != "" {
		overlap, err := span(r.Overlap)
		if err != nil {
			return misused("--overlap %q isn't a length such as 1h", r.Overlap)
		}
		change.OverlapSeconds = new(int(overlap / time.Second))
	}
	c, err := sh.client()
	if err != nil {
		return err
	}
	made, err := c.RotateKey(sh.Ctx, r.ID, change)
	return sh.keyOf(r.output, made, err, "Replaced the key of")
}

type agentsSuspend struct {
	output
	one
}

// Run suspends an agent. Nobody is asked, because it may be urgent.
func (s *agentsSuspend) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	a, err := c.SuspendAgent(sh.Ctx, s.ID)
	return sh.agentIs(s.output, a, err)
}

// agentIs prints what has become of an agent.
func (sh *Shell) agentIs(o output, a *agentkey.Agent, err error) error {
	if err != nil {
		return explained(err)
	}
	return sh.print(o, a, func() error {
		_, err := fmt.Fprintf(sh.Stdout, "%s (%s) is %s.\n", clean(a.Name), a.ID, a.Status)
		return err
	})
}

type agentsReactivate struct {
	output
	one
}

// Run lets an agent call again.
func (r *agentsReactivate) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	a, err := c.ReactivateAgent(sh.Ctx, r.ID)
	return sh.agentIs(r.output, a, err)
}

type agentsRetire struct {
	one

	Yes bool `short:"y" help:"Don't ask."`
}

// Run retires an agent.
func (r *agentsRetire) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	a, err := c.GetAgent(sh.Ctx, r.ID, agentkey.GetAgentParams{})
	if err != nil {
		return explained(err)
	}
	if err := sh.confirmed(r.Yes, "Retire "+clean(a.Name)+" forever?"); err != nil {
		return err
	}
	if err := c.RetireAgent(sh.Ctx, r.ID); err != nil {
		return explained(err)
	}
	_, err = fmt.Fprintf(sh.Stdout, "Retired %s (%s).\n", clean(a.Name), a.ID)
	return err
}

type agentsRevoke struct {
	ID   string `arg:"" help:"The agent's id."`
	Tool string `arg:"" help:"The tool's id."`
}

// Run revokes access. Nobody is asked, because it may be urgent.
func (r *agentsRevoke) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	if err := c.RevokeGrant(sh.Ctx, r.ID, r.Tool); err != nil {
		return explained(err)
	}
	_, err = fmt.Fprintln(sh.Stdout, "Revoked.")
	return err
}
