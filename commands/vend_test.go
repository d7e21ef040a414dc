package commands_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

// vendedAs reads the event that a receipt names.
func (o *office) vendedAs(v commands.VendedCredential) (agent.CredentialVended, uint64) {
	o.T.Helper()
	stored, err := o.Inst.Log.ReadForward(o.T.Context(), v.Stream, uint64(v.Revision), 1)
	if err != nil || len(stored) != 1 || stored[0].ID != v.EventID {
		o.T.Errorf("the receipt names nothing: %v", err)
		return agent.CredentialVended{}, 0
	}
	return stored[0].Event.(agent.CredentialVended), stored[0].Position
}

// TestEveryFetchGetsWhatItsEventNames changes credential and usage guide under many fetches in two
// processes, and removes each replaced secret at once. Version n of either says so in its text.
func TestEveryFetchGetsWhatItsEventNames(t *testing.T) {
	for _, mode := range []catalog.Mode{catalog.Shared, catalog.PerAgent} {
		t.Run(string(mode), func(t *testing.T) {
			a := open(t)
			b := openOn(t, a.Server, a.Ring)
			ctx := t.Context()
			var tool string
			id, key := a.MustAgent("One")
			if mode == catalog.Shared {
				tool = a.MustTool("GitHub", mode, "version 1")
				a.MustAssign(id, tool)
			} else {
				tool = a.MustTool("GitHub", mode, "")
				a.mustOwn(id, tool, "version 1")
			}
			var acknowledged, fetched, busy atomic.Int64
			acknowledged.Store(1)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 6 {
				process := []*office{a, b}[i%2]
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						least := acknowledged.Load()
						v, err := process.Fetch.Do(ctx, process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
						if commandstest.Code(err) == "busy" {
							busy.Add(1)
							continue
						}
						if err != nil {
							t.Errorf("fetch: %v", err)
							return
						}
						fetched.Add(1)
						event, _ := process.vendedAs(v)
						if text := string(v.Credential.Reveal()); text != fmt.Sprintf(
							`"version %d"`, v.CredentialVersion,
						) || event.CredentialVersion != v.CredentialVersion {
							t.Errorf("version %d came as %s, vended as %+v", v.CredentialVersion, text, event)
						}
						if v.InstructionsVersion > 0 && v.Instructions != fmt.Sprint("guide ", v.InstructionsVersion) ||
							event.InstructionsVersion != v.InstructionsVersion {
							t.Errorf("guide %d came as %q, vended as %+v", v.InstructionsVersion, v.Instructions, event)
						}
						if int64(v.CredentialVersion) < least {
							t.Errorf(
								"version %d came after the rotation to %d was acknowledged", v.CredentialVersion, least,
							)
						}
					}
				})
			}
			for n := 2; n <= 1+eventstoretest.Rounds(60); n++ {
				if err := a.replaced(id, tool, mode, n); err != nil {
					t.Fatal(err)
				}
				acknowledged.Store(int64(n))
				guide := fmt.Sprint("guide ", n-1)
				if _, err := b.Tools.Update(
					ctx, b.Meta(), catalog.UpdateTool{ToolID: tool, Instructions: &guide},
				); err != nil {
					t.Fatal(err)
				}
				before := fetched.Load()
				wait.Until(t, "somebody fetched", func() bool { return fetched.Load() > before || t.Failed() })
			}
			close(stop)
			wg.Wait()
			t.Logf("%d fetches, %d times busy", fetched.Load(), busy.Load())
		})
	}
}

// replaced makes version n of a credential the current one and removes the one before, as the
// reaction will.
func (o *office) replaced(id, tool string, mode catalog.Mode, n int) error {
	ctx, next := o.T.Context(), o.Credential(fmt.Sprint("version ", n))
	head, err := o.Grants.Catalogs.Fresh(ctx, o.Inst.Begun.OrganizationID)
	if err != nil {
		return err
	}
	former := head.State.Tools[tool].SecretID
	if mode == catalog.PerAgent {
		former = o.MustFresh(id).State.Grants[tool].SecretID
		_, err = o.Grants.Replace(ctx, o.Meta(), id, tool, commands.Terms{Credential: next})
	} else {
		_, err = o.Tools.RotateCredential(ctx, o.Meta(), tool, commands.Terms{Credential: next})
	}
	return errors.Join(err, o.Inst.Secrets.Remove(ctx, former))
}

// TestAFetchUnderAReplacementGetsOneOfTheTwo is by a process that holds no sealed text, so that it
// meets secrets that were removed since its vend.
func TestAFetchUnderAReplacementGetsOneOfTheTwo(t *testing.T) {
	for _, mode := range []catalog.Mode{catalog.Shared, catalog.PerAgent} {
		t.Run(string(mode), func(t *testing.T) {
			a := open(t)
			id, key := a.MustAgent("One")
			tool := a.MustTool("GitHub", catalog.PerAgent, "")
			if mode == catalog.Shared {
				tool = a.MustTool("Stripe", mode, "version 1")
				a.MustAssign(id, tool)
			} else {
				a.mustOwn(id, tool, "version 1")
			}
			for n := 2; n <= 1+eventstoretest.Rounds(40); n++ {
				b := openOn(t, a.Server, a.Ring)
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := a.replaced(id, tool, mode, n); err != nil {
						t.Errorf("replace: %v", err)
					}
				})
				v, err := b.Fetch.Do(t.Context(), b.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
				wg.Wait()
				if text := string(v.Credential.Reveal()); err != nil ||
					text != fmt.Sprintf(`"version %d"`, v.CredentialVersion) || v.CredentialVersion < n-1 ||
					v.CredentialVersion > n {
					t.Fatalf("round %d: version %d came as %s: %v", n, v.CredentialVersion, text, err)
				}
			}
		})
	}
}

// TestASecretThatIsMissingIsAFault: nobody replaced it, so to vend once more would not help.
func TestASecretThatIsMissingIsAFault(t *testing.T) {
	o := open(t)
	tool, own := o.MustTool("GitHub", catalog.Shared, "x"), o.MustTool("Linear", catalog.PerAgent, "")
	id, key := o.MustAgent("One")
	o.MustAssign(id, tool)
	secrets := []string{o.mustOwn(id, own, "lin")}
	head, err := o.Grants.Catalogs.Fresh(t.Context(), o.Inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(secrets, head.State.Tools[tool].SecretID) {
		if err := o.Inst.Secrets.Remove(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	for _, toolID := range []string{tool, own} {
		before := o.Count("credential.vended.v1")
		by := commands.Proof{KeyNumber: key.Number}
		if _, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, by, toolID); !errors.Is(err, seal.ErrGone) {
			t.Errorf("got %v", err)
		}
		if n := o.Count("credential.vended.v1") - before; n != 1 {
			t.Errorf("it was vended %d times", n)
		}
	}
}

// TestAProcessThatLacksAMasterKeySaysSo: another replica has put the new key first already.
func TestAProcessThatLacksAMasterKeySaysSo(t *testing.T) {
	o := open(t)
	next := masterKey(t)
	loop := commands.NewInstallationLoop(o.Env)
	if _, err := loop.Do(t.Context(), "", o.Meta(), func(installation.State, time.Time) (installation.Command, error) {
		return installation.AddMasterKey{MasterKey: next.Public()}, nil
	}); err != nil {
		t.Fatal(err)
	}
	ahead := openOn(t, o.Server, ringOf(t, next, o.Ring.Current()))
	tool := ahead.MustTool("GitHub", catalog.Shared, "x")
	id, key := ahead.MustAgent("One")
	ahead.MustAssign(id, tool)
	ahead.MustFetch(id, tool, key.Number)
	_, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Kind != domain.KindUnavailable ||
		refusal.RetryAfter <= 0 {
		t.Errorf("got %v", err)
	}
}

func TestBothKeysWorkWhileTheyOverlap(t *testing.T) {
	c := &commandstest.Clock{}
	o := openAt(t, eventstoretest.Start(t), commandstest.Ring(t), c)
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, former := o.MustAgent("One")
	o.MustAssign(id, tool)
	if _, err := o.Agents.RotateKey(t.Context(), o.Meta(), id, commands.Rotation{Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	fetch := func(number int) error {
		_, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: number}, tool)
		return err
	}
	if err := errors.Join(fetch(former.Number), fetch(former.Number+1)); err != nil {
		t.Errorf("during the overlap: %v", err)
	}
	c.Advance(time.Hour)
	if err := fetch(former.Number); commandstest.Code(err) != "credentials_expired" {
		t.Errorf("the former after it: %v", err)
	}
	if err := fetch(former.Number + 1); err != nil {
		t.Errorf("the newer after it: %v", err)
	}
	for _, cached := range []bool{true, false} {
		if _, err := o.Callers.Agent(t.Context(), former, cached); commandstest.Code(err) != "credentials_expired" {
			t.Errorf("the former is admitted: %v", err)
		}
	}
}

// TestAFetchIsVendedOnceAfterAnOutage also when it waited so long that its command may have been
// taken over.
func TestAFetchIsVendedOnceAfterAnOutage(t *testing.T) {
	o := openOn(t, impatient(t), commandstest.Ring(t))
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, key := o.MustAgent("One")
	o.MustAssign(id, tool)
	o.MustFetch(id, tool, key.Number)
	before := o.Server.Client.Generation()
	o.Server.Stop()
	if err := o.Server.Client.Tombstone(t.Context(), "secret-none"); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Fatalf("without the log: %v", err)
	}
	o.restart()
	if o.Server.Client.Generation() == before {
		t.Fatal("it is the connection that it was")
	}
	for _, old := range []bool{false, true} {
		before := o.Count("credential.vended.v1")
		m := o.AsAgent(id)
		if old {
			m.CommandID = commandstest.LongAgo(m.CommandID)
		}
		v, err := o.Fetch.Do(t.Context(), m, id, commands.Proof{KeyNumber: key.Number}, tool)
		if err != nil || o.Count("credential.vended.v1") != before+1 {
			t.Errorf("%d vends: %v", o.Count("credential.vended.v1")-before, err)
		}
		o.vendedAs(v)
	}
}

func TestAccessEndsAtItsTimeWithoutAnybodyWritingIt(t *testing.T) {
	c := &commandstest.Clock{}
	o := openAt(t, eventstoretest.Start(t), commandstest.Ring(t), c)
	tool := o.MustTool("GitHub", catalog.Shared, "x")
	id, key := o.MustAgent("One")
	ends := c.Now().Add(time.Hour)
	if _, err := o.Grants.Assign(t.Context(), o.Meta(), id, tool, commands.Terms{ExpiresAt: &ends}); err != nil {
		t.Fatal(err)
	}
	o.MustFetch(id, tool, key.Number)
	c.Advance(time.Hour)
	_, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Extra["your_access"] != "expired" {
		t.Errorf("after its time: %v", err)
	}
	if n := o.Count("grant.expired.v1"); n != 0 {
		t.Errorf("%d ends are written", n)
	}
	if _, _, err := o.Grants.Request(t.Context(), o.AsAgent(id), id, tool, commands.Wanted{Reason: "again"}); err != nil ||
		o.Count("grant.expired.v1") != 1 {
		t.Errorf("asking again: %v, %d ends are written", err, o.Count("grant.expired.v1"))
	}
}
