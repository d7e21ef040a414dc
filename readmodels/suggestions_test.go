package readmodels_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/readmodels"
)

// suggest makes a suggestion, or backs it, so many minutes after noon.
func (s *shelf) suggest(organization, id, name, agentID string, minutes int, made bool) {
	s.t.Helper()
	at := readmodels.Micros(noon.Add(time.Duration(minutes) * time.Minute))
	site := map[string]string{"one": "one.com", "three": "one.com", "five": "one.com", "six": "one.com"}[id]
	s.write(func(tx *readmodels.Tx) error {
		if made {
			err := tx.InsertSuggestion(
				s.t.Context(),
				readmodels.InsertSuggestionParams{
					ID: id, OrganizationID: organization, Name: name, NameFolded: readmodels.Fold(name),
					Url: "https://" + id, Site: site, At: at,
				},
			)
			if err != nil {
				return err
			}
		}
		return errors.Join(
			tx.BackSuggestion(
				s.t.Context(),
				readmodels.BackSuggestionParams{
					SuggestionID: id, AgentID: agentID, Position: s.next(), Name: name, Url: "https://" + agentID,
					Reason: fmt.Sprint("reason ", minutes), At: at,
				},
			),
			tx.ReopenSuggestion(s.t.Context(), readmodels.ReopenSuggestionParams{ID: id, At: at}),
		)
	})
}

func testSuggestions(t *testing.T, s *shelf) {
	for _, agent := range []string{"a", "b", "c"} {
		s.agent(acme, agent, "Agent "+agent)
	}
	s.suggest(acme, "one", "Zulip", "a", 1, true)
	s.suggest(acme, "two", "Linear", "a", 2, true)
	s.suggest(acme, "two", "LINEAR", "b", 3, false)
	s.suggest(acme, "two", "Linear App", "a", 4, false) // for another reason
	s.suggest(acme, "three", "Asana", "c", 5, true)
	s.suggest(acme, "four", "Basecamp", "b", 1, true)
	s.suggest(acme, "five", "Figma", "c", 9, true)
	s.suggest(globex, "six", "Other", "c", 9, true)
	s.write(func(tx *readmodels.Tx) error {
		return tx.DecideSuggestion(t.Context(), readmodels.DecideSuggestionParams{
			ID: "five", Status: "dismissed", DismissalReason: "no", DecidedAt: readmodels.Micros(noon.Add(time.Hour)),
			DecidedByType: "human", DecidedByID: "ann",
		})
	})
	ctx := t.Context()
	ids := func(found []readmodels.Suggestion) []string {
		return names(found, func(x readmodels.Suggestion) string { return x.ID })
	}
	for status, want := range map[string][]string{
		"pending": {"two", "three", "four", "one"}, "dismissed": {"five"}, "": {"two", "five", "three", "four", "one"},
		"accepted": {},
	} {
		for limit := 1; limit <= 6; limit++ {
			got := []string{}
			for p := (readmodels.SuggestionPage{Limit: limit}); ; {
				page, err := s.db.Suggestions(ctx, acme, readmodels.SuggestionFilter{Status: status}, p)
				if err != nil || len(page.Items) > limit {
					t.Fatalf("a page of %d has %d: %v", limit, len(page.Items), err)
				}
				got = append(got, ids(page.Items)...)
				if p.After = page.Next; p.After == nil {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q in pages of %d (-want +got):\n%s", status, limit, diff)
			}
		}
	}
	pending := readmodels.SuggestionFilter{Status: "pending"}
	rising, err := s.db.Suggestions(ctx, acme, pending, readmodels.SuggestionPage{Limit: 2})
	if err != nil || rising.Next == nil {
		t.Fatal(err)
	}
	for _, agentID := range []string{"b", "c"} {
		s.suggest(acme, "one", "Zulip", agentID, 20, false)
	}
	s.suggest(acme, "new", "Notion", "a", 21, true)
	rest, err := s.db.Suggestions(ctx, acme, pending, readmodels.SuggestionPage{After: rising.Next, Limit: 10})
	if err != nil || rest.Next != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(
		[]string{"two", "three", "four", "one"}, append(ids(rising.Items), ids(rest.Items)...),
	); diff != "" {
		t.Errorf("with one that rises between two pages (-want +got):\n%s", diff)
	}
	if again, err := s.db.Suggestions(ctx, acme, pending, readmodels.SuggestionPage{Limit: 10}); err != nil ||
		!cmp.Equal(ids(again.Items), []string{"one", "two", "new", "three", "four"}) {
		t.Errorf("from the beginning: %v %v", ids(again.Items), err)
	}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	want := readmodels.Suggestion{
		ID: "two", Name: "Linear", FoldedName: "linear", URL: "https://two", Status: "pending", BackerCount: 2,
		CreatedAt: minute(2), LastActivityAt: minute(4),
		Backers: []readmodels.Backer{
			{
				AgentID: "a", AgentName: "Agent a", Name: "Linear App", URL: "https://a", Latest: "reason 4",
				FirstAt: minute(2), LastAt: minute(4),
			},
			{
				AgentID: "b", AgentName: "Agent b", Name: "LINEAR", URL: "https://b", Latest: "reason 3",
				FirstAt: minute(3), LastAt: minute(3),
			},
		},
	}
	if diff := cmp.Diff(want, must[readmodels.Suggestion](t)(s.db.Suggestion(ctx, acme, "two"))); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	if x := must[readmodels.Suggestion](t)(s.db.Suggestion(ctx, acme, "five")); x.DismissalReason != "no" ||
		x.DecidedBy != human || !x.DecidedAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("a dismissed one: %+v", x)
	}
	s.suggest(acme, "seven", "Zulip", "a", 10, true) // of the same name, elsewhere
	s.suggest(acme, "seven", "Zulip", "b", 10, false)
	related := []readmodels.RelatedSuggestion{
		{ID: "seven", Name: "Zulip", BackerCount: 2}, {ID: "three", Name: "Asana", BackerCount: 1},
	}
	if diff := cmp.Diff(
		related, must[readmodels.Suggestion](t)(s.db.Suggestion(ctx, acme, "one")).Related,
	); diff != "" {
		t.Errorf("the related ones (-want +got):\n%s", diff)
	}
	for _, id := range []string{"six", "", "eight"} {
		if _, err := s.db.Suggestion(ctx, acme, id); !errors.Is(err, readmodels.ErrNotFound) {
			t.Errorf("suggestion %q: %v", id, err)
		}
	}
}

func testNotes(t *testing.T, s *shelf) {
	s.agent(acme, "a", "Agent a")
	s.agent(acme, "b", "Agent b")
	s.tool(acme, "t1", "GitHub")
	s.tool(acme, "t2", "Linear")
	for i, tool := range []string{"t1", "t2", "t1"} {
		at, id := readmodels.Micros(noon.Add(time.Duration(i)*time.Minute)), fmt.Sprint("n", i)
		s.write(func(tx *readmodels.Tx) error {
			return errors.Join(
				tx.InsertNote(
					t.Context(),
					readmodels.InsertNoteParams{
						ID: id, OrganizationID: acme, Position: s.next(), ToolID: tool, Learned: "learned " + id,
						GuideVersion: 1, At: at,
					},
				),
				tx.BackNote(
					t.Context(),
					readmodels.BackNoteParams{NoteID: id, AgentID: "a", Position: s.next(), Why: "why", At: at},
				),
			)
		})
	}
	s.write(func(tx *readmodels.Tx) error {
		at := readmodels.Micros(noon.Add(time.Hour))
		return errors.Join(
			tx.BackNote(
				t.Context(),
				readmodels.BackNoteParams{NoteID: "n0", AgentID: "b", Position: s.next(), Why: "so it is", At: at},
			),
			tx.SeeNote(t.Context(), readmodels.SeeNoteParams{ID: "n0", At: at}),
			tx.DecideNote(
				t.Context(),
				readmodels.DecideNoteParams{
					ID: "n2", Status: "accepted", GuideVersion: readmodels.OptionalInt(new(int64(4))), DecidedAt: at,
					DecidedByType: "human", DecidedByID: "ann",
				},
			),
			tx.ReviseTool(
				t.Context(), readmodels.ReviseToolParams{ID: "t1", Instructions: "x", InstructionsVersion: 4, At: at},
			),
		)
	})
	ctx := t.Context()
	for _, c := range []struct {
		filter readmodels.NoteFilter
		want   []string
	}{
		{readmodels.NoteFilter{}, []string{"n2", "n1", "n0"}},
		{readmodels.NoteFilter{Status: "pending"}, []string{"n1", "n0"}},
		{readmodels.NoteFilter{ToolID: "t1"}, []string{"n2", "n0"}},
		{readmodels.NoteFilter{Status: "dismissed"}, []string{}},
	} {
		list := must[readmodels.List[readmodels.Note]](t)(s.db.Notes(ctx, acme, c.filter, all))
		if diff := cmp.Diff(c.want, names(list.Items, func(n readmodels.Note) string { return n.ID })); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
	first := must[readmodels.List[readmodels.Note]](t)(
		s.db.Notes(ctx, acme, readmodels.NoteFilter{}, readmodels.Page{Limit: 2}),
	)
	rest := must[readmodels.List[readmodels.Note]](t)(
		s.db.Notes(ctx, acme, readmodels.NoteFilter{}, readmodels.Page{Limit: 2, Before: first.Next}),
	)
	if len(first.Items) != 2 || len(rest.Items) != 1 || rest.Items[0].ID != "n0" || rest.Next != 0 {
		t.Errorf("page by page: %+v, %+v", first, rest)
	}
	n := s.note("n0")
	want := readmodels.Note{
		ID: "n0", ToolID: "t1", ToolName: "GitHub", Learned: "learned n0", Status: "pending", GuideVersion: 1,
		CurrentVersion: 4, CreatedAt: noon, LastActivityAt: noon.Add(time.Hour), Position: n.Position,
		Backers: []readmodels.Backer{
			{AgentID: "a", AgentName: "Agent a", Latest: "why", FirstAt: noon, LastAt: noon},
			{
				AgentID: "b", AgentName: "Agent b", Latest: "so it is", FirstAt: noon.Add(time.Hour),
				LastAt: noon.Add(time.Hour),
			},
		},
	}
	if diff := cmp.Diff(want, n); diff != "" {
		t.Errorf("one (-want +got):\n%s", diff)
	}
	if n := s.note("n2"); n.Status != "accepted" || n.GuideVersion != 4 ||
		n.DecidedBy != human {
		t.Errorf("an accepted one: %+v", n)
	}
	s.remove("t1")
	list := must[readmodels.List[readmodels.Note]](t)(s.db.Notes(ctx, acme, readmodels.NoteFilter{}, all))
	if diff := cmp.Diff([]string{"n1"}, names(list.Items, func(n readmodels.Note) string { return n.ID })); diff != "" {
		t.Errorf("after their tool was removed (-want +got):\n%s", diff)
	}
	list = must[readmodels.List[readmodels.Note]](t)(s.db.Notes(ctx, globex, readmodels.NoteFilter{}, all))
	if len(list.Items) != 0 {
		t.Errorf("notes of another organization: %v", list.Items)
	}
}

// note finds one note in the list.
func (s *shelf) note(id string) readmodels.Note {
	s.t.Helper()
	list := must[readmodels.List[readmodels.Note]](s.t)(s.db.Notes(s.t.Context(), acme, readmodels.NoteFilter{}, all))
	for _, n := range list.Items {
		if n.ID == id {
			return n
		}
	}
	s.t.Fatalf("there is no note %s", id)
	return readmodels.Note{}
}
