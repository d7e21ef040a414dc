package commands_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// secretIs tells what became of a secret: "there", "removed" or "never".
func (o *office) secretIs(id string) string {
	o.T.Helper()
	switch _, err := o.Server.Client.ReadForward(o.T.Context(), "secret-"+id, 0, 1); {
	case err == nil:
		return "there"
	case errors.Is(err, eventstore.ErrStreamDeleted):
		return "removed"
	case errors.Is(err, eventstore.ErrStreamNotFound):
		return "never"
	default:
		o.T.Fatal(err)
		return ""
	}
}

// credentials lists the secrets of purpose credential that were ever written, by id.
func (o *office) credentials() []string {
	o.T.Helper()
	var ids []string
	for _, e := range commandstest.Everything(o.T, o.Server) {
		if e.Type != "secret.sealed.v1" {
			continue
		}
		event, err := codec.Decode(e.Type, e.Data)
		if err != nil {
			o.T.Fatal(err)
		}
		if s := event.(codec.SecretSealed); s.Purpose == string(seal.Credential) {
			ids = append(ids, s.SecretID)
		}
	}
	return ids
}

func (o *office) mustOwn(agentID, toolID, text string) string {
	o.T.Helper()
	d, err := o.Grants.Assign(o.T.Context(), o.Meta(), agentID, toolID, commands.Terms{Credential: o.Credential(text)})
	if err != nil {
		o.T.Fatalf("assign: %v", err)
	}
	return d.Grant().SecretID
}

func (o *office) mustRequest(agentID, toolID string) string {
	o.T.Helper()
	id, _, err := o.Grants.Request(o.T.Context(), o.AsAgent(agentID), agentID, toolID, commands.Wanted{Reason: "because"})
	if err != nil {
		o.T.Fatalf("request: %v", err)
	}
	return id
}

func TestASecretIsDurableBeforeTheEventThatNamesIt(t *testing.T) {
	o := open(t)
	shared, own := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Linear", catalog.PerAgent, "")
	ctx := t.Context()
	second := commands.Terms{Credential: o.Credential("ghp_second")}
	if _, err := o.Tools.RotateCredential(ctx, o.Meta(), shared, second); err != nil {
		t.Fatal(err)
	}
	id, _ := o.MustAgent("One")
	o.mustOwn(id, own, "lin_one")
	if _, err := o.Grants.Replace(
		ctx, o.Meta(), id, own, commands.Terms{Credential: o.Credential("lin_two")},
	); err != nil {
		t.Fatal(err)
	}
	other, _ := o.MustAgent("Two")
	if _, err := o.Grants.Approve(
		ctx, o.Meta(), o.mustRequest(other, own), commands.Terms{Credential: o.Credential("lin_three")},
	); err != nil {
		t.Fatal(err)
	}
	written, named := map[string]bool{}, 0
	for _, e := range commandstest.Everything(t, o.Server) {
		if e.Type == codec.Snapshot {
			continue
		}
		event, err := codec.Decode(e.Type, e.Data)
		if err != nil {
			t.Fatal(err)
		}
		var needs string
		switch event := event.(type) {
		case codec.SecretSealed:
			written[event.SecretID] = true
		case catalog.ToolAdded:
			needs = event.SecretID
		case catalog.ToolCredentialRotated:
			needs = event.SecretID
		case agent.GrantAssigned:
			needs = event.SecretID
		case agent.GrantApproved:
			needs = event.SecretID
		case agent.GrantCredentialReplaced:
			needs = event.SecretID
		}
		if needs == "" {
			continue
		}
		if named++; !written[needs] {
			t.Errorf("%s names a secret that comes later", e.Type)
		}
	}
	if named != 5 {
		t.Errorf("%d events name a secret", named)
	}
}

func TestNoSecretIsWrittenForWhatIsRefused(t *testing.T) {
	o := open(t)
	shared, own := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Linear", catalog.PerAgent, "")
	id, _ := o.MustAgent("One")
	o.mustOwn(id, own, "lin_one")
	before := len(o.credentials())
	past, ctx := time.Now().Add(-time.Minute), t.Context()
	terms := commands.Terms{Credential: o.Credential("lin_two")}
	for what, call := range map[string]func() error{
		"already_approved":  func() error { _, err := o.Grants.Assign(ctx, o.Meta(), id, own, terms); return err },
		"validation_failed": func() error { _, err := o.Grants.Assign(ctx, o.Meta(), id, shared, terms); return err },
		"not_found":         func() error { _, err := o.Grants.Replace(ctx, o.Meta(), id, shared, terms); return err },
		"tool_exists": func() error {
			_, _, err := o.Tools.Add(
				ctx, o.Meta(), catalog.AddTool{Name: "GITHUB", Mode: catalog.Shared}, o.Credential("x"),
			)
			return err
		},
		"validation_failed ": func() error {
			ended := commands.Terms{Credential: o.Credential("x"), ExpiresAt: &past}
			_, err := o.Tools.RotateCredential(ctx, o.Meta(), shared, ended)
			return err
		},
	} {
		if err := call(); commandstest.Code(err) != strings.TrimSpace(what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := len(o.credentials()); after != before {
		t.Errorf("%d secrets were written", after-before)
	}
}

// TestOfTwoDecisionsAtTheSameTimeOneWinsAndTheOthersSecretIsRemoved races what each of two
// processes accepts when it looks, and the log can take once.
func TestOfTwoDecisionsAtTheSameTimeOneWinsAndTheOthersSecretIsRemoved(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	own := a.MustTool("Linear", catalog.PerAgent, "")
	ctx := t.Context()
	races := map[string]struct {
		prepare func() string
		decide  func(o *office, subject string) error
		loser   string
		event   string
	}{
		"approving": {
			func() string { id, _ := a.MustAgent("x"); return a.mustRequest(id, own) },
			func(o *office, request string) error {
				_, err := o.Grants.Approve(ctx, o.Meta(), request, commands.Terms{Credential: o.Credential("lin")})
				return err
			}, "already_decided", "grant.approved.v1",
		},
		"assigning": {
			func() string { id, _ := a.MustAgent("x"); return id },
			func(o *office, id string) error {
				_, err := o.Grants.Assign(ctx, o.Meta(), id, own, commands.Terms{Credential: o.Credential("lin")})
				return err
			}, "already_approved", "grant.assigned.v1",
		},
		"adding a tool": {
			func() string { return commandstest.NewID().String() },
			func(o *office, name string) error {
				_, _, err := o.Tools.Add(
					ctx, o.Meta(), catalog.AddTool{Name: name, Mode: catalog.Shared}, o.Credential("x"),
				)
				return err
			}, "tool_exists", "tool.added.v1",
		},
	}
	for name, race := range races {
		t.Run(name, func(t *testing.T) {
			for range eventstoretest.Rounds(40) {
				subject := race.prepare()
				events, before := a.Count(race.event), a.credentials()
				errs := make([]error, 2)
				var wg sync.WaitGroup
				for i, process := range []*office{a, b} {
					wg.Go(func() { errs[i] = race.decide(process, subject) })
				}
				wg.Wait()
				if (errs[0] == nil) == (errs[1] == nil) || commandstest.Code(errors.Join(errs...)) != race.loser {
					t.Fatalf("they got %v and %v", errs[0], errs[1])
				}
				if n := a.Count(race.event) - events; n != 1 {
					t.Fatalf("the log holds %d decisions", n)
				}
				there := 0
				for _, id := range a.credentials() { // what was removed may be gone from the log by now
					if !slices.Contains(before, id) && a.secretIs(id) == "there" {
						there++
					}
				}
				if there != 1 {
					t.Fatalf("%d secrets are left", there)
				}
			}
		})
	}
}

func TestASealedTextThatWasMovedDoesNotOpen(t *testing.T) {
	o := open(t)
	first, second := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Stripe", catalog.Shared, "sk_live")
	id, key := o.MustAgent("One")
	o.MustAssign(id, first)
	head, err := o.Grants.Catalogs.Fresh(t.Context(), o.Inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	target, source := head.State.Tools[first].SecretID, head.State.Tools[second].SecretID
	read := func(id string) eventstore.Recorded {
		stored, err := o.Server.Client.ReadForward(t.Context(), "secret-"+id, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return stored[0]
	}
	fetch := func() (commands.VendedCredential, error) { // by a process that has neither in memory
		other := openOn(t, o.Server, o.Ring)
		return other.Fetch.Do(t.Context(), other.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, first)
	}
	if v, err := fetch(); err != nil || string(v.Credential.Reveal()) != `"ghp_first"` {
		t.Fatalf("before: %v", err)
	}
	event, err := codec.Decode(read(source).Type, read(source).Data)
	if err != nil {
		t.Fatal(err)
	}
	// Even signed by us, and with everything around the sealed text as it should be, it is another
	// secret's.
	moved := event.(codec.SecretSealed)
	original, _ := codec.Decode(read(target).Type, read(target).Data)
	moved.SecretID, moved.Owner = target, original.(codec.SecretSealed).Owner
	signed := codec.Signed{
		Organization: o.Inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorSystem, ID: "x"},
		CommandID: commandstest.NewID().String(), Time: time.Now().UTC(),
	}
	sealed, err := o.Inst.Log.ReadForward(t.Context(), "secret-"+target, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Inst.Log.Write(t.Context(), "secret-"+target, sealed[0].End(), moved, signed); err != nil {
		t.Fatal(err)
	}
	if v, err := fetch(); !errors.Is(err, seal.ErrDoesNotOpen) || !v.Credential.Empty() {
		t.Errorf("a sealed text of another secret: %v", err)
	}
	// The stored event itself, copied, is not even ours.
	raw := read(source)
	if _, err := o.Server.Client.Append(
		t.Context(), "secret-"+target, 1,
		eventstore.Event{ID: commandstest.NewID(), Type: raw.Type, Data: raw.Data, Metadata: raw.Metadata},
	); err != nil {
		t.Fatal(err)
	}
	if v, err := fetch(); !errors.Is(err, seal.ErrDoesNotOpen) || !v.Credential.Empty() {
		t.Errorf("a copied event: %v", err)
	}
}

func TestWhatEndsAccessRemovesTheAgentsOwnCredential(t *testing.T) {
	o := open(t)
	shared, own := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Linear", catalog.PerAgent, "")
	ctx := t.Context()
	ends := map[string]func(id string) error{
		"revoking": func(id string) error {
			_, err := o.Grants.Revoke(ctx, o.Meta(), id, own, agent.CauseAdmin)
			return err
		},
		"suspending": func(id string) error { _, err := o.Agents.Suspend(ctx, o.Meta(), id); return err },
		"retiring":   func(id string) error { _, err := o.Agents.Retire(ctx, o.Meta(), id); return err },
	}
	head, err := o.Grants.Catalogs.Fresh(ctx, o.Inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	sharedSecret := head.State.Tools[shared].SecretID
	for name, end := range ends {
		id, _ := o.MustAgent(name)
		o.MustAssign(id, shared)
		secret := o.mustOwn(id, own, "lin_"+name)
		if err := end(id); err != nil || o.secretIs(secret) != "removed" || o.secretIs(sharedSecret) != "there" {
			t.Errorf(
				"%s: %v, its own is %s, the shared one %s", name, err, o.secretIs(secret), o.secretIs(sharedSecret),
			)
		}
		if err := end(id); commandstest.Code(err) != "" && commandstest.Code(err) != "not_found" {
			t.Errorf("%s again: %v", name, err)
		}
	}
	if _, err := o.Tools.Remove(ctx, o.Meta(), shared); err != nil || o.secretIs(sharedSecret) != "removed" {
		t.Errorf("removing a tool: %v, its secret is %s", err, o.secretIs(sharedSecret))
	}
}

// TestACommandThatIsFoundDoneRemovesNothingNewer: a suspension taken over long after the agent got
// access again.
func TestACommandThatIsFoundDoneRemovesNothingNewer(t *testing.T) {
	o := open(t)
	own := o.MustTool("Linear", catalog.PerAgent, "")
	id, key := o.MustAgent("One")
	former := o.mustOwn(id, own, "lin_one")
	m := o.Meta()
	if _, err := o.Agents.Suspend(t.Context(), m, id); err != nil {
		t.Fatal(err)
	}
	o.MustDo(id, commandstest.Always(agent.Reactivate{}))
	newer := o.mustOwn(id, own, "lin_two")
	m.Since = 1
	if _, err := o.Agents.Suspend(t.Context(), m, id); err != nil || o.secretIs(former) != "removed" ||
		o.secretIs(newer) != "there" {
		t.Errorf("%v, the newer credential is %s", err, o.secretIs(newer))
	}
	if v := o.MustFetch(id, own, key.Number); string(v.Credential.Reveal()) != `"lin_two"` {
		t.Error("another credential came")
	}
}

func TestAPersonHasOneIDAndStandsNowhereInClear(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	first, err := o.Agents.Person(ctx, o.Meta(), "Ada.Lovelace@Example.com")
	if err != nil || first == "" {
		t.Fatal(err)
	}
	for _, text := range []string{
		"Ada.Lovelace@Example.com", "ada.lovelace@example.com", " ADA.LOVELACE@EXAMPLE.COM ",
		"ａda.lovelace@example.com",
	} {
		if again, err := openOn(t, o.Server, o.Ring).Agents.Person(ctx, o.Meta(), text); err != nil || again != first {
			t.Errorf("%q is %s: %v", text, again, err)
		}
	}
	elsewhere := o.Meta()
	elsewhere.Organization = commandstest.NewID().String()
	for what, id := range map[string]func() (string, error){
		"another person": func() (string, error) { return o.Agents.Person(ctx, o.Meta(), "grace@example.com") },
		"another organization": func() (string, error) {
			return o.Agents.Person(ctx, elsewhere, "Ada.Lovelace@Example.com")
		},
		"nobody": func() (string, error) { return o.Agents.Person(ctx, o.Meta(), "") },
		"another installation": func() (string, error) {
			other := open(t)
			return other.Agents.Person(ctx, o.Meta(), "Ada.Lovelace@Example.com")
		},
	} {
		if got, err := id(); err != nil || got == first {
			t.Errorf("%s has the same id: %v", what, err)
		}
	}
	if n := o.Count("person.recorded.v1"); n != 3 {
		t.Errorf("%d persons are recorded", n)
	}
	id, _ := o.MustAgent("One")
	if o.MustFresh(id).State.OwnerID == "" {
		t.Error("the agent has no owner")
	}
	for _, e := range commandstest.Everything(t, o.Server) {
		both := bytes.ToLower(append(bytes.Clone(e.Data), e.Metadata...))
		for _, text := range []string{"lovelace", "ada@", "grace", "192.0.2.1"} {
			if bytes.Contains(both, []byte(text)) {
				t.Errorf("%s of %s shows %q", e.Type, e.Stream, text)
			}
		}
	}
}

func TestPersonsAreRecordedOnceHoweverManyRegisterAtOnce(t *testing.T) {
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	for i := range eventstoretest.Rounds(20) {
		ids := make([]string, 6)
		var wg sync.WaitGroup
		for j := range ids {
			process := []*office{a, b}[j%2]
			wg.Go(func() {
				var err error
				if ids[j], err = process.Agents.Person(
					t.Context(), process.Meta(), fmt.Sprintf("person-%d@example.com", i),
				); err != nil {
					t.Errorf("record: %v", err)
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("one person has the ids %v", ids)
			}
		}
		if n := a.Count("person.recorded.v1"); n != i+1 {
			t.Fatalf("%d persons are recorded, want %d", n, i+1)
		}
	}
}
