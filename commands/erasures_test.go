package commands_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/eventstore/seal"
)

// clerk is an office whose clock a test sets, with what erases.
type clerk struct {
	*office
	*commands.Erasures
	now time.Time
}

func openClerk(t *testing.T) *clerk {
	c := &clerk{office: open(t), now: time.Date(2026, 3, 5, 14, 3, 0, 0, time.UTC)}
	clock := func() time.Time { return c.now }
	c.Erasures = &commands.Erasures{
		Organizations: commands.NewOrganizationLoop(c.Env), People: commands.NewPersonLoop(c.Env),
		Privacy: seal.NewPrivacy(c.Inst.Secrets, clock), Log: c.Inst.Log, Clock: clock,
	}
	return c
}

func (c *clerk) sealed(text string) string {
	c.T.Helper()
	sealed, err := c.Privacy.Seal(c.T.Context(), c.Inst.Begun.OrganizationID, seal.Personal{UserAgent: text})
	if err != nil || sealed == "" {
		c.T.Fatalf("it is sealed as %q: %v", sealed, err)
	}
	return sealed
}

// opens looks at the log, as a process does that has just started.
func (c *clerk) opens(sealed string) string {
	c.T.Helper()
	p, err := seal.NewPrivacy(c.Inst.Secrets, c.Clock).Open(c.T.Context(), c.Inst.Begun.OrganizationID, sealed)
	if err != nil {
		c.T.Fatal(err)
	}
	return p.UserAgent
}

// TestOfAMonthTheDaysAreErasedThatAreOver goes through a month with three days on which somebody
// called.
func TestOfAMonthTheDaysAreErasedThatAreOver(t *testing.T) {
	c := openClerk(t)
	first := c.sealed("first")
	c.now = c.now.AddDate(0, 0, 1)
	second := c.sealed("second")
	erase := func(month string) (commands.ErasedMonth, error) {
		return c.Month(t.Context(), c.Meta(), month, "its time is over")
	}
	done, err := erase("2026-03")
	if want := (commands.ErasedMonth{Through: "2026-03-05", Days: 1, Changed: true}); done != want || err != nil {
		t.Fatalf("%+v %v, want %+v", done, err, want)
	}
	if c.opens(first) != "" || c.opens(second) != "second" {
		t.Errorf("the days are %q and %q", c.opens(first), c.opens(second))
	}
	if done, err := erase("2026-03"); done.Changed || done.Days != 0 || err != nil {
		t.Errorf("on the same day again: %+v %v", done, err)
	}
	c.now = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	april := c.sealed("april")
	for month, says := range map[string]string{
		"2026-04": "no day of 2026-04 is over yet", "2026-05": "2026-05 has not begun", "2026-13": "such as 2026-03",
		"2026-3": "such as 2026-03", "march": "such as 2026-03", "": "such as 2026-03",
	} {
		if _, err := erase(month); commandstest.Code(err) != "validation_failed" || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", month, err)
		}
	}
	done, err = erase("2026-03")
	if want := (commands.ErasedMonth{Through: "2026-03-31", Days: 1, Changed: true}); done != want || err != nil {
		t.Errorf("%+v %v, want %+v", done, err, want)
	}
	if c.opens(second) != "" || c.opens(april) != "april" {
		t.Errorf("the days are %q and %q", c.opens(second), c.opens(april))
	}
	if n := c.Count("privacy.month_erased.v1"); n != 2 {
		t.Errorf("%d erasures are recorded", n)
	}
	for _, reason := range []string{"", "x", "two\nlines", strings.Repeat("x", 501)} {
		if _, err := c.Month(t.Context(), c.Meta(), "2026-02", reason); commandstest.Code(err) != "validation_failed" {
			t.Errorf("for the reason %q: %v", reason, err)
		}
	}
	nowhere := c.Meta()
	nowhere.Organization = commandstest.NewID().String()
	if _, err := c.Month(t.Context(), nowhere, "2026-02", "its time is over"); commandstest.Code(err) != "not_found" {
		t.Errorf("of no organization: %v", err)
	}
}

// TestAnErasureThatWasBrokenOffIsFinished: the log says that something is erased, and the process
// died before it removed the key.
func TestAnErasureThatWasBrokenOffIsFinished(t *testing.T) {
	c := openClerk(t)
	here := c.Inst.Begun.OrganizationID
	march := c.sealed("march")
	c.now = c.now.AddDate(0, 1, 0)
	owner, err := c.Agents.Person(t.Context(), c.Meta(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Organizations.Do(t.Context(), here, c.Meta(), func(organization.State, time.Time) (organization.Command,
		error,
	) {
		return organization.EraseMonth{Month: "2026-03", Through: "2026-03-31", Days: 1, Reason: "its time is over"}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.People.Do(t.Context(), owner, c.Meta(), func(person.State, time.Time) (person.Command, error) {
		return person.Erase{OrganizationID: here}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if c.opens(march) != "march" || c.keys() != 2 {
		t.Fatalf("it was finished already: %q, %d keys", c.opens(march), c.keys())
	}
	done, err := c.Month(t.Context(), c.Meta(), "2026-03", "its time is over")
	if err != nil || done.Changed || done.Days != 1 || c.opens(march) != "" {
		t.Errorf("the month: %+v %v, and %q opens", done, err, c.opens(march))
	}
	if result, err := c.Person(t.Context(), c.Meta(), owner, theOperator); err != nil || result.Changed || c.keys() != 1 {
		t.Errorf("the person: %t %v, %d keys", result.Changed, err, c.keys())
	}
	// The same owner of another agent has the same id, and is not recorded again.
	if again, err := c.Agents.Person(t.Context(), c.Meta(), "ada@example.com"); again != owner || err != nil {
		t.Errorf("the same owner is %s, and was %s: %v", again, owner, err)
	}
	if n, erased := c.Count("person.recorded.v1"), c.Count("person.erased.v1"); n != 1 || erased != 1 || c.keys() != 1 {
		t.Errorf("%d are recorded, %d erased, and there are %d keys", n, erased, c.keys())
	}
}

// keys counts the keys of names that are there.
func (c *clerk) keys() (n int) {
	for _, e := range commandstest.Everything(c.T, c.Server) {
		if !strings.Contains(string(e.Data), `"purpose":"person_key"`) {
			continue
		}
		if _, err := c.Server.Client.ReadForward(c.T.Context(), e.Stream, 0, 1); err == nil {
			n++
		}
	}
	return n
}

// TestANameOfNoTokenLeavesNoKey: of a token that isn't made no key is left.
func TestANameOfNoTokenLeavesNoKey(t *testing.T) {
	c := openClerk(t)
	tokens := &commands.Organizations{
		Loop: c.Organizations, Privacy: c.Privacy, First: c.Inst.Begun.OrganizationID,
	}
	create := func(organization, name string, role domain.Role) error {
		m := c.Meta()
		m.Organization = organization
		_, err := tokens.CreateToken(t.Context(), m, commands.NewToken{Name: name, Role: role, By: theOperator})
		return err
	}
	for _, err := range []error{
		create(c.Inst.Begun.OrganizationID, "ci", "janitor"), create(c.Inst.Begun.OrganizationID, "", domain.RoleAdmin),
		create(uuid.NewString(), "ci", domain.RoleAdmin), create("x", "ci", domain.RoleAdmin),
	} {
		if code := commandstest.Code(err); code != "validation_failed" && code != "not_found" {
			t.Errorf("%v", err)
		}
	}
	if n := c.keys(); n != 1 { // of the first token
		t.Errorf("%d names have a key", n)
	}
	m := c.Meta()
	wanted := commands.NewToken{Name: "ci", Note: "nightly", Role: domain.RoleAdmin, By: theOperator}
	made, err := tokens.CreateToken(t.Context(), m, wanted)
	if err != nil {
		t.Fatal(err)
	}
	named, err := c.Privacy.OpenName(t.Context(), m.Organization, made.Token.ID, made.Token.Sealed)
	if named != (seal.Named{Name: "ci", Note: "nightly"}) || err != nil {
		t.Errorf("it is called %+v: %v", named, err)
	}
	if n := c.keys(); n != 2 {
		t.Errorf("%d names have a key", n)
	}
}
