package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/domain/catalog"
)

var (
	start = time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	soon  = start.Add(time.Hour)
	admin = domain.Actor{Type: domain.ActorService, ID: "token"}
)

func github() catalog.Event {
	return catalog.ToolAdded{
		ToolID: "1", Name: "GitHub", FoldedName: "github", AuthType: "api_key", Mode: catalog.Shared, SecretID: "s1",
		MaxGrantSeconds: 60,
	}
}

func linear() catalog.Event {
	return catalog.ToolAdded{
		ToolID: "2", Name: "Linear", FoldedName: "linear", AuthType: "api_key", Mode: catalog.PerAgent,
	}
}

func guide(version int, text string) catalog.Event {
	return catalog.ToolInstructionsRevised{ToolID: "1", Version: version, Instructions: text}
}

func fold(events ...catalog.Event) catalog.State {
	var s catalog.State
	for i, e := range events {
		s = catalog.Evolve(
			s, domain.Fact[catalog.Event]{Event: e, At: start.Add(time.Duration(i) * time.Minute), By: admin},
		)
	}
	return s
}

func TestDecide(t *testing.T) {
	addGitHub := catalog.AddTool{
		ToolID: "1", Name: "GitHub", FoldedName: "github", AuthType: "api_key", Mode: catalog.Shared, SecretID: "s1",
		MaxGrantSeconds: 60,
	}
	withGuide := addGitHub
	withGuide.Instructions = "Use the REST API."
	tests := []struct {
		name  string
		given []catalog.Event
		when  catalog.Command
		then  []catalog.Event
		code  string
	}{
		{"a tool is added", nil, addGitHub, []catalog.Event{github()}, ""},
		{
			"a tool is added with its usage guide in one write", nil, withGuide,
			[]catalog.Event{github(), guide(1, "Use the REST API.")},
			"",
		},
		{"adding the same tool again does nothing", []catalog.Event{github()}, addGitHub, nil, ""},
		{
			"a second tool of the same folded name",
			[]catalog.Event{github()},
			catalog.AddTool{ToolID: "9", Name: "GITHUB", FoldedName: "github", Mode: catalog.PerAgent},
			nil,
			"tool_exists",
		},
		{
			"a name is free once its tool is removed",
			[]catalog.Event{github(), catalog.ToolRemoved{ToolID: "1"}},
			catalog.AddTool{ToolID: "9", Name: "GITHUB", FoldedName: "github", Mode: catalog.PerAgent},
			[]catalog.Event{
				catalog.ToolAdded{ToolID: "9", Name: "GITHUB", FoldedName: "github", Mode: catalog.PerAgent},
			},
			"",
		},
		{
			"a name is free once its tool has another",
			[]catalog.Event{github(), catalog.ToolUpdated{ToolID: "1", Name: new("GH"), FoldedName: new("gh")}},
			catalog.AddTool{ToolID: "9", Name: "GitHub", FoldedName: "github", Mode: catalog.PerAgent},
			[]catalog.Event{
				catalog.ToolAdded{ToolID: "9", Name: "GitHub", FoldedName: "github", Mode: catalog.PerAgent},
			},
			"",
		},
		{
			"a shared tool needs a credential", nil,
			catalog.AddTool{ToolID: "1", FoldedName: "github", Mode: catalog.Shared},
			nil, "validation_failed",
		},
		{
			"a tool with a credential for each agent takes none", nil,
			catalog.AddTool{ToolID: "1", FoldedName: "github", Mode: catalog.PerAgent, SecretID: "s1"},
			nil,
			"validation_failed",
		},

		{
			"only what differs is changed",
			[]catalog.Event{github()},
			catalog.UpdateTool{
				ToolID: "1", Name: new("GitHub"), FoldedName: new("github"), Description: new("Code"),
				MaxGrantSeconds: new(int64(60)),
			},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Description: new("Code")}},
			"",
		},
		{
			"labels are replaced, and what is the same isn't changed",
			[]catalog.Event{github(), catalog.ToolUpdated{ToolID: "1", Labels: new(domain.Labels(`{"a":"b"}`))}},
			catalog.UpdateTool{ToolID: "1", Name: new("GitHub"), FoldedName: new("github"), Labels: new(domain.Labels(""))},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Labels: new(domain.Labels(""))}},
			"",
		},
		{
			"a change to the same values does nothing",
			[]catalog.Event{github()},
			catalog.UpdateTool{
				ToolID: "1", Name: new("GitHub"), FoldedName: new("github"), AuthType: new(catalog.AuthType("api_key")),
			},
			nil, "",
		},
		{
			"a field can be emptied",
			[]catalog.Event{github(), catalog.ToolUpdated{ToolID: "1", Description: new("Code")}},
			catalog.UpdateTool{ToolID: "1", Description: new(""), MaxGrantSeconds: new(int64(0))},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Description: new(""), MaxGrantSeconds: new(int64(0))}},
			"",
		},
		{
			"a tool can change the case of its name",
			[]catalog.Event{github()},
			catalog.UpdateTool{ToolID: "1", Name: new("github"), FoldedName: new("github")},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Name: new("github")}},
			"",
		},
		{
			"renaming to another's name",
			[]catalog.Event{github(), linear()},
			catalog.UpdateTool{ToolID: "2", Name: new("GitHub"), FoldedName: new("github")},
			nil, "tool_exists",
		},
		{"changing what does not exist", nil, catalog.UpdateTool{ToolID: "1", Name: new("x")}, nil, "not_found"},
		{
			"changing what was removed",
			[]catalog.Event{github(), catalog.ToolRemoved{ToolID: "1"}},
			catalog.UpdateTool{ToolID: "1", Name: new("x")},
			nil, "not_found",
		},
		{
			"a change on an old revision",
			[]catalog.Event{github(), catalog.ToolUpdated{ToolID: "1", Description: new("Code")}},
			catalog.UpdateTool{ToolID: "1", Name: new("x"), IfRevision: domain.Revisions{1}},
			nil, "revision_stale",
		},
		{
			"a change on the newest revision",
			[]catalog.Event{github(), catalog.ToolUpdated{ToolID: "1", Description: new("Code")}},
			catalog.UpdateTool{ToolID: "1", Name: new("GH"), FoldedName: new("gh"), IfRevision: domain.Revisions{2}},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Name: new("GH"), FoldedName: new("gh")}},
			"",
		},
		{
			"a change of the guide alone",
			[]catalog.Event{github()},
			catalog.UpdateTool{ToolID: "1", Instructions: new("First.")},
			[]catalog.Event{guide(1, "First.")},
			"",
		},
		{
			"a change of both is one write",
			[]catalog.Event{github(), guide(1, "First.")},
			catalog.UpdateTool{ToolID: "1", Description: new("Code"), Instructions: new("Second.")},
			[]catalog.Event{catalog.ToolUpdated{ToolID: "1", Description: new("Code")}, guide(2, "Second.")},
			"",
		},
		{
			"the same guide again does nothing",
			[]catalog.Event{github(), guide(1, "First.")},
			catalog.UpdateTool{ToolID: "1", Instructions: new("First.")},
			nil, "",
		},
		{
			"a guide can be emptied, which is a version",
			[]catalog.Event{github(), guide(1, "First.")},
			catalog.UpdateTool{ToolID: "1", Instructions: new("")},
			[]catalog.Event{guide(2, "")},
			"",
		},

		{
			"a credential is rotated",
			[]catalog.Event{github()},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s2", ExpiresAt: &soon},
			[]catalog.Event{
				catalog.ToolCredentialRotated{
					ToolID: "1", SecretID: "s2", Replaces: "s1", CredentialVersion: 2, ExpiresAt: &soon,
				},
			},
			"",
		},
		{
			"rotated twice",
			[]catalog.Event{github(), catalog.ToolCredentialRotated{ToolID: "1", SecretID: "s2", CredentialVersion: 2}},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s3"},
			[]catalog.Event{
				catalog.ToolCredentialRotated{ToolID: "1", SecretID: "s3", Replaces: "s2", CredentialVersion: 3},
			},
			"",
		},
		{
			"rotating to the same secret does nothing",
			[]catalog.Event{github()},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s1"},
			nil, "",
		},
		{
			"a string becomes an object",
			[]catalog.Event{github()},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s2", CredentialFields: domain.Parts{"key"}},
			nil, "credential_shape_differs",
		},
		{
			"an object becomes a string",
			[]catalog.Event{github(), rotated("key", "user")},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s3"},
			nil, "credential_shape_differs",
		},
		{
			"an object of other parts",
			[]catalog.Event{github(), rotated("key", "user")},
			catalog.RotateCredential{
				At: start, ToolID: "1", SecretID: "s3", CredentialFields: domain.Parts{"key", "password"},
			},
			nil, "credential_shape_differs",
		},
		{
			"an object of the same parts",
			[]catalog.Event{github(), rotated("key", "user")},
			catalog.RotateCredential{
				At: start, ToolID: "1", SecretID: "s3", CredentialFields: domain.Parts{"key", "user"},
			},
			[]catalog.Event{catalog.ToolCredentialRotated{
				ToolID: "1", SecretID: "s3", Replaces: "s2", CredentialVersion: 3,
				CredentialFields: domain.Parts{"key", "user"},
			}},
			"",
		},
		{
			"another form on purpose",
			[]catalog.Event{github(), rotated("key", "user")},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s3", ReplaceShape: true},
			[]catalog.Event{
				catalog.ToolCredentialRotated{ToolID: "1", SecretID: "s3", Replaces: "s2", CredentialVersion: 3},
			},
			"",
		},
		{
			"the first credential of a tool that a file added",
			[]catalog.Event{catalog.ToolAdded{ToolID: "1", Name: "GitHub", FoldedName: "github", Mode: catalog.Shared}},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s1", CredentialFields: domain.Parts{"key"}},
			[]catalog.Event{catalog.ToolCredentialRotated{
				ToolID: "1", SecretID: "s1", CredentialVersion: 1, CredentialFields: domain.Parts{"key"},
			}},
			"",
		},
		{
			"a credential that has ended",
			[]catalog.Event{github()},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s2", ExpiresAt: &start},
			nil,
			"validation_failed",
		},
		{
			"rotating what each agent has of its own",
			[]catalog.Event{linear()},
			catalog.RotateCredential{At: start, ToolID: "2", SecretID: "s2"},
			nil, "validation_failed",
		},
		{
			"rotating what does not exist", nil,
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s2"},
			nil,
			"not_found",
		},
		{
			"rotating on an old revision",
			[]catalog.Event{github(), guide(1, "First.")},
			catalog.RotateCredential{At: start, ToolID: "1", SecretID: "s2", IfRevision: domain.Revisions{1}},
			nil, "revision_stale",
		},

		{
			"an earlier guide is restored as a new version",
			[]catalog.Event{github(), guide(1, "First."), guide(2, "Second.")},
			catalog.RestoreInstructions{ToolID: "1", Version: 1, Instructions: "First."},
			[]catalog.Event{
				catalog.ToolInstructionsRevised{ToolID: "1", Version: 3, Instructions: "First.", RestoredFrom: 1},
			},
			"",
		},
		{
			"restoring the newest does nothing",
			[]catalog.Event{github(), guide(1, "First."), guide(2, "Second.")},
			catalog.RestoreInstructions{ToolID: "1", Version: 2, Instructions: "Second."},
			nil, "",
		},
		{
			"restoring for a tool that is gone", nil,
			catalog.RestoreInstructions{ToolID: "1", Version: 1, Instructions: "First."},
			nil, "not_found",
		},
		{
			"restoring on an old revision",
			[]catalog.Event{github(), guide(1, "First."), guide(2, "Second.")},
			catalog.RestoreInstructions{ToolID: "1", Version: 1, Instructions: "First.", IfRevision: domain.Revisions{2}},
			nil,
			"revision_stale",
		},

		{
			"a tool is removed",
			[]catalog.Event{github()},
			catalog.RemoveTool{ToolID: "1"},
			[]catalog.Event{catalog.ToolRemoved{ToolID: "1", SecretID: "s1"}},
			"",
		},
		{
			"a tool is removed once",
			[]catalog.Event{github(), catalog.ToolRemoved{ToolID: "1"}},
			catalog.RemoveTool{ToolID: "1"},
			nil, "not_found",
		},
		{
			"removing on an old revision",
			[]catalog.Event{github(), guide(1, "First.")},
			catalog.RemoveTool{ToolID: "1", IfRevision: domain.Revisions{1}},
			nil, "revision_stale",
		},

		{
			"a tool is frozen",
			[]catalog.Event{github()},
			catalog.FreezeTool{ToolID: "1"},
			[]catalog.Event{catalog.ToolFrozen{ToolID: "1", Freeze: 1}},
			"",
		},
		{
			"what is frozen stays so",
			[]catalog.Event{github(), catalog.ToolFrozen{ToolID: "1", Freeze: 1}},
			catalog.FreezeTool{ToolID: "1"},
			nil, "",
		},
		{
			"a tool is frozen for the second time",
			[]catalog.Event{
				github(), catalog.ToolFrozen{ToolID: "1", Freeze: 1}, catalog.ToolUnfrozen{ToolID: "1"},
			},
			catalog.FreezeTool{ToolID: "1"},
			[]catalog.Event{catalog.ToolFrozen{ToolID: "1", Freeze: 2}},
			"",
		},
		{
			"a removed tool can't be frozen",
			[]catalog.Event{github(), catalog.ToolRemoved{ToolID: "1"}},
			catalog.FreezeTool{ToolID: "1"},
			nil, "not_found",
		},
		{
			"a freeze is lifted",
			[]catalog.Event{github(), catalog.ToolFrozen{ToolID: "1", Freeze: 1}},
			catalog.UnfreezeTool{ToolID: "1"},
			[]catalog.Event{catalog.ToolUnfrozen{ToolID: "1"}},
			"",
		},
		{
			"there is no freeze to lift",
			[]catalog.Event{github()},
			catalog.UnfreezeTool{ToolID: "1"},
			nil, "",
		},
		{
			"lifting a freeze on an old revision",
			[]catalog.Event{github(), catalog.ToolFrozen{ToolID: "1", Freeze: 1}},
			catalog.UnfreezeTool{ToolID: "1", IfRevision: domain.Revisions{1}},
			nil, "revision_stale",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := catalog.Decide(fold(tt.given...), tt.when)
			if got := codeOf(err); got != tt.code {
				t.Fatalf("refused with %q, want %q (%v)", got, tt.code, err)
			}
			if diff := cmp.Diff(tt.then, events, anyDigest); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoseNameItIsIsTold(t *testing.T) {
	_, err := catalog.Decide(
		fold(github()), catalog.AddTool{ToolID: "9", Name: "GITHUB", FoldedName: "github", Mode: catalog.PerAgent},
	)
	var refusal *domain.Error
	if !errors.As(err, &refusal) || refusal.Extra["tool_id"] != "1" || refusal.Extra["tool_name"] != "GitHub" {
		t.Errorf("got %+v", refusal)
	}
}

func TestTheStateOfATool(t *testing.T) {
	got := fold(github(), linear(), catalog.ToolUpdated{
		ToolID: "1", URL: new("https://github.com"),
		Site: new("github.com"),
	}, guide(1, "First."),
		catalog.ToolCredentialRotated{ToolID: "1", SecretID: "s2", CredentialVersion: 2, ExpiresAt: &soon},
		catalog.ToolRemoved{ToolID: "2"})
	want := catalog.State{Revision: 6, Tools: map[string]catalog.Tool{"1": {
		Name: "GitHub", FoldedName: "github", URL: "https://github.com", Site: "github.com", AuthType: "api_key",
		Mode: catalog.Shared, SecretID: "s2", CredentialVersion: 2, CredentialExpiresAt: &soon, Instructions: "First.",
		InstructionsVersion: 1, MaxGrantSeconds: 60, CreatedAt: start, UpdatedAt: start.Add(4 * time.Minute),
		CredentialAt: start.Add(4 * time.Minute), CredentialBy: domain.Actor{Type: domain.ActorService, ID: "token"},
		Revision: 4,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLaws draws commands and holds them to the plainest rules: one tool a name, a repeat that does
// nothing, a refusal without events, versions that count, nothing for an agent that did not ask for
// it, and states that nobody changes behind another's back.
func TestLaws(t *testing.T) {
	names := []string{"github", "linear", "stripe"}
	rapid.Check(t, func(t *rapid.T) {
		var s catalog.State
		var facts []domain.Fact[catalog.Event]
		removed := map[string]bool{}
		asked := map[string]map[string]bool{} // the names that each agent asked for
		ids, secrets := 0, 0
		for range rapid.IntRange(1, 50).Draw(t, "commands") {
			c := draw(t, s, names, &ids, &secrets)
			before := encoded(t, s)
			events, err := catalog.Decide(s, c)
			if err != nil && len(events) > 0 {
				t.Fatalf("%T was refused and has events", c)
			}
			old := s
			for _, e := range events {
				f := domain.Fact[catalog.Event]{
					Event: e, At: start.Add(time.Duration(len(facts)) * time.Minute), By: admin,
				}
				s, facts = catalog.Evolve(s, f), append(facts, f)
				if r, ok := e.(catalog.ToolRemoved); ok {
					removed[r.ToolID] = true
				}
			}
			if encoded(t, old) != before {
				t.Fatalf("%T changed a state that others may hold", c)
			}
			if again, err := catalog.Decide(s, c); len(again) > 0 {
				t.Fatalf("%T twice made more events: %v %v", c, again, err)
			}
			checkGifts(t, s, c, events, asked)
			checkTools(t, s, removed)
			checkSuggestions(t, s)
		}
		checkFolds(t, s, facts)
	})
}

func draw(t *rapid.T, s catalog.State, names []string, ids, secrets *int) catalog.Command {
	id := fmt.Sprint(rapid.IntRange(1, max(1, *ids)).Draw(t, "id"))
	name := rapid.SampledFrom(names).Draw(t, "name")
	based := rapid.SampledFrom([]domain.Revisions{
		nil, nil, {s.Tools[id].Revision}, {1}, {1, s.Tools[id].Revision}, {},
	}).Draw(t, "based on")
	*secrets++
	secret := fmt.Sprint("s", *secrets)
	agent := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "agent")
	suggestion := fmt.Sprint("g", rapid.IntRange(1, max(1, *ids)).Draw(t, "suggestion"))
	site := rapid.SampledFrom([]string{"", "x.com", "y.com"}).Draw(t, "site")
	switch rapid.IntRange(0, 13).Draw(t, "command") {
	case 7, 8, 9:
		*ids++
		now := start.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hours")) * time.Hour)
		return catalog.Suggest{
			At: now, SuggestionID: fmt.Sprint("g", *ids), AgentID: agent, Name: name, FoldedName: name, URL: site,
			Site: site, Reason: "because",
		}
	case 10:
		return catalog.DismissSuggestion{SuggestionID: suggestion}
	case 11:
		*ids++
		var also []string
		if rapid.Bool().Draw(t, "several") {
			also = s.Related(suggestion)
		}
		return catalog.AcceptSuggestion{
			SuggestionID: suggestion, Also: also, Seen: domain.Seen{s.Digest(suggestion)},
			GrantBackers: true, Tool: catalog.AddTool{
				ToolID: fmt.Sprint(*ids), Name: name, FoldedName: name, Site: site, Mode: catalog.Shared,
				SecretID:  secret,
				Standings: anybody,
			},
		}
	case 0, 1:
		*ids++
		c := catalog.AddTool{
			ToolID: fmt.Sprint(*ids), Name: name, FoldedName: name, Site: site, Standings: anybody,
			Mode: rapid.SampledFrom([]catalog.Mode{catalog.Shared, catalog.PerAgent}).Draw(t, "mode"),
		}
		if rapid.IntRange(0, 9).Draw(t, "right") > 0 == (c.Mode == catalog.Shared) {
			c.SecretID = secret
		}
		return c
	case 2:
		return catalog.UpdateTool{
			ToolID: id, Name: &name, FoldedName: &name, Site: &site, IfRevision: based, Standings: anybody,
		}
	case 3:
		return catalog.UpdateTool{
			ToolID: id, Instructions: new(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "guide")),
			IfRevision: based,
		}
	case 4:
		return catalog.RotateCredential{At: start, ToolID: id, SecretID: secret, IfRevision: based}
	case 5:
		return catalog.RestoreInstructions{
			ToolID: id, Version: rapid.IntRange(0, 3).Draw(t, "version"), Instructions: "a", IfRevision: based,
		}
	case 12:
		return catalog.FreezeTool{ToolID: id}
	case 13:
		return catalog.UnfreezeTool{ToolID: id, IfRevision: based}
	default:
		return catalog.RemoveTool{ToolID: id, IfRevision: based}
	}
}

// rotated is the second credential of GitHub, an object of these parts.
func rotated(parts ...string) catalog.Event {
	return catalog.ToolCredentialRotated{
		ToolID: "1", SecretID: "s2", Replaces: "s1", CredentialVersion: 2, CredentialFields: parts,
	}
}

var anybody = map[string]catalog.Standing{"a": {}, "b": {Why: "the agent is suspended"}}

// checkGifts: only an agent that asked for a tool's name gets anything of it, and only access that
// a human gave: one that backs a suggestion which the decision names.
func checkGifts(
	t *rapid.T, s catalog.State, c catalog.Command, events []catalog.Event, asked map[string]map[string]bool,
) {
	if c, is := c.(catalog.Suggest); is && len(events) > 0 {
		if asked[c.AgentID] == nil {
			asked[c.AgentID] = map[string]bool{}
		}
		asked[c.AgentID][c.FoldedName] = true
	}
	for _, e := range events {
		switch e := e.(type) {
		case catalog.SuggestionAccepted:
			if c, is := c.(catalog.AcceptSuggestion); !is ||
				e.SuggestionID != c.SuggestionID && !slices.Contains(c.Also, e.SuggestionID) {
				t.Fatalf("%+v accepted %s", c, e.SuggestionID)
			}
		case catalog.SuggestionRedirected:
			for _, d := range e.Decisions {
				if d.Outcome == catalog.Granted || !asked[d.AgentID][s.Tools[e.ToolID].FoldedName] {
					t.Fatalf(
						"%s asked for %v and gets %s of %s", d.AgentID, asked[d.AgentID], d.Outcome,
						s.Tools[e.ToolID].Name,
					)
				}
			}
		}
	}
}

// checkSuggestions: of one product one is open, what the catalog offers by name is not open, and an
// agent backs once.
func checkSuggestions(t *rapid.T, s catalog.State) {
	products := map[string]string{}
	for id, x := range s.Suggestions {
		if x.Status != catalog.StatusPending && x.Status != catalog.StatusDismissed {
			continue
		}
		product := x.FoldedName + " at " + x.Site
		if other, taken := products[product]; taken {
			t.Fatalf("the suggestions %s and %s are both of %s", id, other, product)
		}
		products[product] = id
		if tool, offered := s.Named(x.FoldedName); offered && x.Status == catalog.StatusPending {
			if site := s.Tools[tool].Site; site == "" || x.Site == "" || site == x.Site {
				t.Fatalf("the suggestion %s waits for the tool %s", id, tool)
			}
		}
		backers := map[string]bool{}
		for _, b := range x.Backers {
			if backers[b.AgentID] {
				t.Fatalf("%s backs %s twice", b.AgentID, id)
			}
			backers[b.AgentID] = true
		}
	}
}

func checkTools(t *rapid.T, s catalog.State, removed map[string]bool) {
	named := map[string]string{}
	for id, tool := range s.Tools {
		if other, taken := named[tool.FoldedName]; taken {
			t.Fatalf("the tools %s and %s share the name %s", id, other, tool.FoldedName)
		}
		named[tool.FoldedName] = id
		if removed[id] {
			t.Fatalf("tool %s came back", id)
		}
		if (tool.Mode == catalog.Shared) != (tool.SecretID != "") ||
			(tool.SecretID != "") != (tool.CredentialVersion > 0) {
			t.Fatalf("a %s tool has secret %q, version %d", tool.Mode, tool.SecretID, tool.CredentialVersion)
		}
		if found, ok := s.Named(tool.FoldedName); !ok || found != id {
			t.Fatalf("%s is not found by its name", id)
		}
	}
}

// checkFolds compares the fold from the beginning with the fold from a stored snapshot in the
// middle.
func checkFolds(t *rapid.T, want catalog.State, facts []domain.Fact[catalog.Event]) {
	cut := rapid.IntRange(0, len(facts)).Draw(t, "cut")
	var s, from catalog.State
	for _, f := range facts[:cut] {
		s = catalog.Evolve(s, f)
	}
	if err := json.Unmarshal([]byte(encoded(t, s)), &from); err != nil {
		t.Fatal(err)
	}
	for _, f := range facts[cut:] {
		from = catalog.Evolve(from, f)
	}
	if encoded(t, want) != encoded(t, from) {
		t.Fatalf("folded from a snapshot:\n%s", cmp.Diff(want, from))
	}
}

// TestFoldingNeverFails folds events in orders that no decision would ever make.
func TestFoldingNeverFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s catalog.State
		var facts []domain.Fact[catalog.Event]
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			before := encoded(t, s)
			fact := domain.Fact[catalog.Event]{At: start, By: admin, Event: rapid.SampledFrom([]catalog.Event{
				github(), linear(), guide(1, "x"), guide(-1, ""),
				catalog.ToolRemoved{ToolID: "1"},
				catalog.ToolRemoved{ToolID: "3"},
				catalog.ToolRemoved{},
				catalog.ToolUpdated{ToolID: "1"},
				catalog.ToolUpdated{ToolID: "3", Name: new("x")},
				catalog.ToolCredentialRotated{ToolID: "2", SecretID: "s"},
				missed(), backed("a", "notion", ""), backed("b", "notion", ""), dismissed(),
				catalog.SuggestionCooldownRefused{SuggestionID: "g1", AgentID: "a"},
				catalog.SuggestionAccepted{SuggestionID: "g1", ToolID: "1"},
				catalog.SuggestionRedirected{SuggestionID: "g2", ToolID: "1"},
				catalog.ChangePlanned{ChangeID: "c", Parts: []catalog.ChangePart{{SecretID: "s", Events: 2}}},
				catalog.ChangeCompleted{ChangeID: "c"},
			}).Draw(t, "event")}
			next := catalog.Evolve(s, fact)
			if encoded(t, s) != before {
				t.Fatal("folding changed a state that others may hold")
			}
			s, facts = next, append(facts, fact)
		}
		if encoded(t, catalog.Evolve(catalog.State{}, facts...)) != encoded(t, s) {
			t.Fatal("folding several facts at once is not folding one after another")
		}
	})
}

func encoded(t *rapid.T, s catalog.State) string {
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func codeOf(err error) string {
	if refusal, ok := errors.AsType[*domain.Error](err); ok {
		return refusal.Code
	}
	if err != nil {
		return "fault: " + err.Error()
	}
	return ""
}

// anyDigest leaves the digest of what was decided on out of a comparison.
var anyDigest = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".DecidedOn" }, cmp.Ignore())
