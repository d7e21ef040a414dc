package commands

import (
	"context"
	"errors"
	"time"

	"agentkey/commands/loop"
	"agentkey/commands/names"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/guide"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// GuideResult is a command on the notes on one tool carried out.
type GuideResult = loop.Result[guide.State, guide.Event]

// Notes carries out what agents tell of tools they use, and what a human makes of it.
type Notes struct {
	Guides *GuideLoop
	Tools  *Tools
	Grants *Grants
}

// Noted is a note as the agent that told it, or the human who decided about it, is told of it.
type Noted struct {
	GuideResult
	ID, ToolID string
	Existing   bool // somebody had told it before
}

// Note is the note as the command left it.
func (n Noted) Note() guide.Note { return n.State.Notes[n.ID] }

// Suggest tells what an agent with approved access has learned about a tool, or backs the note that says the same.
// Refusals: access_not_approved, suggestion_dismissed.
func (n *Notes) Suggest(ctx context.Context, m loop.Meta, agentID, toolID, learned, why string) (Noted, error) {
	offered, err := n.Tools.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return Noted{}, err
	}
	tool, found := offered.State.Tools[toolID]
	if !found {
		return Noted{}, domain.NotFound("tool")
	}
	caller, err := n.Grants.Agents.Fresh(ctx, agentID)
	if err != nil {
		return Noted{}, err
	}
	if err := agent.Uses(caller.State, toolID, loop.Later(n.Tools.Clock(), caller.At)); err != nil {
		return Noted{}, err
	}
	c := guide.Suggest{
		NoteID: loop.DerivedID(m.CommandID, "note").String(), ToolID: toolID, AgentID: agentID, Learned: learned, FoldedText: names.Fold(learned), Why: why,
		GuideVersion: tool.InstructionsVersion,
	}
	if err := n.Grants.open(ctx, m, c.NoteID, agentID, toolID); err != nil {
		return Noted{}, err
	}
	done, err := n.Guides.Do(ctx, toolID, m, func(guide.State, time.Time) (guide.Command, error) { return c, nil })
	if err != nil {
		return Noted{}, err
	}
	id, told := done.State.Told(c.FoldedText)
	if !told {
		return Noted{}, domain.NotFound("note") // it was decided between its first call and this repeat
	}
	return Noted{GuideResult: done, ID: id, ToolID: toolID, Existing: id != c.NoteID}, nil
}

// Accept revises the usage guide and marks the note as taken up. It does not matter how often the guide was revised
// since the note was made: instructions is the whole new guide. Of two who accept one note at once the later wins, and
// both versions are kept.
func (n *Notes) Accept(ctx context.Context, m loop.Meta, noteID, instructions string) (Noted, error) {
	toolID, err := n.find(ctx, m, noteID)
	if err != nil {
		return Noted{}, err
	}
	revised, err := n.Tools.Update(ctx, m, catalog.UpdateTool{ToolID: toolID, Instructions: &instructions, NoteID: noteID})
	if err != nil {
		return Noted{}, err
	}
	return n.Take(ctx, m, toolID, noteID, revised.State.Tools[toolID].InstructionsVersion)
}

// Take marks a note as taken up by a version of the usage guide.
func (n *Notes) Take(ctx context.Context, m loop.Meta, toolID, noteID string, version int) (Noted, error) {
	done, err := n.Guides.Do(ctx, toolID, m, func(guide.State, time.Time) (guide.Command, error) {
		return guide.Accept{NoteID: noteID, ToolID: toolID, GuideVersion: version}, nil
	})
	return Noted{GuideResult: done, ID: noteID, ToolID: toolID}, err
}

// Dismiss says no, with a reason that the next agent who tells the same is shown.
func (n *Notes) Dismiss(ctx context.Context, m loop.Meta, noteID, reason string) (Noted, error) {
	toolID, err := n.find(ctx, m, noteID)
	if err != nil {
		return Noted{}, err
	}
	done, err := n.Guides.Do(ctx, toolID, m, func(guide.State, time.Time) (guide.Command, error) {
		return guide.Dismiss{NoteID: noteID, ToolID: toolID, Reason: reason}, nil
	})
	return Noted{GuideResult: done, ID: noteID, ToolID: toolID}, err
}

// find returns the tool of a note that a human may decide about.
func (n *Notes) find(ctx context.Context, m loop.Meta, noteID string) (string, error) {
	opened, err := n.Grants.opened(ctx, m, noteID)
	if errors.Is(err, errNotOpened) {
		return "", domain.NotFound("note")
	}
	if err != nil {
		return "", err
	}
	offered, err := n.Tools.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return "", err
	}
	if _, found := offered.State.Tools[opened.ToolID]; !found {
		return "", domain.NotFound("note") // it went with its tool
	}
	notes, err := n.Guides.Fresh(ctx, opened.ToolID)
	if err != nil {
		return "", err
	}
	if _, err := notes.State.Waiting(noteID); err != nil && m.Since == 0 {
		return "", err
	}
	return opened.ToolID, nil
}

var errNotOpened = errors.New("nothing of this id was ever opened in this organization")

// opened returns what was asked for, or noted, under an id, or errNotOpened.
func (g *Grants) opened(ctx context.Context, m loop.Meta, id string) (codec.RequestOpened, error) {
	events, err := g.Log.ReadForward(ctx, codec.Requests.Stream(id), 0, 1)
	if errors.Is(err, eventstore.ErrStreamNotFound) {
		return codec.RequestOpened{}, errNotOpened
	}
	if err != nil {
		return codec.RequestOpened{}, loop.Refusal(err)
	}
	opened, ok := events[0].Event.(codec.RequestOpened)
	if !ok || events[0].Signed.Organization != m.Organization {
		return codec.RequestOpened{}, errNotOpened
	}
	return opened, nil
}
