package commands_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agentkey/audit/formats"
	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

func keyMeta() loop.Meta {
	return loop.Meta{Actor: domain.Actor{Type: domain.ActorSystem, ID: "operator"}, CommandID: commandstest.NewID()}
}

func noWait(context.Context, time.Duration) error { return nil }

// replaceKeys replaces the keys of an installation that no other process uses.
func replaceKeys(o *office) commands.Replaced {
	o.T.Helper()
	done, err := o.Inst.SigningKeys.Replace(o.T.Context(), commands.NewInstallationLoop(o.Env), keyMeta, noWait)
	if err != nil {
		o.T.Fatalf("replace the keys: %v", err)
	}
	return done
}

// TestKeysAreReplacedUnderLoad replaces the keys twice while two processes vend: nothing fails, and
// everything that was acknowledged is ours for a process that knows only what the log says.
func TestKeysAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	a := open(t)
	b := openOn(t, a.Server, a.Ring)
	tool := a.MustTool("Linear", catalog.Shared, "x")
	id, key := a.MustAgent("One")
	a.MustAssign(id, tool)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var vended, signedBy [2]atomic.Int64
	first := a.Inst.Log.Keys.Current()
	for i, o := range []*office{a, b} {
		o.Inst.SigningKeys.Rely(commands.Replacement{Lease: 100 * time.Millisecond, Patience: 300 * time.Millisecond})
		running.Go(func() {
			ticker := time.NewTicker(75 * time.Millisecond)
			defer ticker.Stop()
			o.Inst.SigningKeys.Run(ctx, ticker.C, func(err error) { t.Error(err) })
		})
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := o.Fetch.Do(t.Context(), o.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool); err != nil {
					t.Errorf("a fetch: %v", err)
					return
				}
				vended[i].Add(1)
				if o.Inst.Log.Keys.Current() != first {
					signedBy[i].Add(1)
				}
			}
		})
	}
	ended := []string{}
	for range 2 {
		done, err := a.Inst.SigningKeys.Replace(
			t.Context(), commands.NewInstallationLoop(a.Env), keyMeta, func(ctx context.Context, d time.Duration) error {
				select {
				case <-time.After(d):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		)
		if err != nil || len(done.Ended) != 1 {
			t.Fatalf("replaced %+v: %v", done, err)
		}
		ended = append(ended, done.Ended...)
	}
	for i := range signedBy {
		wait.Until(t, "a vend that the new key signs", func() bool { return signedBy[i].Load() > 0 || t.Failed() })
	}
	stop()
	running.Wait()

	c := openOn(t, a.Server, a.Ring)
	if got := c.Inst.Log.Keys.Current(); slices.Contains(ended, got) || ended[0] != first || ended[0] == ended[1] {
		t.Errorf("%v ended, and %s signs", ended, got)
	}
	stored := commandstest.Everything(t, a.Server)
	count := int64(0)
	for _, e := range commandstest.Verified(t, c.Inst.Log, slices.DeleteFunc(stored, func(e eventstore.Recorded) bool {
		category, _ := codec.Split(e.Stream)
		return category == codec.Unknown || category == codec.Snapshots
	})) {
		if _, ok := e.Event.(agent.CredentialVended); ok {
			count++
		}
	}
	if want := vended[0].Load() + vended[1].Load(); count != want {
		t.Errorf("%d fetches were answered, and %d are in the log", want, count)
	}
	if head := c.MustFresh(id); head.Revision < count {
		t.Errorf("the agent's stream has %d events", head.Revision+1)
	}
	checkKeyRanges(t, c.Inst, stored)
}

// checkKeyRanges compares the ranges that outsiders learn with what the keys signed.
func checkKeyRanges(t *testing.T, inst *commands.Installation, stored []eventstore.Recorded) {
	t.Helper()
	keys, err := inst.VerificationKeys()
	if err != nil {
		t.Fatal(err)
	}
	ranges := map[string]formats.Key{}
	lasting := 0
	for _, k := range keys.Keys {
		if ranges[k.ID] = k; k.Use == formats.EventKey && k.NotAfter.IsZero() {
			lasting++
		}
	}
	if len(ranges) != 4 || lasting != 1 || !ranges[inst.Log.Keys.Current()].NotAfter.IsZero() {
		t.Errorf("the keys are %+v", keys)
	}
	for _, e := range stored {
		signed, _, err := inst.Log.Keys.VerifyWhole(e)
		if err != nil {
			continue // counted by the caller
		}
		var by struct{ Key string }
		if err := json.Unmarshal(e.Metadata, &by); err != nil {
			t.Fatal(err)
		}
		k, known := ranges[by.Key]
		if !known || signed.Time.Before(k.NotBefore) || !k.NotAfter.IsZero() && signed.Time.After(k.NotAfter) {
			t.Errorf("%d@%s of %s is outside of the range of its key %+v", e.Revision, e.Stream, signed.Time, k)
		}
	}
}

// TestAStolenFormerKeySignsNothingNew: a thief has the signing key, the MAC key and the store.
func TestAStolenFormerKeySignsNothingNew(t *testing.T) {
	t.Parallel()
	o := open(t)
	tool := o.MustTool("Linear", catalog.Shared, "x")
	id, _ := o.MustAgent("One")
	other, _ := o.MustAgent("Two")
	stolen := codec.NewFollowing(o.Inst.Begun.StoreID, codec.Hooks{})
	stolen.Adopt(o.Inst.Log.Keys)
	thief := &codec.Log{Client: o.Server.Client, Keys: stolen}
	done := replaceKeys(o)
	o.MustDo(other, commandstest.Rename("Two, later"))

	for _, victim := range []string{id, other} {
		head := o.MustFresh(victim)
		signed := codec.Signed{
			Organization: o.Inst.Begun.OrganizationID, Actor: o.Meta().Actor, CommandID: commandstest.NewID().String(),
			Time: time.Now().UTC(),
		}
		if _, err := thief.Write(
			t.Context(), "agent-"+victim, head.End(), agent.GrantAssigned{ToolID: tool}, signed,
		); err != nil {
			t.Fatal(err)
		}
		fresh := openOn(t, o.Server, o.Ring)
		for name, p := range map[string]*office{"that saw it before": o, "that starts": fresh} {
			if got := p.MustFresh(victim); len(got.State.Grants) != 0 || got.Revision != head.Revision {
				t.Errorf("for a process %s the thief's grant counts: %+v", name, got.State.Grants)
			}
		}
		fresh.MustDo(victim, commandstest.Rename("and nobody is stopped"))
	}
	if _, err := o.Inst.Secrets.Open(t.Context(), seal.Binding{
		SecretID: o.Inst.Begun.SigningKey.SecretID, Organization: o.Inst.Begun.OrganizationID, Purpose: seal.SigningKey,
		Owner: o.Inst.Begun.StoreID,
	}); !errors.Is(err, seal.ErrGone) {
		t.Errorf("the key that ended is still there: %v", err)
	}
	if len(done.Ended) != 1 || done.Streams < 4 {
		t.Errorf("replaced %+v", done)
	}
}

// TestWhatAFormerKeyMadeStillWorks: snapshots are made again, and idempotency keys and people are
// found.
func TestWhatAFormerKeyMadeStillWorks(t *testing.T) {
	t.Parallel()
	o := open(t)
	id, _ := o.MustAgent("One")
	person, err := o.Agents.Person(t.Context(), o.Meta(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	m, digest := o.Meta(), []byte("digest")
	ticket, err := o.Once.Begin(t.Context(), m, "once", digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Once.Complete(t.Context(), ticket, commands.StoredAnswer{Status: 201, Body: []byte("made")}); err != nil {
		t.Fatal(err)
	}
	o.Seed(id, loop.SnapshotEvery+1)
	snapshots := func() int {
		stored, err := o.Server.Client.ReadBackward(t.Context(), "snapshot-agent-"+id, 1)
		if err != nil || len(stored) == 0 {
			return -1
		}
		return int(stored[0].Revision)
	}
	openOn(t, o.Server, o.Ring).MustFresh(id)
	wait.Until(t, "a snapshot", func() bool { return snapshots() >= 0 })
	before := snapshots()
	for range 2 {
		replaceKeys(o)
	}
	p := openOn(t, o.Server, o.Ring)
	if got, err := p.Once.Begin(t.Context(), m, "once", digest); err != nil || got.Replay == nil ||
		!bytes.Equal(got.Replay.Body, []byte("made")) {
		t.Errorf("the answer of an idempotency key: %+v %v", got, err)
	}
	if again, err := p.Agents.Person(t.Context(), p.Meta(), "ada@example.com"); again != person || err != nil {
		t.Errorf("a person is %s, and was %s: %v", again, person, err)
	}
	if diff := p.MustFresh(id).Revision - o.MustFresh(id).Revision; diff != 0 {
		t.Errorf("the agent's stream is read differently")
	}
	wait.Until(t, "a new snapshot", func() bool { return snapshots() > before })
	p.NoFault()
	o.NoFault()
}

// TestCuttingTheSigningKeysRevivesNothing takes away what ended a key.
func TestCuttingTheSigningKeysRevivesNothing(t *testing.T) {
	t.Parallel()
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	inst, err := newStarter(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inst.SigningKeys.Replace(
		t.Context(), commands.NewInstallationLoop(inst.Env(time.Now, nil, nil)), keyMeta, noWait,
	); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{2, 1} {
		server.Stop()
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.Join(server.Dir, "events.db")}).EscapedPath())
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []string{
			`delete from events where rev >= $1 and sid = (select sid from streams where name = 'signing-keys')`,
			`update streams set head = $1 - 1 where name = 'signing-keys'`,
		} {
			if _, err := db.ExecContext(t.Context(), change, left); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		server.Restart()
		if _, err := newStarter(server, r).Begin(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "signing-keys has lost its end") && !strings.Contains(err.Error(), "signing key") {
			t.Errorf("with %d events left: %v", left, err)
		}
	}
}

// TestAnAppendIsNotReliedOnAfterItsKeyWasReplaced: a process that was paused between signing and
// the answer.
func TestAnAppendIsNotReliedOnAfterItsKeyWasReplaced(t *testing.T) {
	t.Parallel()
	o := open(t)
	id, _ := o.MustAgent("One")
	p := openOn(t, o.Server, o.Ring)
	p.MustFresh(id)
	p.Inst.SigningKeys.Rely(commands.Replacement{})
	p.MustDo(id, commandstest.Rename("looks again, and nothing has changed"))
	replaceKeys(o)
	_, err := p.Agents.Do(t.Context(), p.Meta(), id, commandstest.Rename("signed with a key that has ended"))
	if commandstest.Code(err) != "event_log_unavailable" {
		t.Errorf("it was relied on: %v", err)
	}
	p.MustDo(id, commandstest.Rename("signed with the new key"))
	if name := openOn(t, o.Server, o.Ring).MustFresh(id).State.Name; name != "signed with the new key" {
		t.Errorf("the agent is called %q", name)
	}
}
