package catalog

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// Command is something to decide on a catalog's stream.
//
//sumtype:decl
type Command interface{ catalogCommand() }

// The commands of a catalog.
type (
	// AddTool offers a tool. SecretID is set exactly when the mode is Shared.
	AddTool struct {
		ToolID, Name, FoldedName, Description, URL, Site, DocsURL string
		AuthType                                                  AuthType
		Mode                                                      Mode
		SecretID                                                  string
		CredentialFields                                          domain.Parts
		Instructions                                              string
		MaxGrantSeconds                                           int64
		Approval                                                  domain.ApprovalRules
		Labels                                                    domain.Labels
		// of the backers of suggestions that it answers
		Standings map[string]Standing
	}
	// UpdateTool changes the named fields; nil leaves one alone. IfRevision are the revisions the
	// edit is based on.
	UpdateTool struct {
		ToolID                                            string
		Name, FoldedName, Description, URL, Site, DocsURL *string
		AuthType                                          *AuthType
		Instructions                                      *string
		MaxGrantSeconds                                   *int64
		Approval                                          *domain.ApprovalRules
		Labels                                            *domain.Labels
		IfRevision                                        domain.Revisions
		// the note that the new usage guide takes up, or ""
		NoteID    string
		DecidedOn string // the digest of that note
		// of the backers of suggestions that it answers
		Standings map[string]Standing
	}
	// RotateCredential replaces the shared credential; with one of other parts only if ReplaceShape
	// says so.
	RotateCredential struct {
		At               time.Time
		ToolID           string
		SecretID         string
		CredentialFields domain.Parts
		ReplaceShape     bool
		ExpiresAt        *time.Time
		IfRevision       domain.Revisions
	}
	// RestoreInstructions makes an earlier version of the usage guide the newest.
	RestoreInstructions struct {
		ToolID       string
		Version      int
		Instructions string
		IfRevision   domain.Revisions
	}
	// RemoveTool takes a tool away for good.
	RemoveTool struct {
		ToolID     string
		IfRevision domain.Revisions
	}
	// FreezeTool ends every grant of a tool and lets none be granted.
	FreezeTool struct{ ToolID string }
	// UnfreezeTool lets it be granted again.
	UnfreezeTool struct {
		ToolID     string
		IfRevision domain.Revisions
	}
)

func (AddTool) catalogCommand()             {}
func (UpdateTool) catalogCommand()          {}
func (RotateCredential) catalogCommand()    {}
func (RestoreInstructions) catalogCommand() {}
func (RemoveTool) catalogCommand()          {}
func (FreezeTool) catalogCommand()          {}
func (UnfreezeTool) catalogCommand()        {}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	if c, ok := c.(ContinueChange); ok {
		return continueChange(s, c), nil // its bounds were looked at when it was planned
	}
	if err := s.Settled(); err != nil {
		return nil, err
	}
	events, err := decide(s, c)
	if err != nil {
		return nil, err
	}
	return events, s.bounded(events)
}

func decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case AddTool:
		return addTool(s, c)
	case UpdateTool:
		return updateTool(s, c)
	case RotateCredential:
		return rotateCredential(s, c)
	case RestoreInstructions:
		t, err := s.editable(c.ToolID, c.IfRevision)
		if err != nil || c.Version == t.InstructionsVersion || c.Instructions == t.Instructions {
			return nil, err
		}
		return []Event{
			ToolInstructionsRevised{
				ToolID: c.ToolID, Version: t.InstructionsVersion + 1, Instructions: c.Instructions,
				RestoredFrom: c.Version,
			},
		}, nil
	case Suggest:
		return suggest(s, c)
	case AcceptSuggestion:
		return accept(s, c)
	case DismissSuggestion:
		if err := s.waiting(c.SuggestionID); err != nil {
			return nil, err
		}
		digest := s.Digest(c.SuggestionID)
		if err := c.Seen.Covers(digest); err != nil {
			return nil, err
		}
		return []Event{SuggestionDismissed{SuggestionID: c.SuggestionID, Reason: c.Reason, DecidedOn: digest}}, nil
	case ImportCatalog:
		return importCatalog(s, c)
	case RemoveTool:
		t, err := s.editable(c.ToolID, c.IfRevision)
		if err != nil {
			return nil, err
		}
		return []Event{ToolRemoved{ToolID: c.ToolID, SecretID: t.SecretID}}, nil
	case FreezeTool:
		t, err := s.editable(c.ToolID, nil)
		if err != nil || t.FrozenAt != nil {
			return nil, err
		}
		return []Event{ToolFrozen{ToolID: c.ToolID, Freeze: t.Freezes + 1}}, nil
	case UnfreezeTool:
		t, err := s.editable(c.ToolID, c.IfRevision)
		if err != nil || t.FrozenAt == nil {
			return nil, err
		}
		return []Event{ToolUnfrozen{ToolID: c.ToolID}}, nil
	case PlanChange:
		return []Event{ChangePlanned(c)}, nil
	case ContinueChange: // decided before
	}
	return nil, fmt.Errorf("catalog: no decision for %T", c)
}

func (s State) editable(id string, based domain.Revisions) (Tool, error) {
	t, found := s.Tools[id]
	if !found {
		return Tool{}, domain.NotFound("tool")
	}
	if err := based.Covers(t.Revision); err != nil {
		return Tool{}, err
	}
	return t, nil
}

// unique refuses a folded name that another tool has.
func (s State) unique(folded, self string) error {
	id, taken := s.Named(folded)
	if !taken || id == self {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindConflict, Code: "tool_exists", Detail: "The catalog already has a tool of this name.",
		Hint:  "Look at it with {getTool}, or choose another name.",
		Next:  []domain.Next{{Op: "getTool", IDs: []string{id}}},
		Extra: map[string]any{"tool_id": id, "tool_name": s.Tools[id].Name},
	}
}

func addTool(s State, c AddTool) ([]Event, error) {
	if _, found := s.Tools[c.ToolID]; found {
		return nil, nil
	}
	events, err := offer(s, c)
	if err != nil {
		return nil, err
	}
	answered, err := s.answered(c.ToolID, c.product(), c.Standings)
	if err != nil {
		return nil, err
	}
	return append(events, answered...), nil
}

// offer is a new tool with its first usage guide.
func offer(s State, c AddTool) ([]Event, error) {
	if err := s.unique(c.FoldedName, c.ToolID); err != nil {
		return nil, err
	}
	switch {
	case c.Mode == Shared && c.SecretID == "":
		return nil, domain.Invalid("credential", "a tool with a shared credential needs it")
	case c.Mode == PerAgent && c.SecretID != "":
		return nil, domain.Invalid(
			"credential", "a tool with a credential for each agent takes none here; it is given at approval",
		)
	}
	return c.events(), nil
}

func (c AddTool) events() []Event {
	events := []Event{ToolAdded{
		ToolID: c.ToolID, Name: c.Name, FoldedName: c.FoldedName, Description: c.Description, URL: c.URL, Site: c.Site,
		DocsURL: c.DocsURL, AuthType: c.AuthType, Mode: c.Mode, SecretID: c.SecretID,
		MaxGrantSeconds: c.MaxGrantSeconds, CredentialFields: c.CredentialFields, Approval: c.Approval,
		Labels: c.Labels,
	}}
	if c.Instructions != "" {
		events = append(events, ToolInstructionsRevised{ToolID: c.ToolID, Version: 1, Instructions: c.Instructions})
	}
	return events
}

func rotateCredential(s State, c RotateCredential) ([]Event, error) {
	t, err := s.editable(c.ToolID, c.IfRevision)
	switch {
	case err != nil:
		return nil, err
	case t.Mode == PerAgent:
		return nil, domain.Invalid(
			"credential", "this tool has a credential for each agent; replace one with {replaceGrantCredential}",
			domain.Next{Op: "replaceGrantCredential", IDs: []string{"", c.ToolID}},
		)
	case t.SecretID == c.SecretID:
		return nil, nil
	case c.ExpiresAt != nil && !c.At.Before(*c.ExpiresAt):
		return nil, domain.Invalid("expires_at", "it must lie in the future")
	}
	if t.SecretID != "" && !c.ReplaceShape { // a tool that a file added has no credential at first
		next := domain.Next{Op: "rotateCredential", IDs: []string{c.ToolID}}
		if err := t.CredentialFields.Become(c.CredentialFields, "{rotateCredential}", next); err != nil {
			return nil, err
		}
	}
	return []Event{
		ToolCredentialRotated{
			ToolID: c.ToolID, SecretID: c.SecretID, Replaces: t.SecretID, CredentialVersion: t.CredentialVersion + 1,
			CredentialFields: c.CredentialFields, ExpiresAt: c.ExpiresAt,
		},
	}, nil
}

func updateTool(s State, c UpdateTool) ([]Event, error) {
	t, err := s.editable(c.ToolID, c.IfRevision)
	if err != nil {
		return nil, err
	}
	if c.FoldedName != nil {
		if err := s.unique(*c.FoldedName, c.ToolID); err != nil {
			return nil, err
		}
	}
	events := c.events(t)
	before := t
	set(&t.FoldedName, c.FoldedName)
	set(&t.Site, c.Site)
	if t.FoldedName == before.FoldedName && t.Site == before.Site {
		return events, nil
	}
	answered, err := s.answered(c.ToolID, t.product(), c.Standings)
	if err != nil {
		return nil, err
	}
	return append(events, answered...), nil
}

// events are what a change makes of a tool: nothing where nothing differs.
func (c UpdateTool) events(t Tool) []Event {
	changed := ToolUpdated{
		ToolID:          c.ToolID,
		Name:            differs(c.Name, t.Name),
		FoldedName:      differs(c.FoldedName, t.FoldedName),
		Description:     differs(c.Description, t.Description),
		URL:             differs(c.URL, t.URL),
		Site:            differs(c.Site, t.Site),
		DocsURL:         differs(c.DocsURL, t.DocsURL),
		AuthType:        differs(c.AuthType, t.AuthType),
		MaxGrantSeconds: differs(c.MaxGrantSeconds, t.MaxGrantSeconds),
		Approval:        differs(c.Approval, t.Approval),
		Labels:          differs(c.Labels, t.Labels),
	}
	var events []Event
	if changed != (ToolUpdated{ToolID: c.ToolID}) {
		events = append(events, changed)
	}
	if guide := differs(c.Instructions, t.Instructions); guide != nil {
		events = append(
			events,
			ToolInstructionsRevised{
				ToolID: c.ToolID, Version: t.InstructionsVersion + 1, Instructions: *guide, NoteID: c.NoteID,
				DecidedOn: c.DecidedOn,
			},
		)
	}
	return events
}

func differs[T comparable](want *T, is T) *T {
	if want == nil || *want == is {
		return nil
	}
	return want
}
