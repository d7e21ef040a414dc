package people

import (
	"cmp"
	"fmt"
	"strconv"

	agentkey "agentkey/clients/go"
)

type suggestions struct {
	List    suggestionsList    `cmd:"" default:"withargs" help:"List the tools that agents suggest, those with the most backers first. This is what agentkey suggestions does alone."`
	Show    suggestionsShow    `cmd:"" help:"Show a suggestion and who backs it."`
	Accept  suggestionsAccept  `cmd:"" help:"Show a suggestion, ask, add the tool, and give access to those who back it."`
	Dismiss suggestionsDismiss `cmd:"" help:"Dismiss a suggestion."`
}

type suggestionsList struct {
	listed

	Status string `enum:"pending,accepted,dismissed,redirected,all" default:"pending" help:"pending, accepted, dismissed, redirected or all."`
}

// Run lists suggestions.
func (l *suggestionsList) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	var query agentkey.ListSuggestionsParams
	if l.Status != "all" {
		query.Status = only[agentkey.SuggestionStatus](l.Status)
	}
	return list(
		sh, l.listed, c, suggestionsPath, query.Values(), []string{"ID", "NAME", "URL", "STATUS", "BACKERS", "LAST ACTIVITY"},
		func(s agentkey.Suggestion) []string {
			return []string{
				s.ID, s.Name, value(s.URL), string(s.Status), strconv.Itoa(s.BackerCount), minute(&s.LastActivityAt),
			}
		},
	)
}

const suggestionsPath = "/api/admin/suggestions"

type suggestionsShow struct {
	output
	one
}

// Run shows a suggestion.
func (s *suggestionsShow) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, s.output, c, s.path(suggestionsPath+"/"), sh.suggestion)
}

func (sh *Shell) suggestion(s agentkey.Suggestion) error {
	if err := sh.facts(
		"suggestion", s.ID, "name", s.Name, "url", value(s.URL), "status", string(s.Status), "since", minute(&s.CreatedAt),
		"decided", minute(s.DecidedAt), "by", by(s.DecidedBy), "dismissed because", value(s.DismissalReason),
	); err != nil {
		return err
	}
	for _, r := range s.Related {
		if err := sh.facts("related", fmt.Sprintf("%s (%s), %d backers", r.Name, r.SuggestionID, r.BackerCount)); err != nil {
			return err
		}
	}
	rows := make([][]string, len(s.Backers))
	for i, b := range s.Backers {
		rows[i] = []string{b.AgentID, b.AgentName, b.Name, value(b.URL), b.LatestReason}
	}
	_, _ = fmt.Fprintln(sh.Stdout) // the table says what fails
	return sh.table([]string{"BACKER ID", "BACKER", "WANTS", "URL", "REASON"}, rows)
}

type suggestionsAccept struct {
	output
	one
	newTool

	Name    string `help:"The tool's name. Without it, that of the suggestion."`
	NoGrant bool   `help:"Add the tool alone: those who back it get no access."`
	Yes     bool   `short:"y" help:"Don't ask. What changed while the command ran isn't accepted."`
}

// Run accepts a suggestion. Where it changed since it was shown, it shows it again.
func (a *suggestionsAccept) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	var wanted *agentkey.NewTool // a credential is asked for once
	for {
		var s agentkey.Suggestion
		etag, err := showing(sh, output{}, c, a.path(suggestionsPath+"/"), func(read agentkey.Suggestion) error {
			if s = read; a.JSON {
				return nil
			}
			return sh.suggestion(read)
		})
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Add the tool, and give access to the %d agents that back it?", s.BackerCount)
		if a.NoGrant {
			question = "Add the tool?"
		}
		if err := sh.confirmed(a.Yes, question); err != nil {
			return err
		}
		if wanted == nil {
			a.URL = cmp.Or(a.URL, value(s.URL))
			described, err := a.described(sh, cmp.Or(a.Name, s.Name))
			if err != nil {
				return err
			}
			wanted = &described
		}
		done, err := c.AcceptSuggestion(
			sh.Ctx, a.ID, agentkey.SuggestionAcceptance{Tool: *wanted, GrantBackers: new(!a.NoGrant)},
			agentkey.WithIfMatch(etag),
		)
		if stale(err) && !a.Yes {
			sh.say("It has changed since you read it, so nothing was done. This is what it is now:")
			continue
		}
		if err != nil {
			return explained(err)
		}
		return sh.print(a.output, done, func() error { return sh.accepted(s, done) })
	}
}

func (sh *Shell) accepted(s agentkey.Suggestion, done *agentkey.AcceptedSuggestion) error {
	if err := sh.tool(done.Tool); err != nil || len(done.Backers) == 0 {
		return err
	}
	names := map[string]string{}
	for _, b := range s.Backers {
		names[b.AgentID] = b.AgentName
	}
	rows := make([][]string, len(done.Backers))
	for i, b := range done.Backers {
		rows[i] = []string{b.AgentID, names[b.AgentID], string(b.Outcome), value(b.Reason)}
	}
	_, _ = fmt.Fprintln(sh.Stdout) // the table says what fails
	return sh.table([]string{"BACKER ID", "BACKER", "ACCESS", "REASON"}, rows)
}

type suggestionsDismiss struct {
	output
	one

	Reason string `help:"Why, which the agents read."`
}

// Run dismisses a suggestion.
func (d *suggestionsDismiss) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	s, err := c.DismissSuggestion(sh.Ctx, d.ID, agentkey.SuggestionDismissal{Reason: given[string](d.Reason)})
	if err != nil {
		return explained(err)
	}
	return sh.print(d.output, s, func() error {
		_, err := fmt.Fprintf(sh.Stdout, "The suggestion %s is %s.\n", clean(s.Name), s.Status)
		return err
	})
}
