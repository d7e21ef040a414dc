package projections_test

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// TestTheMomentOfATimeIsAfterTheLastEventThatIsNotLater appends events whose clocks disagree by
// seconds, minutes and hours.
func TestTheMomentOfATimeIsAfterTheLastEventThatIsNotLater(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		organization, id := uuid.NewString(), uuid.NewString()
		draw := rand.New(rand.NewPCG(1, 2)) // the same story each time
		type event struct {
			at       time.Time
			position uint64
		}
		var events []event
		for i := range 60 {
			at := start.Add(time.Duration(i) * 20 * time.Second)
			switch draw.IntN(5) {
			case 0:
				at = at.Add(time.Duration(draw.IntN(7200)-3600) * time.Second)
			case 1:
				at = at.Add(time.Duration(draw.IntN(4000)-2000) * time.Millisecond)
			}
			var body any = agent.Updated{Description: new("d")}
			if i == 0 {
				body = agent.Registered{OrganizationID: organization, Name: "n", Key: agent.Key{Number: 1, ID: uuid.NewString()}}
			}
			signed := []codec.Signed{{Organization: organization, Actor: admin, CommandID: uuid.NewString(), Time: at}}
			w.mu.Lock()
			position, err := w.appendSigned("agent-"+id, []any{body}, signed)
			w.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, event{at, position})
			if draw.IntN(3) == 0 {
				w.reached(position) // so that batches of every size are applied
			}
		}
		w.reached(events[len(events)-1].position)
		for _, e := range events {
			for _, off := range []time.Duration{-time.Microsecond, 0, time.Microsecond, time.Minute, -time.Hour} {
				at, want := e.at.Add(off), uint64(0)
				for _, o := range events {
					if !o.at.After(at) {
						want = o.position
					}
				}
				got, err := w.db.MomentAt(t.Context(), organization, at)
				if errors.Is(err, readmodels.ErrNotFound) && want == 0 {
					continue
				}
				if err != nil || got.Position != want || !got.Time.Equal(at) {
					t.Errorf("the moment of %s is %v, not after %d: %v", at, got, want, err)
				}
			}
			of, err := w.db.MomentOf(t.Context(), organization, e.position)
			if err != nil || of.Position != e.position || !of.Time.Equal(e.at) {
				t.Errorf("the moment of position %d is %v: %v", e.position, of, err)
			}
		}
	})
}

// TestEverySuggestionOfThePast compares the list of suggestions after each event with what is said
// of it later.
func TestEverySuggestionOfThePast(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		one, two := uuid.NewString(), uuid.NewString()
		bot, other := w.agent("Bot"), w.agent("Other")
		made := func(id, by, name, site string) catalog.SuggestionMade {
			return catalog.SuggestionMade{
				SuggestionID: id, AgentID: by, Name: name, FoldedName: strings.ToLower(name), Site: site, Reason: "r",
			}
		}
		type seen struct {
			at    readmodels.Moment
			shows string
		}
		list := func(db *readmodels.DB) string {
			found, err := db.Suggestions(
				t.Context(), org, readmodels.SuggestionFilter{}, readmodels.SuggestionPage{Limit: 50},
			)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, s := range found.Items {
				single, err := db.Suggestion(t.Context(), org, s.ID)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "%+v\n%+v\n", s, single)
			}
			return out.String()
		}
		var album []seen
		for _, body := range []any{
			made(one, bot, "Linear", "linear.app"),
			made(two, other, "Lines", "linear.app"),
			catalog.SuggestionBacked{SuggestionID: one, AgentID: other, Name: "linear", Reason: "me too"},
			catalog.SuggestionBacked{SuggestionID: two, AgentID: other, Name: "Lines", Reason: "again"},
			catalog.SuggestionDismissed{SuggestionID: two, Reason: "no"},
			catalog.SuggestionBacked{SuggestionID: two, AgentID: bot, Name: "Lines", Reason: "now"},
			catalog.SuggestionAccepted{SuggestionID: one, ToolID: uuid.NewString()},
			catalog.SuggestionRedirected{SuggestionID: two, ToolID: uuid.NewString()},
		} {
			position := w.then("catalog-"+org, admin, body)
			album = append(album, seen{readmodels.Moment{Position: position, Time: w.now}, list(w.db)})
		}
		for _, then := range album {
			if got := list(w.db.At(then.at)); got != then.shows {
				t.Errorf("at %d the list was\n%s\nand is said to have been\n%s", then.at.Position, then.shows, got)
			}
		}
	})
}

// TestThePastHasEveryColumn compares the tables of the past with those of now.
func TestThePastHasEveryColumn(t *testing.T) {
	w := newWorld(t, embedded)
	columns := func(db *sql.DB, table string) []string {
		rows, err := db.QueryContext(t.Context(), "SELECT name FROM pragma_table_info('"+table+"')")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		var names []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	// What a fetch changes, and what says from when to when a row of the past was valid.
	other := []string{
		"fetch_count", "last_fetched_at", "last_seen_at", "last_used_at", "since", "until",
	}
	w.place.ask(t, func(db *sql.DB) {
		for table := range maps.Keys(keys) {
			now, has := strings.CutPrefix(table, "past_")
			if !has {
				continue
			}
			of := func(table string) []string {
				return slices.DeleteFunc(columns(db, table), func(c string) bool { return slices.Contains(other, c) })
			}
			if !slices.Equal(of(now), of(table)) || len(of(now)) == 0 {
				t.Errorf("%s has the columns %v and %s has %v", now, of(now), table, of(table))
			}
		}
	})
}
