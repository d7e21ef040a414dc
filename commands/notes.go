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
)

// GuideResult is a command on the notes on one tool carried out.
type GuideResult = loop.Result[guide.State, guide.Event]

// Notes carries out what agents share about tools, and what people decide about it.
type Notes struct {
	Guides *GuideLoop
	Tools  *Tools
	Grants *Grants
}

// NoteResult is a note as its agent, or the person who decided about it, sees it.
type NoteResult struct {
	GuideResult
	ID, ToolID string
	Existing   bool // somebody had told it before
}

// Note is the note as the command left it.
func (n NoteResult) Note() guide.Note { return n.State.Notes[n.ID] }

// Suggest tells what an agent with approved access has learned about a tool, or backs the note that
// says the same. Refusals: access_not_approved, suggestion_dismissed.
func (n *Notes) Suggest(ctx context.Context, m loop.Meta, agentID, toolID, learned, why string) (NoteResult, error) {
	offered, err := n.Tools.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return NoteResult{}, err
	}
	tool, found := offered.State.Tools[toolID]
	if !found {
		return NoteResult{}, domain.NotFound("tool")
	}
	caller, err := n.Grants.Agents.Fresh(ctx, agentID)
	if err != nil {
		return NoteResult{}, err
	}
	if err := agent.Uses(caller.State, toolFacts(toolID, tool), loop.Later(n.Tools.Clock(), caller.At)); err != nil {
		return NoteResult{}, err
	}
	c := guide.Suggest{
		NoteID: loop.DerivedID(m.CommandID, "note").String(), ToolID: toolID, AgentID: agentID, Learned: learned,
		FoldedText: names.Fold(learned), Why: why,
		GuideVersion: tool.InstructionsVersion,
	}
	if err := n.Grants.open(ctx, m, c.NoteID, agentID, toolID); err != nil {
		return NoteResult{}, err
	}
	done, err := n.Guides.Do(ctx, toolID, m, func(guide.State, time.Time) (guide.Command, error) { return c, nil })
	if err != nil {
		return NoteResult{}, err
	}
	id, told := done.State.Told(c.FoldedText)
	if !told {
		return NoteResult{}, domain.NotFound("note") // it was decided between its first call and this repeat
	}
	return NoteResult{GuideResult: done, ID: id, ToolID: toolID, Existing: id != c.NoteID}, nil
}

// Accept revises the usage guide and marks the note as taken up. It does not matter how often the
// guide was revised since the note was made: instructions is the whole new guide. Of two who accept
// one note at once the later wins, and both versions are kept.
func (n *Notes) Accept(ctx context.Context, m loop.Meta, noteID, instructions string) (NoteResult, error) {
	note, err := n.find(ctx, m, noteID)
	if err != nil {
		return NoteResult{}, err
	}
	digest := note.Digest()
	if m.Since == 0 {
		if err := m.Seen.Covers(digest); err != nil {
			return NoteResult{}, err
		}
	}
	revised, err := n.Tools.Update(
		ctx, m, catalog.UpdateTool{ToolID: note.ToolID, Instructions: &instructions, NoteID: noteID, DecidedOn: digest},
	)
	if err != nil {
		return NoteResult{}, err
	}
	return n.Take(ctx, m, note.ToolID, noteID, revised.State.Tools[note.ToolID].InstructionsVersion, digest)
}

// Take marks a note, as its digest names it, as taken up by a version of the usage guide.
func (n *Notes) Take(
	ctx context.Context, m loop.Meta, toolID, noteID string, version int, digest string,
) (NoteResult, error) {
	done, err := n.Guides.Do(ctx, toolID, m, func(guide.State, time.Time) (guide.Command, error) {
		return guide.Accept{NoteID: noteID, ToolID: toolID, GuideVersion: version, DecidedOn: digest}, nil
	})
	return NoteResult{GuideResult: done, ID: noteID, ToolID: toolID}, err
}

// Dismiss says no, with a reason that the next agent who tells the same is shown.
func (n *Notes) Dismiss(ctx context.Context, m loop.Meta, noteID, reason string) (NoteResult, error) {
	note, err := n.find(ctx, m, noteID)
	if err != nil {
		return NoteResult{}, err
	}
	done, err := n.Guides.Do(ctx, note.ToolID, m, func(guide.State, time.Time) (guide.Command, error) {
		return guide.Dismiss{NoteID: noteID, ToolID: note.ToolID, Reason: reason, Seen: m.Seen}, nil
	})
	return NoteResult{GuideResult: done, ID: noteID, ToolID: note.ToolID}, err
}

// Digest names the note as the command left it.
func (n NoteResult) Digest() string { return n.State.Digest(n.ID) }

// Get returns a note as its stream has it.
func (n *Notes) Get(ctx context.Context, m loop.Meta, noteID string) (NoteResult, error) {
	opened, err := n.Grants.opened(ctx, m, noteID)
	if errors.Is(err, errNotOpened) {
		return NoteResult{}, domain.NotFound("note")
	}
	if err != nil {
		return NoteResult{}, err
	}
	offered, err := n.Tools.Catalogs.Fresh(ctx, m.Organization)
	if err != nil {
		return NoteResult{}, err
	}
	if _, found := offered.State.Tools[opened.ToolID]; !found {
		return NoteResult{}, domain.NotFound("note") // it went with its tool
	}
	notes, err := n.Guides.Fresh(ctx, opened.ToolID)
	if err != nil {
		return NoteResult{}, err
	}
	if _, found := notes.State.Notes[noteID]; !found {
		return NoteResult{}, domain.NotFound("note")
	}
	return NoteResult{
		GuideResult: GuideResult{State: notes.State, Position: notes.Position}, ID: noteID, ToolID: opened.ToolID,
	}, nil
}

// find returns a note that a human may decide about.
func (n *Notes) find(ctx context.Context, m loop.Meta, noteID string) (NoteResult, error) {
	found, err := n.Get(ctx, m, noteID)
	if err != nil {
		return NoteResult{}, err
	}
	if _, err := found.State.Waiting(noteID); err != nil && m.Since == 0 {
		return NoteResult{}, err
	}
	return found, nil
}
