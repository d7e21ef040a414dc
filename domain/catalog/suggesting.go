package catalog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// The bounds of what agents can pile up.
const (
	MaxPendingSuggestions = 500
	MaxBackers            = 500     // of one suggestion
	maxReasons            = 600_000 // bytes of all reasons in one event; beyond it each is cut
	cutReason             = 100     // code points
)

// Standing is what a decision about a backer needs to know of the agent: read from the agent's stream.
type Standing struct {
	Why         string // nothing can be given to it; "" if something can
	Suspensions int    // of the agent so far
}

// StandingsNeededError says that a decision concerns agents whose standing did not come with the command.
type StandingsNeededError struct {
	AgentIDs []string
	ToolID   string // that they would get
}

// Error implements error.
func (e *StandingsNeededError) Error() string {
	return fmt.Sprintf("the standing of %d agents is needed", len(e.AgentIDs))
}

// The commands about suggestions.
type (
	// Suggest is an agent missing a tool. SuggestionID is the one it gets if nobody suggested it before.
	Suggest struct {
		At                          time.Time
		SuggestionID                string
		AgentID                     string
		Name, FoldedName, URL, Site string
		Reason                      string
	}
	// AcceptSuggestion adds the tool and decides for every backer. Without GrantBackers they get pending requests, as
	// they do where each agent needs a credential of its own.
	AcceptSuggestion struct {
		SuggestionID string
		Tool         AddTool
		GrantBackers bool
	}
	// DismissSuggestion says no, for now.
	DismissSuggestion struct{ SuggestionID, Reason string }
)

func (Suggest) catalogCommand()           {}
func (AcceptSuggestion) catalogCommand()  {}
func (DismissSuggestion) catalogCommand() {}

func suggest(s State, c Suggest) ([]Event, error) {
	if tool, offered := s.Offered(c.FoldedName, c.Site); offered {
		return nil, s.exists(tool)
	}
	id, known := s.Suggested(c.FoldedName, c.Site)
	if !known {
		if s.pending() >= MaxPendingSuggestions {
			return nil, domain.Invalid("name", fmt.Sprintf("%d suggestions wait for a human already", MaxPendingSuggestions))
		}
		return []Event{SuggestionMade{
			SuggestionID: c.SuggestionID, Name: c.Name, FoldedName: c.FoldedName, URL: c.URL, Site: c.Site, AgentID: c.AgentID, Reason: c.Reason,
		}}, nil
	}
	x := s.Suggestions[id]
	if tool, offered := s.Offered(x.FoldedName, x.Site); offered {
		return nil, s.exists(tool) // it was added while the suggestion was dismissed
	}
	return back(x, id, c)
}

// exists tells an agent which tool it misses no longer.
func (s State) exists(id string) error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "tool_exists", Detail: "The catalog already has this tool.",
		Hint:  "Ask for it with {requestTool}.",
		Next:  []domain.Next{{Op: "requestTool", IDs: []string{id}}},
		Extra: map[string]string{"tool_id": id, "tool_name": s.Tools[id].Name},
	}
}

func back(x Suggestion, id string, c Suggest) ([]Event, error) {
	if x.Status == SuggestionDismissal && c.At.Before(x.RetryAt()) {
		if slices.Contains(x.Refused, c.AgentID) {
			return nil, CoolingDown(x, id, c.At)
		}
		return []Event{SuggestionCooldownRefused{SuggestionID: id, AgentID: c.AgentID}}, nil
	}
	backed := SuggestionBacked{SuggestionID: id, AgentID: c.AgentID, Reason: c.Reason, Reopens: x.Status == SuggestionDismissal}
	if x.URL == "" && c.URL != "" {
		backed.URL, backed.Site = c.URL, c.Site
	}
	i := x.backer(c.AgentID)
	switch {
	case i < 0 && len(x.Backers) >= MaxBackers:
		return nil, domain.Invalid("name", fmt.Sprintf("%d agents back this suggestion already", MaxBackers))
	case i >= 0 && x.Backers[i].Reason == c.Reason && backed.URL == "" && x.Status == SuggestionPending:
		return nil, nil
	}
	return []Event{backed}, nil
}

// CoolingDown is the refusal of a suggestion that was dismissed a moment ago.
func CoolingDown(x Suggestion, id string, at time.Time) *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "suggestion_cooling_down", Detail: "A human has dismissed this suggestion; it can be made again later.",
		Hint:       "Do without the tool for now, and send the same {suggestTool} after retry_after if you still miss it.",
		Next:       []domain.Next{{Op: "suggestTool"}},
		RetryAfter: x.RetryAt().Sub(at),
		Extra:      map[string]string{"suggestion_id": id, "retry_after": x.RetryAt().UTC().Format(time.RFC3339Nano)},
	}
}

func (s State) pending() int {
	n := 0
	for _, x := range s.Suggestions {
		if x.Status == SuggestionPending {
			n++
		}
	}
	return n
}

// waiting returns a suggestion that a human may decide about.
func (s State) waiting(id string) (Suggestion, error) {
	x, found := s.Suggestions[id]
	switch {
	case !found:
		return x, domain.NotFound("suggestion")
	case x.Status != SuggestionPending:
		return x, &domain.Error{
			Kind: domain.KindConflict, Code: "already_decided", Detail: "This suggestion is no longer pending.",
			Hint: "See how it ended with {listSuggestions}.", Next: []domain.Next{{Op: "listSuggestions"}},
		}
	}
	return x, nil
}

func accept(s State, c AcceptSuggestion) ([]Event, error) {
	if _, added := s.Tools[c.Tool.ToolID]; added && s.Suggestions[c.SuggestionID].ToolID == c.Tool.ToolID {
		return nil, nil
	}
	x, err := s.waiting(c.SuggestionID)
	if err != nil {
		return nil, err
	}
	events, err := offer(s, c.Tool)
	if err != nil {
		return nil, err
	}
	decided, missing := decisions(x, c.GrantBackers, c.Tool.Mode, c.Tool.Standings)
	redirected, more := s.redirect(c.Tool.ToolID, c.Tool.FoldedName, c.Tool.Site, c.SuggestionID, c.Tool.Standings)
	if missing = append(missing, more...); len(missing) > 0 {
		return nil, &StandingsNeededError{AgentIDs: missing, ToolID: c.Tool.ToolID}
	}
	events = append(events, redirected...)
	return append(events, SuggestionAccepted{SuggestionID: c.SuggestionID, ToolID: c.Tool.ToolID, Decisions: decided}), nil
}

// answered ends every pending suggestion that a tool of this name and site answers, with requests of their backers.
func (s State) answered(toolID, folded, site string, standings map[string]Standing) ([]Event, error) {
	events, missing := s.redirect(toolID, folded, site, "", standings)
	if len(missing) > 0 {
		return nil, &StandingsNeededError{AgentIDs: missing, ToolID: toolID}
	}
	return events, nil
}

func (s State) redirect(toolID, folded, site, but string, standings map[string]Standing) (events []Event, missing []string) {
	for _, id := range s.answerable(folded, site) {
		if id == but {
			continue
		}
		decided, more := decisions(s.Suggestions[id], false, Shared, standings)
		missing = append(missing, more...)
		events = append(events, SuggestionRedirected{SuggestionID: id, ToolID: toolID, Decisions: decided})
	}
	return events, missing
}

// answerable lists the pending suggestions that a tool of this name and site answers.
func (s State) answerable(folded, site string) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.Suggestions)) {
		if x := s.Suggestions[id]; x.Status == SuggestionPending && (x.FoldedName == folded || site != "" && x.Site == site) {
			ids = append(ids, id)
		}
	}
	return ids
}

// decisions says what becomes of each backer, or whose standing is missing.
func decisions(x Suggestion, grant bool, mode Mode, standings map[string]Standing) (decided []Decision, missing []string) {
	size := 0
	for _, b := range x.Backers {
		size += len(b.Reason)
	}
	decided = make([]Decision, 0, len(x.Backers))
	for _, b := range x.Backers {
		standing, known := standings[b.AgentID]
		if !known {
			missing = append(missing, b.AgentID)
			continue
		}
		d := Decision{AgentID: b.AgentID, Outcome: Pending, Reason: b.Reason, Suspensions: standing.Suspensions}
		if runes := []rune(b.Reason); size > maxReasons && len(runes) > cutReason {
			d.Reason = string(runes[:cutReason-1]) + "…"
		}
		switch {
		case standing.Why != "":
			d.Outcome, d.Why, d.Reason = Skipped, standing.Why, ""
		case grant && mode == PerAgent:
			d.Why = "each agent needs a credential of its own for this tool"
		case grant:
			d.Outcome = Granted
		}
		decided = append(decided, d)
	}
	return decided, missing
}
