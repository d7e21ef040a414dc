package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"agentkey/domain"
)

// The bounds of what agents can pile up.
const (
	MaxPendingSuggestions = 500
	MaxSuggestionsOfOne   = 50  // pending, and made by one agent
	MaxBackers            = 500 // of one suggestion
)

// Standing is what a decision about a backer needs to know of the agent: read from the agent's
// stream.
type Standing struct {
	Why         string // nothing can be given to it; "" if something can
	Suspensions int    // of the agent so far
}

// StandingsNeededError says that a decision concerns agents whose standing did not come with the
// command.
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
	// Suggest is an agent missing a tool. SuggestionID is the one it gets if nobody suggested it
	// before.
	Suggest struct {
		At                          time.Time
		SuggestionID                string
		AgentID                     string
		Name, FoldedName, URL, Site string
		Reason                      string
	}
	// AcceptSuggestion adds the tool and decides for every backer of the suggestion, and of those in
	// Also, which a human named too. Without GrantBackers they get pending requests, as they do where
	// each agent needs a credential of its own.
	AcceptSuggestion struct {
		SuggestionID string
		Also         []string
		Seen         domain.Seen // the suggestion with those related to it
		Tool         AddTool
		GrantBackers bool
	}
	// DismissSuggestion says no, for now.
	DismissSuggestion struct {
		SuggestionID, Reason string
		Seen                 domain.Seen
	}
)

func (Suggest) catalogCommand()           {}
func (AcceptSuggestion) catalogCommand()  {}
func (DismissSuggestion) catalogCommand() {}

func suggest(s State, c Suggest) ([]Event, error) {
	if tool, offered := s.offered(product{c.FoldedName, c.Site}); offered {
		return nil, s.exists(tool)
	}
	id, known := s.Suggested(c.FoldedName, c.Site)
	if !known {
		all, own := s.pending(c.AgentID)
		switch {
		case own >= MaxSuggestionsOfOne:
			return nil, domain.TooManyWaiting(
				fmt.Sprintf("%d suggestions that you made wait for a human already.", own),
			)
		case all >= MaxPendingSuggestions:
			return nil, domain.TooManyWaiting(fmt.Sprintf("%d suggestions wait for a human already.", all))
		}
		return []Event{SuggestionMade{
			SuggestionID: c.SuggestionID, Name: c.Name, FoldedName: c.FoldedName, URL: c.URL, Site: c.Site,
			AgentID: c.AgentID, Reason: c.Reason,
		}}, nil
	}
	return back(s.Suggestions[id], id, c)
}

// exists tells an agent which tool it misses no longer.
func (s State) exists(id string) error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "tool_exists", Detail: "The catalog already has this tool.",
		Hint:  "Ask for it with {requestTool}.",
		Next:  []domain.Next{{Op: "requestTool", IDs: []string{id}}},
		Extra: map[string]any{"tool_id": id, "tool_name": s.Tools[id].Name},
	}
}

func back(x Suggestion, id string, c Suggest) ([]Event, error) {
	if x.Status == StatusDismissed && c.At.Before(x.RetryAt()) {
		if slices.Contains(x.Refused, c.AgentID) {
			return nil, CoolingDown(x, id, c.At)
		}
		return []Event{SuggestionCooldownRefused{SuggestionID: id, AgentID: c.AgentID}}, nil
	}
	i := x.backer(c.AgentID)
	if i < 0 && len(x.Backers) >= MaxBackers {
		return nil, domain.TooManyWaiting(
			fmt.Sprintf("%d agents back this suggestion already, and a human will see it.", MaxBackers),
		)
	}
	if i >= 0 {
		b := x.Backers[i]
		c.URL = cmp.Or(c.URL, b.URL) // an address that is left out is not taken back
		if b.Name == c.Name && b.URL == c.URL && b.Reason == c.Reason && x.Status == StatusPending {
			return nil, nil
		}
	}
	return []Event{SuggestionBacked{
		SuggestionID: id, AgentID: c.AgentID, Name: c.Name, URL: c.URL, Reason: c.Reason,
		Reopens: x.Status == StatusDismissed,
	}}, nil
}

// CoolingDown is the refusal of a suggestion that was dismissed a moment ago.
func CoolingDown(x Suggestion, id string, at time.Time) *domain.Error {
	return &domain.Error{
		Kind: domain.KindConflict, Code: "suggestion_cooling_down",
		Detail: "A human has dismissed this suggestion; it can be made again later.",
		Hint: "Do without the tool for now, and send the same {suggestTool} after retry_after if you still " +
			"miss it.",
		Next:       []domain.Next{{Op: "suggestTool"}},
		RetryAfter: x.RetryAt().Sub(at),
		Extra:      map[string]any{"suggestion_id": id, "retry_after": x.RetryAt().UTC().Format(time.RFC3339Nano)},
	}
}

// pending counts the suggestions that wait for a human: all, and those that an agent made.
func (s State) pending(agentID string) (all, own int) {
	for _, x := range s.Suggestions {
		if x.Status != StatusPending {
			continue
		}
		all++
		if len(x.Backers) > 0 && x.Backers[0].AgentID == agentID {
			own++
		}
	}
	return all, own
}

// waiting refuses a decision about what isn't a pending suggestion.
func (s State) waiting(id string) error {
	x, found := s.Suggestions[id]
	switch {
	case !found:
		return domain.NotFound("suggestion")
	case x.Status != StatusPending:
		return &domain.Error{
			Kind: domain.KindConflict, Code: "already_decided", Detail: "This suggestion is no longer pending.",
			Hint: "See how it ended with {listSuggestions}.", Next: []domain.Next{{Op: "listSuggestions"}},
			Extra: map[string]any{"suggestion": domain.Decided{
				ID: id, Status: string(x.Status), By: x.DecidedBy, At: x.DecidedAt,
			}},
		}
	}
	return nil
}
