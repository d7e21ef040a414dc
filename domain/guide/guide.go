// Package guide decides about the notes that agents leave on the usage guide of one tool: what they
// learned and why it matters, who backs it, and what a human made of it. The guide itself is the
// catalog's; it never changes here.
package guide

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"agentkey/domain"
)

// The bounds of what agents can pile up on one tool.
const (
	MaxPending = 200
	MaxOfOne   = 20  // pending, and made by one agent
	MaxBackers = 500 // of one note
)

// Event is what happened to the notes on one tool. The structs are the wire format of the stored
// events.
//
//sumtype:decl
type Event interface{ guideEvent() }

// The events of a guide's stream.
type (
	// NoteMade is something new that an agent learned. FoldedText arrives on the command.
	NoteMade struct {
		NoteID       string `json:"note_id"`
		ToolID       string `json:"tool_id"`
		AgentID      string `json:"agent_id"`
		Learned      string `json:"learned"`
		FoldedText   string `json:"folded_text"`
		Why          string `json:"why"`
		GuideVersion int    `json:"guide_version"` // that the agent had before it
	}
	// NoteBacked is another agent having learned the same, or the same one giving another why.
	NoteBacked struct {
		NoteID  string `json:"note_id"`
		ToolID  string `json:"tool_id"`
		AgentID string `json:"agent_id"`
		Why     string `json:"why"`
	}
	// NoteAccepted says in which version of the guide a human took the note up. DecidedOn, here and
	// below, is the digest of the note as it was then.
	NoteAccepted struct {
		NoteID       string `json:"note_id"`
		ToolID       string `json:"tool_id"`
		GuideVersion int    `json:"guide_version"`
		DecidedOn    string `json:"decided_on,omitempty"`
	}
	// NoteDismissed is a human's no, with a reason that the next agent is shown.
	NoteDismissed struct {
		NoteID    string `json:"note_id"`
		ToolID    string `json:"tool_id"`
		Reason    string `json:"reason"`
		DecidedOn string `json:"decided_on,omitempty"`
	}
)

func (NoteMade) guideEvent()      {}
func (NoteBacked) guideEvent()    {}
func (NoteAccepted) guideEvent()  {}
func (NoteDismissed) guideEvent() {}

// Command is something to decide on a guide's stream.
//
//sumtype:decl
type Command interface{ guideCommand() }

// The commands of a guide.
type (
	// Suggest is a note by an agent with access. NoteID is used if no other agent has suggested the
	// same note.
	Suggest struct {
		NoteID, ToolID, AgentID  string
		Learned, FoldedText, Why string
		GuideVersion             int
	}
	// Accept follows the revision of the guide that took the note up, so it is never refused: that has
	// happened.
	Accept struct {
		NoteID, ToolID string
		GuideVersion   int
		DecidedOn      string // the digest of the note
	}
	// Dismiss says no.
	Dismiss struct {
		NoteID, ToolID, Reason string
		Seen                   domain.Seen
	}
)

func (Suggest) guideCommand() {}
func (Accept) guideCommand()  {}
func (Dismiss) guideCommand() {}

// Status is where a note stands.
type Status string

// The states of a note.
const (
	Pending   Status = "pending"
	Accepted  Status = "accepted"
	Dismissed Status = "dismissed"
)

// Backer is an agent that learned it.
type Backer struct {
	AgentID string    `json:"agent_id"`
	Why     string    `json:"why"` // the latest
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// Note is the newest state of one note.
type Note struct {
	Learned         string   `json:"learned,omitempty"`
	FoldedText      string   `json:"folded_text,omitempty"`
	Status          Status   `json:"status"`
	Backers         []Backer `json:"backers,omitempty"` // the first is who made it
	DismissalReason string   `json:"dismissal_reason,omitempty"`
	// that its agent had; of an accepted one: that took it up
	GuideVersion int           `json:"guide_version,omitempty"`
	DecidedAt    time.Time     `json:"decided_at,omitzero"`
	DecidedBy    *domain.Actor `json:"decided_by,omitempty"`
}

// State is every note on one tool. A State is a value: Evolve never changes what an older one
// holds.
type State struct {
	Notes map[string]Note `json:"notes,omitempty"`
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case NoteMade:
		return s.with(e.NoteID, func(n *Note) {
			*n = Note{
				Learned: e.Learned, FoldedText: e.FoldedText, Status: Pending, GuideVersion: e.GuideVersion,
				Backers: []Backer{{AgentID: e.AgentID, Why: e.Why, FirstAt: f.At, LastAt: f.At}},
			}
		})
	case NoteBacked:
		return s.with(e.NoteID, func(n *Note) {
			n.Backers = slices.Clone(n.Backers)
			if i := n.backer(e.AgentID); i >= 0 {
				n.Backers[i].Why, n.Backers[i].LastAt = e.Why, f.At
				return
			}
			n.Backers = append(n.Backers, Backer{AgentID: e.AgentID, Why: e.Why, FirstAt: f.At, LastAt: f.At})
		})
	case NoteAccepted:
		return s.with(e.NoteID, func(n *Note) {
			n.Status, n.GuideVersion, n.DecidedAt, n.DecidedBy = Accepted, e.GuideVersion, f.At, &f.By
		})
	case NoteDismissed:
		return s.with(e.NoteID, func(n *Note) {
			n.Status, n.DismissalReason, n.DecidedAt, n.DecidedBy = Dismissed, e.Reason, f.At, &f.By
		})
	}
	return s
}

func (n Note) backer(agentID string) int {
	return slices.IndexFunc(n.Backers, func(b Backer) bool { return b.AgentID == agentID })
}

func (s State) with(id string, change func(*Note)) State {
	notes := maps.Clone(s.Notes)
	if notes == nil {
		notes = map[string]Note{}
	}
	n := notes[id]
	change(&n)
	notes[id] = n
	return State{Notes: notes}
}

// Told returns the id of the pending or dismissed note that says the same, a pending one first.
func (s State) Told(folded string) (string, bool) {
	best := ""
	for _, id := range slices.Sorted(maps.Keys(s.Notes)) {
		if n := s.Notes[id]; n.FoldedText == folded && n.Status != Accepted && (best == "" || n.Status == Pending) {
			best = id
		}
	}
	return best, best != ""
}

// Waiting returns a note that a human may decide about.
func (s State) Waiting(id string) (Note, error) {
	n, found := s.Notes[id]
	switch {
	case !found:
		return n, domain.NotFound("note")
	case n.Status != Pending:
		return n, &domain.Error{
			Kind: domain.KindConflict, Code: "already_decided", Detail: "This note is no longer pending.",
			Hint: "See how it ended with {listNotes}.",
			Next: []domain.Next{{Op: "listNotes"}},
			Extra: map[string]any{"note": domain.Decided{
				ID: id, Status: string(n.Status), By: n.DecidedBy, At: n.DecidedAt,
			}},
		}
	}
	return n, nil
}

// Digest names what a human is shown of a note.
func (s State) Digest(id string) string {
	n := s.Notes[id]
	said := []string{
		"note", id, n.Learned, string(n.Status), fmt.Sprint(n.GuideVersion), n.DismissalReason,
		n.DecidedAt.UTC().Format(time.RFC3339Nano),
	}
	for _, b := range n.Backers {
		said = append(said, b.AgentID, b.Why, b.LastAt.UTC().Format(time.RFC3339Nano))
	}
	return domain.Digest(said...)
}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Suggest:
		return suggest(s, c)
	case Accept:
		if n, found := s.Notes[c.NoteID]; !found || n.Status == Accepted {
			return nil, nil
		}
		return []Event{NoteAccepted(c)}, nil
	case Dismiss:
		if _, err := s.Waiting(c.NoteID); err != nil {
			return nil, err
		}
		digest := s.Digest(c.NoteID)
		if err := c.Seen.Covers(digest); err != nil {
			return nil, err
		}
		return []Event{NoteDismissed{NoteID: c.NoteID, ToolID: c.ToolID, Reason: c.Reason, DecidedOn: digest}}, nil
	}
	return nil, fmt.Errorf("guide: no decision for %T", c)
}

func suggest(s State, c Suggest) ([]Event, error) {
	id, told := s.Told(c.FoldedText)
	if !told {
		all, own := 0, 0
		for _, n := range s.Notes {
			if n.Status != Pending {
				continue
			}
			all++
			if len(n.Backers) > 0 && n.Backers[0].AgentID == c.AgentID {
				own++
			}
		}
		switch {
		case own >= MaxOfOne:
			return nil, domain.TooManyWaiting(
				fmt.Sprintf("%d notes of yours on this tool wait for a human already.", own),
			)
		case all >= MaxPending:
			return nil, domain.TooManyWaiting(fmt.Sprintf("%d notes on this tool wait for a human already.", all))
		}
		return []Event{NoteMade(c)}, nil
	}
	n := s.Notes[id]
	if n.Status == Dismissed {
		return nil, &domain.Error{
			Kind: domain.KindConflict, Code: "suggestion_dismissed", Detail: "A human has dismissed this note.",
			Hint:  "Read dismissal_reason; if you learned more than that, say what is new with {suggestNote}.",
			Next:  []domain.Next{{Op: "suggestNote", IDs: []string{c.ToolID}}},
			Extra: map[string]any{"dismissal_reason": n.DismissalReason},
		}
	}
	i := n.backer(c.AgentID)
	switch {
	case i >= 0 && n.Backers[i].Why == c.Why:
		return nil, nil
	case i < 0 && len(n.Backers) >= MaxBackers:
		return nil, domain.TooManyWaiting(
			fmt.Sprintf("%d agents back this note already, and a human will see it.", MaxBackers),
		)
	}
	return []Event{NoteBacked{NoteID: id, ToolID: c.ToolID, AgentID: c.AgentID, Why: c.Why}}, nil
}
