package catalog

import (
	"slices"

	"agentkey/domain"
)

// The bounds of the event that answers one suggestion.
const (
	maxReasons = 600_000 // bytes of all reasons in JSON; beyond it each is cut
	cutReason  = 100     // code points
)

func accept(s State, c AcceptSuggestion) ([]Event, error) {
	if _, added := s.Tools[c.Tool.ToolID]; added && s.Suggestions[c.SuggestionID].ToolID == c.Tool.ToolID {
		return nil, nil
	}
	named := append([]string{c.SuggestionID}, c.Also...)
	for i, id := range named {
		if err := s.waiting(id); err != nil {
			return nil, err
		}
		if slices.Contains(named[:i], id) {
			return nil, domain.Invalid("also", "it names a suggestion twice")
		}
	}
	digest, related := s.Digest(c.SuggestionID), s.Related(c.SuggestionID)
	if c.GrantBackers && c.Seen == nil {
		return nil, unconditional(c.SuggestionID)
	}
	if err := c.Seen.Covers(digest); err != nil {
		return nil, err
	}
	if id, taken := s.Named(c.Tool.FoldedName); taken && !s.Tools[id].product().is(c.Tool.product()) {
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "tool_exists",
			Detail: "A tool of another site, " + domain.Verbatim(s.Tools[id].Site) + ", has this name, and names are unique.",
			Hint: "Send the same {acceptSuggestion} with another tool.name, such as " +
				"“" + domain.Verbatim(c.Tool.Name+" ("+c.Tool.Site+")") + "”.",
			Next:  []domain.Next{{Op: "acceptSuggestion", IDs: []string{c.SuggestionID}}},
			Extra: map[string]any{"tool_id": id, "tool_name": s.Tools[id].Name},
		}
	}
	events, err := offer(s, c.Tool)
	if err != nil {
		return nil, err
	}
	var redirected []string
	for _, id := range s.answerable(c.Tool.product()) {
		if !slices.Contains(named, id) {
			redirected = append(redirected, id)
		}
	}
	a := s.answering(c.Tool.Standings)
	a.grant, a.mode, a.rules = c.GrantBackers, c.Tool.Mode, c.Tool.Approval
	var accepted []Event
	for i, id := range named { // before the others, so that a backer of several gets what the human said
		a.unseen = i > 0 && !slices.Contains(related, id)
		on := digest
		if i > 0 {
			on = s.Digest(id)
		}
		accepted = append(
			accepted,
			SuggestionAccepted{
				SuggestionID: id, ToolID: c.Tool.ToolID, Decisions: a.decide(id, c.Tool.ToolID), DecidedOn: on,
			},
		)
	}
	a.grant, a.unseen = false, false
	for _, id := range redirected {
		events = append(
			events,
			SuggestionRedirected{SuggestionID: id, ToolID: c.Tool.ToolID, Decisions: a.decide(id, c.Tool.ToolID)},
		)
	}
	if err := a.needed(c.Tool.ToolID); err != nil {
		return nil, err
	}
	return append(events, accepted...), nil
}

// unconditional is the refusal of access for backers that the human may not have seen.
func unconditional(id string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnconditional, Code: "precondition_required",
		Detail: "Access for all backers needs to say which backers were seen.",
		Hint: "Read the suggestion with {getSuggestion} and send its {tag} in {condition}, or send grant_backers: " +
			"false, and every backer gets a pending request.",
		Next: []domain.Next{{Op: "getSuggestion", IDs: []string{id}}},
	}
}

// answered ends every pending suggestion of the product that a tool is, with requests of their
// backers.
func (s State) answered(toolID string, p product, standings map[string]Standing) ([]Event, error) {
	ids := s.answerable(p)
	a := s.answering(standings)
	var events []Event
	for _, id := range ids {
		events = append(events, SuggestionRedirected{SuggestionID: id, ToolID: toolID, Decisions: a.decide(id, toolID)})
	}
	if err := a.needed(toolID); err != nil {
		return nil, err
	}
	return events, nil
}

// answering is one answer to several suggestions: what becomes of each of their backers, once for
// each agent and tool.
type answering struct {
	state     State
	grant     bool // access at once, where the mode allows it
	mode      Mode
	rules     domain.ApprovalRules
	unseen    bool // the human was not shown these backers
	standings map[string]Standing
	decided   map[got]bool
	missing   []string
}

type got struct{ agentID, toolID string }

func (s State) answering(standings map[string]Standing) *answering {
	return &answering{state: s, mode: Shared, standings: standings, decided: map[got]bool{}}
}

// decide says what becomes of each backer of a suggestion that the answer did not decide about yet.
func (a *answering) decide(id, toolID string) []Decision {
	decided := []Decision{}
	backers := a.state.Suggestions[id].Backers
	shorten := tooLong(backers)
	for _, b := range backers {
		if a.decided[got{b.AgentID, toolID}] {
			continue
		}
		a.decided[got{b.AgentID, toolID}] = true
		standing, known := a.standings[b.AgentID]
		if !known {
			a.missing = append(a.missing, b.AgentID)
			continue
		}
		d := Decision{AgentID: b.AgentID, Outcome: Pending, Reason: b.Reason, Suspensions: standing.Suspensions}
		if runes := []rune(b.Reason); shorten && len(runes) > cutReason {
			d.Reason = string(runes[:cutReason-1]) + "…"
		}
		switch {
		case standing.Why != "":
			d.Outcome, d.Why, d.Reason = Skipped, standing.Why, ""
		case a.grant && a.unseen:
			d.Why = "it was not shown with the suggestion that was accepted"
		case a.grant && a.mode == PerAgent:
			d.Why = "each agent needs a credential of its own for this tool"
		case a.grant && a.rules != (domain.ApprovalRules{}):
			d.Why = "the tool has rules of approval, so each request is decided by itself"
		case a.grant:
			d.Outcome = Granted
		}
		decided = append(decided, d)
	}
	return decided
}

// tooLong reports whether the reasons of all backers would make one event too large.
func tooLong(backers []Backer) bool {
	size := 0
	for _, b := range backers {
		for _, r := range b.Reason {
			switch r {
			case '<', '>', '&', '\u2028', '\u2029':
				size += len(`\u003c`) // as encoding/json writes it
			case '"', '\\', '\n', '\t':
				size += len(`\n`)
			default:
				size += len(string(r))
			}
		}
	}
	return size > maxReasons
}

// needed is the error that asks for the standings that were missing, or nil.
func (a *answering) needed(toolID string) error {
	if len(a.missing) == 0 {
		return nil
	}
	return &StandingsNeededError{AgentIDs: a.missing, ToolID: toolID}
}
