package catalog

import (
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// Cooldown is how long a dismissed suggestion can't be made again.
const Cooldown = 24 * time.Hour

// Outcome is what an accepted suggestion decides for one of its backers.
type Outcome string

// The outcomes: access at once, a request that waits for a human, or nothing.
const (
	Granted Outcome = "granted"
	Pending Outcome = "pending"
	Skipped Outcome = "skipped"
)

// Decision is what becomes of one backer. It is carried out on the agent's own stream, which may
// have moved by then.
type Decision struct {
	AgentID     string  `json:"agent_id"`
	Outcome     Outcome `json:"outcome"`
	Why         string  `json:"why,omitempty"`         // it is not granted
	Reason      string  `json:"reason,omitempty"`      // that the agent gave; becomes that of its grant
	Suspensions int     `json:"suspensions,omitempty"` // of the agent until this was decided: a later one ends it
}

// The events about suggestions. A suggestion's name and site are those of the agent that made it;
// what the others call it stays with them. Folded name and site arrive on the command, as with
// tools.
type (
	// SuggestionMade is an agent missing a tool that nobody has suggested yet.
	SuggestionMade struct {
		SuggestionID string `json:"suggestion_id"`
		Name         string `json:"name"`
		FoldedName   string `json:"folded_name"`
		URL          string `json:"url,omitempty"`
		Site         string `json:"site,omitempty"`
		AgentID      string `json:"agent_id"`
		Reason       string `json:"reason"`
	}
	// SuggestionBacked is an agent missing it too, or saying something else than before. Name, URL and
	// Reason are all that this agent says from now on. With Reopens a suggestion that was dismissed
	// waits for a human again.
	SuggestionBacked struct {
		SuggestionID string `json:"suggestion_id"`
		AgentID      string `json:"agent_id"`
		Name         string `json:"name"`
		URL          string `json:"url,omitempty"`
		Reason       string `json:"reason"`
		Reopens      bool   `json:"reopens,omitempty"`
	}
	// SuggestionDismissed is a human's no, for now. DecidedOn, here and below, is the digest of what
	// was suggested.
	SuggestionDismissed struct {
		SuggestionID string `json:"suggestion_id"`
		Reason       string `json:"reason,omitempty"`
		DecidedOn    string `json:"decided_on,omitempty"`
	}
	// SuggestionAccepted is a human's yes: the tool was added in the same append, and this is what it
	// means for each backer.
	SuggestionAccepted struct {
		SuggestionID string     `json:"suggestion_id"`
		ToolID       string     `json:"tool_id"`
		Decisions    []Decision `json:"decisions"`
		DecidedOn    string     `json:"decided_on,omitempty"`
	}
	// SuggestionRedirected ends a suggestion that a tool of the catalog answers: one that was added or
	// renamed.
	SuggestionRedirected struct {
		SuggestionID string     `json:"suggestion_id"`
		ToolID       string     `json:"tool_id"`
		Decisions    []Decision `json:"decisions"`
	}
	// SuggestionCooldownRefused is an agent suggesting again what was dismissed a moment ago; once for
	// each agent.
	SuggestionCooldownRefused struct {
		SuggestionID string `json:"suggestion_id"`
		AgentID      string `json:"agent_id"`
	}
)

func (SuggestionMade) catalogEvent()            {}
func (SuggestionBacked) catalogEvent()          {}
func (SuggestionDismissed) catalogEvent()       {}
func (SuggestionAccepted) catalogEvent()        {}
func (SuggestionRedirected) catalogEvent()      {}
func (SuggestionCooldownRefused) catalogEvent() {}

// SuggestionStatus is where a suggestion stands.
type SuggestionStatus string

// The states of a suggestion.
const (
	StatusPending    SuggestionStatus = "pending"
	StatusDismissed  SuggestionStatus = "dismissed"
	StatusAccepted   SuggestionStatus = "accepted"
	StatusRedirected SuggestionStatus = "redirected"
)

// Backer is an agent that wants the tool, in its own latest words.
type Backer struct {
	AgentID string    `json:"agent_id"`
	Name    string    `json:"name"`
	URL     string    `json:"url,omitempty"`
	Reason  string    `json:"reason"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// Suggestion is the newest state of a suggestion. Of one that was accepted or redirected only
// status and tool are kept.
type Suggestion struct {
	Name       string           `json:"name,omitempty"`
	FoldedName string           `json:"folded_name,omitempty"`
	URL        string           `json:"url,omitempty"`
	Site       string           `json:"site,omitempty"`
	Status     SuggestionStatus `json:"status"`
	Backers    []Backer         `json:"backers,omitempty"` // the first is who made it
	DecidedAt  time.Time        `json:"decided_at,omitzero"`
	DecidedBy  *domain.Actor    `json:"decided_by,omitempty"`
	Dismissal  string           `json:"dismissal,omitempty"` // its reason
	Refused    []string         `json:"refused,omitempty"`   // agents that suggested it again while it cools down
	ToolID     string           `json:"tool_id,omitempty"`
}

// MadeAt is when the first agent suggested it.
func (s Suggestion) MadeAt() time.Time {
	if len(s.Backers) == 0 {
		return time.Time{}
	}
	return s.Backers[0].FirstAt
}

// RetryAt is when a dismissed suggestion may be made again.
func (s Suggestion) RetryAt() time.Time { return s.DecidedAt.Add(Cooldown) }

// backer returns the place of an agent among the backers, or -1.
func (s Suggestion) backer(agentID string) int {
	return slices.IndexFunc(s.Backers, func(b Backer) bool { return b.AgentID == agentID })
}

func (s *folding) evolveSuggestion(event Event, f domain.Fact[Event]) {
	switch e := event.(type) {
	case SuggestionMade:
		s.suggestion(e.SuggestionID, func(x *Suggestion) {
			*x = Suggestion{
				Name: e.Name, FoldedName: e.FoldedName, URL: e.URL, Site: e.Site, Status: StatusPending,
				Backers: []Backer{
					{AgentID: e.AgentID, Name: e.Name, URL: e.URL, Reason: e.Reason, FirstAt: f.At, LastAt: f.At},
				},
			}
		})
	case SuggestionBacked:
		s.suggestion(e.SuggestionID, func(x *Suggestion) {
			x.Status, x.DecidedAt, x.DecidedBy, x.Dismissal, x.Refused = StatusPending, time.Time{}, nil, "", nil
			b := Backer{AgentID: e.AgentID, Name: e.Name, URL: e.URL, Reason: e.Reason, FirstAt: f.At, LastAt: f.At}
			x.Backers = slices.Clone(x.Backers)
			if i := x.backer(e.AgentID); i >= 0 {
				b.FirstAt = x.Backers[i].FirstAt
				x.Backers[i] = b
				return
			}
			x.Backers = append(x.Backers, b)
		})
	case SuggestionDismissed:
		s.suggestion(e.SuggestionID, func(x *Suggestion) {
			x.Status, x.DecidedAt, x.DecidedBy, x.Dismissal, x.Refused = StatusDismissed, f.At, &f.By, e.Reason, nil
		})
	case SuggestionAccepted:
		s.suggestion(e.SuggestionID, func(x *Suggestion) {
			*x = Suggestion{Status: StatusAccepted, DecidedAt: f.At, DecidedBy: &f.By, ToolID: e.ToolID}
		})
	case SuggestionRedirected:
		s.suggestion(e.SuggestionID, func(x *Suggestion) {
			*x = Suggestion{Status: StatusRedirected, DecidedAt: f.At, DecidedBy: &f.By, ToolID: e.ToolID}
		})
	case SuggestionCooldownRefused:
		s.suggestion(
			e.SuggestionID, func(x *Suggestion) { x.Refused = append(slices.Clone(x.Refused), e.AgentID) },
		)
	case ToolAdded, ToolUpdated, ToolCredentialRotated, ToolInstructionsRevised, ToolRemoved, ToolFrozen,
		ToolUnfrozen, ChangePlanned, ChangeCompleted: // the caller's
	}
}

// suggestion changes one suggestion.
func (s *folding) suggestion(id string, change func(*Suggestion)) {
	if !s.ownSuggestions {
		if s.Suggestions = maps.Clone(s.Suggestions); s.Suggestions == nil {
			s.Suggestions = map[string]Suggestion{}
		}
		s.ownSuggestions = true
	}
	x := s.Suggestions[id]
	change(&x)
	s.Suggestions[id] = x
}
