package commands_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// vendedAs reads the event that a receipt names.
func (o *office) vendedAs(v commands.Vended) (agent.CredentialVended, uint64) {
	o.t.Helper()
	stored, err := o.inst.Log.ReadForward(o.t.Context(), v.Stream, uint64(v.Revision), 1)
	if err != nil || len(stored) != 1 || stored[0].ID != v.EventID {
		o.t.Errorf("the receipt names nothing: %v", err)
		return agent.CredentialVended{}, 0
	}
	return stored[0].Event.(agent.CredentialVended), stored[0].Position
}

// TestEveryFetchGetsWhatItsEventNames changes credential and usage guide under many fetches in two processes, and
// removes each replaced secret at once. Version n of either says so in its text.
func TestEveryFetchGetsWhatItsEventNames(t *testing.T) {
	for _, mode := range []catalog.Mode{catalog.Shared, catalog.PerAgent} {
		t.Run(string(mode), func(t *testing.T) {
			a := open(t)
			b := openOn(t, a.server, a.ring)
			ctx := t.Context()
			var tool string
			id, key := a.mustAgent("One")
			if mode == catalog.Shared {
				tool = a.mustTool("GitHub", mode, "version 1")
				a.mustAssign(id, tool)
			} else {
				tool = a.mustTool("GitHub", mode, "")
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
						v, err := process.fetch.Do(ctx, process.asAgent(id), id, key.Number, tool)
						if code(err) == "busy" {
							busy.Add(1)
							continue
						}
						if err != nil {
							t.Errorf("fetch: %v", err)
							return
						}
						fetched.Add(1)
						event, _ := process.vendedAs(v)
						if text := string(v.Credential.Reveal()); text != fmt.Sprintf(`"version %d"`, v.CredentialVersion) || event.CredentialVersion != v.CredentialVersion {
							t.Errorf("version %d came as %s, vended as %+v", v.CredentialVersion, text, event)
						}
						if v.InstructionsVersion > 0 && v.Instructions != fmt.Sprint("guide ", v.InstructionsVersion) || event.InstructionsVersion != v.InstructionsVersion {
							t.Errorf("guide %d came as %q, vended as %+v", v.InstructionsVersion, v.Instructions, event)
						}
						if int64(v.CredentialVersion) < least {
							t.Errorf("version %d came after the rotation to %d was acknowledged", v.CredentialVersion, least)
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
				if _, err := b.tools.Update(ctx, b.meta(), catalog.UpdateTool{ToolID: tool, Instructions: &guide}); err != nil {
					t.Fatal(err)
				}
				before := fetched.Load()
				eventually(t, "somebody fetched", func() bool { return fetched.Load() > before || t.Failed() })
			}
			close(stop)
			wg.Wait()
			t.Logf("%d fetches, %d times busy", fetched.Load(), busy.Load())
		})
	}
}

// replaced makes version n of a credential the current one and removes the one before, as the reaction will.
func (o *office) replaced(id, tool string, mode catalog.Mode, n int) error {
	ctx, next := o.t.Context(), o.credential(fmt.Sprint("version ", n))
	head, err := o.grants.Catalogs.Fresh(ctx, o.inst.Begun.OrganizationID)
	if err != nil {
		return err
	}
	former := head.State.Tools[tool].SecretID
	if mode == catalog.PerAgent {
		former = o.mustFresh(id).State.Grants[tool].SecretID
		_, err = o.grants.Replace(ctx, o.meta(), id, tool, commands.Terms{Credential: next})
	} else {
		_, err = o.tools.RotateCredential(ctx, o.meta(), tool, next, nil)
	}
	return errors.Join(err, o.inst.Secrets.Remove(ctx, former))
}

// TestAFetchUnderAReplacementGetsOneOfTheTwo is by a process that holds no sealed text, so that it meets secrets
// that were removed since its vend.
func TestAFetchUnderAReplacementGetsOneOfTheTwo(t *testing.T) {
	for _, mode := range []catalog.Mode{catalog.Shared, catalog.PerAgent} {
		t.Run(string(mode), func(t *testing.T) {
			a := open(t)
			id, key := a.mustAgent("One")
			tool := a.mustTool("GitHub", catalog.PerAgent, "")
			if mode == catalog.Shared {
				tool = a.mustTool("Stripe", mode, "version 1")
				a.mustAssign(id, tool)
			} else {
				a.mustOwn(id, tool, "version 1")
			}
			for n := 2; n <= 1+eventstoretest.Rounds(40); n++ {
				b := openOn(t, a.server, a.ring)
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := a.replaced(id, tool, mode, n); err != nil {
						t.Errorf("replace: %v", err)
					}
				})
				v, err := b.fetch.Do(t.Context(), b.asAgent(id), id, key.Number, tool)
				wg.Wait()
				if text := string(v.Credential.Reveal()); err != nil || text != fmt.Sprintf(`"version %d"`, v.CredentialVersion) || v.CredentialVersion < n-1 || v.CredentialVersion > n {
					t.Fatalf("round %d: version %d came as %s: %v", n, v.CredentialVersion, text, err)
				}
			}
		})
	}
}

// TestASecretThatIsMissingIsAFault: nobody replaced it, so to vend once more would not help.
func TestASecretThatIsMissingIsAFault(t *testing.T) {
	o := open(t)
	tool, own := o.mustTool("GitHub", catalog.Shared, "x"), o.mustTool("Linear", catalog.PerAgent, "")
	id, key := o.mustAgent("One")
	o.mustAssign(id, tool)
	secrets := []string{o.mustOwn(id, own, "lin")}
	head, err := o.grants.Catalogs.Fresh(t.Context(), o.inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(secrets, head.State.Tools[tool].SecretID) {
		if err := o.inst.Secrets.Remove(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	for _, toolID := range []string{tool, own} {
		before := count(t, o, "credential.vended.v1")
		if _, err := o.fetch.Do(t.Context(), o.asAgent(id), id, key.Number, toolID); !errors.Is(err, seal.ErrGone) {
			t.Errorf("got %v", err)
		}
		if n := count(t, o, "credential.vended.v1") - before; n != 1 {
			t.Errorf("it was vended %d times", n)
		}
	}
}

// TestAProcessThatLacksAMasterKeySaysSo: another replica has put the new key first already.
func TestAProcessThatLacksAMasterKeySaysSo(t *testing.T) {
	o := open(t)
	next := masterKey(t)
	loop := commands.NewInstallationLoop(o.env)
	if _, err := loop.Do(t.Context(), "", o.meta(), func(installation.State, time.Time) (installation.Command, error) {
		return installation.AddMasterKey{MasterKey: next.Public()}, nil
	}); err != nil {
		t.Fatal(err)
	}
	ahead := openOn(t, o.server, ringOf(t, next, o.ring.Current()))
	tool := ahead.mustTool("GitHub", catalog.Shared, "x")
	id, key := ahead.mustAgent("One")
	ahead.mustAssign(id, tool)
	ahead.mustFetch(id, tool, key.Number)
	_, err := o.fetch.Do(t.Context(), o.asAgent(id), id, key.Number, tool)
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Kind != domain.KindUnavailable || refusal.RetryAfter <= 0 {
		t.Errorf("got %v", err)
	}
}

func TestBothKeysWorkWhileTheyOverlap(t *testing.T) {
	c := &clock{}
	o := openAt(t, eventstoretest.Start(t), ring(t), c)
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	id, former := o.mustAgent("One")
	o.mustAssign(id, tool)
	if _, err := o.agents.RotateKey(t.Context(), o.meta(), id, time.Hour); err != nil {
		t.Fatal(err)
	}
	fetch := func(number int) error {
		_, err := o.fetch.Do(t.Context(), o.asAgent(id), id, number, tool)
		return err
	}
	if err := errors.Join(fetch(former.Number), fetch(former.Number+1)); err != nil {
		t.Errorf("during the overlap: %v", err)
	}
	c.advance(time.Hour)
	if err := fetch(former.Number); code(err) != "credentials_expired" {
		t.Errorf("the former after it: %v", err)
	}
	if err := fetch(former.Number + 1); err != nil {
		t.Errorf("the newer after it: %v", err)
	}
	for _, cached := range []bool{true, false} {
		if _, err := o.callers.Agent(t.Context(), former, cached); code(err) != "credentials_expired" {
			t.Errorf("the former is admitted: %v", err)
		}
	}
}

// TestAFetchIsVendedOnceAfterAnOutage also when it waited so long that its command may have been taken over.
func TestAFetchIsVendedOnceAfterAnOutage(t *testing.T) {
	o := openOn(t, impatient(t), ring(t))
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	id, key := o.mustAgent("One")
	o.mustAssign(id, tool)
	o.mustFetch(id, tool, key.Number)
	before := o.server.Client.Generation()
	o.server.Stop()
	if err := o.server.Client.Tombstone(t.Context(), "secret-none"); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Fatalf("without the log: %v", err)
	}
	o.restart()
	if o.server.Client.Generation() == before {
		t.Fatal("it is the connection that it was")
	}
	for _, old := range []bool{false, true} {
		before := count(t, o, "credential.vended.v1")
		m := o.asAgent(id)
		if old {
			m.CommandID = longAgo(m.CommandID)
		}
		v, err := o.fetch.Do(t.Context(), m, id, key.Number, tool)
		if err != nil || count(t, o, "credential.vended.v1") != before+1 {
			t.Errorf("%d vends: %v", count(t, o, "credential.vended.v1")-before, err)
		}
		o.vendedAs(v)
	}
}

func TestAccessEndsAtItsTimeWithoutAnybodyWritingIt(t *testing.T) {
	c := &clock{}
	o := openAt(t, eventstoretest.Start(t), ring(t), c)
	tool := o.mustTool("GitHub", catalog.Shared, "x")
	id, key := o.mustAgent("One")
	ends := c.now().Add(time.Hour)
	if _, err := o.grants.Assign(t.Context(), o.meta(), id, tool, commands.Terms{ExpiresAt: &ends}); err != nil {
		t.Fatal(err)
	}
	o.mustFetch(id, tool, key.Number)
	c.advance(time.Hour)
	_, err := o.fetch.Do(t.Context(), o.asAgent(id), id, key.Number, tool)
	if refusal := (*domain.Error)(nil); !errors.As(err, &refusal) || refusal.Extra["your_access"] != "expired" {
		t.Errorf("after its time: %v", err)
	}
	if n := count(t, o, "grant.expired.v1"); n != 0 {
		t.Errorf("%d ends are written", n)
	}
	if _, _, err := o.grants.Request(t.Context(), o.asAgent(id), id, tool, "again"); err != nil || count(t, o, "grant.expired.v1") != 1 {
		t.Errorf("asking anew: %v, %d ends are written", err, count(t, o, "grant.expired.v1"))
	}
}
