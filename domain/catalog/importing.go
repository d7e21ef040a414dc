package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"agentkey/domain"
)

// FileTool is a tool as a file describes it. It holds no secret, and what it leaves out is empty.
type FileTool struct {
	ID              string // of the tool that it changes; "", or one that the catalog does not know, is found by name
	NewID           string // that it gets when it is new
	Name            string
	FoldedName      string
	Description     string
	URL             string
	Site            string
	DocsURL         string
	AuthType        AuthType
	Mode            Mode
	Instructions    string
	MaxGrantSeconds int64
	Approval        domain.ApprovalRules
	Labels          domain.Labels
}

// ImportCatalog makes the catalog what a file says, all or nothing. Tools that the file does not
// name are kept. IfRevision are the editions of the catalog that a plan was made on.
type ImportCatalog struct {
	Tools      []FileTool
	IfRevision domain.Revisions
	Standings  map[string]Standing // of the backers of suggestions that it answers
}

func (ImportCatalog) catalogCommand() {}

// Edition counts the states that the tools have been in, from 1.
func (s State) Edition() int { return s.Revision + 1 }

// Change is what an import does to one tool.
type Change struct {
	ToolID          string
	Name            string // as it will be
	Added           bool
	NeedsCredential bool // it is new, its credential is shared, and no file holds it
	Fields          []FieldChange
}

// FieldChange is one field of a tool that an import changes.
type FieldChange struct{ Field, From, To string }

// Plan is what an import does.
type Plan struct {
	Changes   []Change
	Unchanged int
	Missing   []string // ids of tools that the file does not name; they are kept
	Answers   []Answer

	events []Event
}

// Answer is a suggestion that a tool answers which an import adds or renames.
type Answer struct {
	SuggestionID, Name string
	ToolID, ToolName   string
	Backers            int
}

// PlanImport says what an import would do, or refuses it with everything that is wrong.
func PlanImport(s State, c ImportCatalog) (Plan, error) {
	if err := c.IfRevision.Covers(s.Edition()); err != nil {
		return Plan{}, err
	}
	var p Plan
	type mistake struct {
		tool int
		domain.Field
	}
	var wrong []mistake
	refuse := func(i int, field, message string) {
		wrong = append(wrong, mistake{i, domain.Field{Field: fmt.Sprintf("tools[%d].%s", i, field), Message: message}})
	}
	repeated := map[int]bool{} // tools of the file that an earlier one of it names
	answered := map[string]bool{}
	named := map[string]bool{}
	for i, want := range c.Tools {
		id, known := s.find(want)
		t := s.Tools[id]
		if !known {
			id = want.NewID
		}
		switch {
		case named[id]:
			refuse(i, "name", "the file names this tool twice")
			repeated[i] = true
			continue
		case known && t.Mode != want.Mode:
			named[id] = true
			refuse(
				i, "credential_mode",
				"an import can't change it, because credentials would change hands; remove the tool and add it again",
			)
			continue
		}
		named[id] = true
		p.plan(id, t, known, want)
		if known && t.FoldedName == want.FoldedName && t.Site == want.Site {
			continue
		}
		for _, suggestion := range s.answerable(product{want.FoldedName, want.Site}) {
			if !answered[suggestion] { // by an earlier tool of the file
				answered[suggestion] = true
				x := s.Suggestions[suggestion]
				p.Answers = append(
					p.Answers,
					Answer{
						SuggestionID: suggestion, Name: x.Name, ToolID: id, ToolName: want.Name,
						Backers: len(x.Backers),
					},
				)
			}
		}
	}
	stays := map[string]bool{} // names of tools that the file does not name
	for id, t := range s.Tools {
		stays[t.FoldedName] = stays[t.FoldedName] || !named[id]
	}
	first := map[string]int{} // of the file that has a name
	for i, want := range c.Tools {
		at, twice := first[want.FoldedName]
		switch {
		case stays[want.FoldedName]:
			refuse(i, "name", "a tool that the file does not name has this name already")
		case twice && !repeated[i]:
			refuse(i, "name", fmt.Sprintf("tools[%d] has this name already", at))
		case !twice:
			first[want.FoldedName] = i
		}
	}
	slices.SortStableFunc(wrong, func(a, b mistake) int { return cmp.Compare(a.tool, b.tool) })
	for _, id := range slices.Sorted(maps.Keys(s.Tools)) {
		if !named[id] {
			p.Missing = append(p.Missing, id)
		}
	}
	fields := make([]domain.Field, len(wrong))
	for i, w := range wrong {
		fields[i] = w.Field
	}
	if len(fields) > 0 {
		return Plan{}, &domain.Error{
			Kind: domain.KindInvalid, Code: "validation_failed",
			Detail: "The field " + domain.Verbatim(fields[0].Field) + " is not valid: " + fields[0].Message + ".",
			Hint:   "Correct what details names in the file; {importCatalog} and dry_run=true changes nothing.",
			Next:   []domain.Next{{Op: "importCatalog"}}, Fields: fields,
		}
	}
	return p, s.bounded(p.events)
}

// find returns the tool that a file means: by id, else by name.
func (s State) find(want FileTool) (string, bool) {
	if _, known := s.Tools[want.ID]; known {
		return want.ID, true
	}
	return s.Named(want.FoldedName)
}

func (p *Plan) plan(id string, t Tool, known bool, want FileTool) {
	if !known {
		add := AddTool{
			ToolID: id, Name: want.Name, FoldedName: want.FoldedName, Description: want.Description, URL: want.URL,
			Site: want.Site, DocsURL: want.DocsURL, AuthType: want.AuthType, Mode: want.Mode,
			Instructions: want.Instructions, MaxGrantSeconds: want.MaxGrantSeconds, Approval: want.Approval,
			Labels: want.Labels,
		}
		p.events = append(p.events, add.events()...)
		p.Changes = append(
			p.Changes, Change{ToolID: id, Name: want.Name, Added: true, NeedsCredential: want.Mode == Shared},
		)
		return
	}
	events := UpdateTool{
		ToolID: id, Name: &want.Name, FoldedName: &want.FoldedName, Description: &want.Description, URL: &want.URL,
		Site: &want.Site, DocsURL: &want.DocsURL, AuthType: &want.AuthType, Instructions: &want.Instructions,
		MaxGrantSeconds: &want.MaxGrantSeconds, Approval: &want.Approval, Labels: &want.Labels,
	}.events(t)
	if len(events) == 0 {
		p.Unchanged++
		return
	}
	p.events = append(p.events, events...)
	change := Change{ToolID: id, Name: want.Name}
	for _, f := range []FieldChange{
		{"name", t.Name, want.Name},
		{"description", t.Description, want.Description},
		{"url", t.URL, want.URL},
		{"docs_url", t.DocsURL, want.DocsURL},
		{"auth_type", string(t.AuthType), string(want.AuthType)},
		{"instructions", t.Instructions, want.Instructions},
		{"max_grant_seconds", seconds(t.MaxGrantSeconds), seconds(want.MaxGrantSeconds)},
		{"approval", t.Approval.String(), want.Approval.String()},
		{"labels", t.Labels.String(), want.Labels.String()},
	} {
		if f.From != f.To {
			change.Fields = append(change.Fields, f)
		}
	}
	p.Changes = append(p.Changes, change)
}

func seconds(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func importCatalog(s State, c ImportCatalog) ([]Event, error) {
	p, err := PlanImport(s, c)
	if err != nil {
		return nil, err
	}
	events := p.events
	a := s.answering(c.Standings)
	for _, x := range p.Answers {
		events = append(
			events,
			SuggestionRedirected{
				SuggestionID: x.SuggestionID, ToolID: x.ToolID, Decisions: a.decide(x.SuggestionID, x.ToolID),
			},
		)
	}
	if err := a.needed(""); err != nil {
		return nil, err
	}
	return events, nil
}
