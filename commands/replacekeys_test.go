package commands_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/loop"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/installation"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// thiefOf signs with the present key of an installation, whatever becomes of it.
func thiefOf(inst *commands.Installation) *codec.Log {
	stolen := codec.NewFollowing(inst.Begun.StoreID, codec.Hooks{})
	stolen.Adopt(inst.Log.Keys)
	return &codec.Log{Client: inst.Log.Client, Keys: stolen}
}

func signedNow(inst *commands.Installation) codec.Signed {
	return codec.Signed{
		Organization: inst.Begun.OrganizationID, Actor: keyMeta().Actor, CommandID: commandstest.NewID().String(),
		Time: time.Now().UTC(),
	}
}

// checkKeys joins an installation as a process that starts does: the log is ours to its end but for
// some events, one key signs, and the private half of no other is left.
func checkKeys(t *testing.T, server *eventstoretest.Server, r seal.Ring, foreign int) *commands.Installation {
	t.Helper()
	inst, err := newStarter(server, r).Begin(t.Context())
	if err != nil {
		t.Fatalf("a start: %v", err)
	}
	chain := inst.Log.NewWholeChain()
	for _, e := range commandstest.Everything(t, server) {
		if category, _ := codec.Split(e.Stream); category == codec.Unknown || category == codec.Snapshots {
			continue
		}
		if _, err := chain.Next(t.Context(), e); err != nil {
			if foreign--; foreign < 0 {
				t.Error(err)
			}
		}
	}
	keys, err := inst.VerificationKeys()
	if err != nil {
		t.Fatal(err)
	}
	last := len(keys.Keys) - 1
	for i, k := range keys.Keys[1:] { // after the one of checkpoints
		if k.NotAfter.IsZero() != (i+1 == last) {
			t.Errorf("the keys are %+v", keys.Keys)
		}
	}
	if keys.Keys[last].ID != inst.Log.Keys.Current() {
		t.Errorf("%s signs, and the keys are %+v", inst.Log.Keys.Current(), keys.Keys)
	}
	return inst
}

// TestAReplacementThatIsBrokenOffIsFinished breaks it off before each of its steps.
func TestAReplacementThatIsBrokenOffIsFinished(t *testing.T) {
	t.Parallel()
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	inst, err := newStarter(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for step, done := 1, false; !done; step++ {
		ctx, breakOff := context.WithCancel(t.Context())
		steps := 0
		meta := func() loop.Meta {
			if steps++; steps == step {
				breakOff()
			}
			return keyMeta()
		}
		office := commands.NewInstallationLoop(inst.Env(time.Now, nil, nil))
		first, err := inst.SigningKeys.Replace(ctx, office, meta, noWait)
		done = err == nil && ctx.Err() == nil
		breakOff()
		if inst, err = newStarter(server, r).Begin(t.Context()); err != nil {
			t.Fatalf("a start after step %d: %v", step, err)
		}
		if done {
			if len(first.Ended) != 1 || step < 5 {
				t.Errorf("replaced %+v in %d steps", first, step)
			}
			break
		}
		second, err := inst.SigningKeys.Replace(
			t.Context(), commands.NewInstallationLoop(inst.Env(time.Now, nil, nil)), keyMeta, noWait,
		)
		if err != nil || len(second.Ended) != 1 {
			t.Fatalf("after step %d it replaced %+v: %v", step, second, err)
		}
		inst = checkKeys(t, server, r, 0)
	}
	inst = checkKeys(t, server, r, 0)
	keys, err := inst.VerificationKeys()
	if err != nil {
		t.Fatal(err)
	}
	added := 0
	for _, e := range commandstest.Everything(t, server) {
		event, err := codec.Decode(e.Type, e.Data)
		if k, ok := event.(installation.SigningKeyAdded); err == nil && ok {
			added++
			_, err := server.Client.ReadForward(t.Context(), codec.Secrets.Stream(k.SigningKey.SecretID), 0, 1)
			if last := k.SigningKey.ID == inst.Log.Keys.Current(); last != (err == nil) {
				t.Errorf("the private half of the key %s, which signs: %v: %v", k.SigningKey.ID, last, err)
			}
		}
	}
	if added != len(keys.Keys)-1 {
		t.Errorf("%d keys were added, and the keys are %+v", added, keys.Keys)
	}

	copied := eventstoretest.Start(t)
	if _, err := codec.Copy(t.Context(), server.Client, copied.Client, func(codec.Copied) {}); err != nil {
		t.Fatal(err)
	}
	of, err := newStarter(copied, r).Begin(t.Context())
	if err != nil || of.Log.Keys.Current() == inst.Log.Keys.Current() {
		t.Errorf("in a copy of the log the same key signs: %v", err)
	}
}

// TestTwoReplacementsAtOnce: each succeeds or says that the other one is at it.
func TestTwoReplacementsAtOnce(t *testing.T) {
	t.Parallel()
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	var racing sync.WaitGroup
	for range 3 {
		inst, err := newStarter(server, r).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		inst.SigningKeys.Rely(commands.Replacement{}) // nobody waits
		racing.Go(func() {
			_, err := inst.SigningKeys.Replace(
				t.Context(), commands.NewInstallationLoop(inst.Env(time.Now, nil, nil)), keyMeta, noWait,
			)
			if err != nil && !strings.Contains(err.Error(), "another process replaces the signing keys") &&
				commandstest.Code(err) != "event_log_unavailable" {
				t.Errorf("a replacement: %v", err)
			}
		})
	}
	racing.Wait()
	inst, err := newStarter(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inst.SigningKeys.Replace(
		t.Context(), commands.NewInstallationLoop(inst.Env(time.Now, nil, nil)), keyMeta, noWait,
	); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, server, r, 0)
}

// TestAProcessThatHasNotLookedTakesNothingOfAnEndedKey: both know the new key. The lease of one is
// over. The other one follows the whole log and meets the event that ends the former key.
func TestAProcessThatHasNotLookedTakesNothingOfAnEndedKey(t *testing.T) {
	t.Parallel()
	o := open(t)
	tool := o.MustTool("Linear", catalog.Shared, "x")
	id, _ := o.MustAgent("One")
	stale, follower := openOn(t, o.Server, o.Ring), openOn(t, o.Server, o.Ring)
	before := stale.MustFresh(id)
	thief := thiefOf(o.Inst)
	if _, err := o.Inst.SigningKeys.Replace(
		t.Context(), commands.NewInstallationLoop(o.Env), keyMeta, func(context.Context, time.Duration) error {
			return errors.Join(stale.Inst.SigningKeys.Refresh(t.Context()), follower.Inst.SigningKeys.Refresh(t.Context()))
		},
	); err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Write(
		t.Context(), "agent-"+id, before.End(), agent.GrantAssigned{ToolID: tool}, signedNow(o.Inst),
	); err != nil {
		t.Fatal(err)
	}
	stale.Inst.SigningKeys.Rely(commands.Replacement{})
	if got := stale.MustFresh(id); len(got.State.Grants) != 0 || got.Revision != before.Revision {
		t.Errorf("the thief's grant counts: %+v", got.State.Grants)
	}
	chain := follower.Inst.Log.NewChain()
	chain.Complete = true
	for _, e := range commandstest.Everything(t, o.Server) {
		if category, _ := codec.Split(e.Stream); category == codec.Unknown || category == codec.Snapshots {
			continue
		}
		if _, err := chain.Next(t.Context(), e); (err != nil) != (e.Type == "grant.assigned.v1") {
			t.Errorf("%d@%s %s: %v", e.Revision, e.Stream, e.Type, err)
		}
	}
}

// TestWhatOthersPutBesideTheKeysStopsNobody: a thief has the former key while it still counts, and
// others can write to the log at any time.
func TestWhatOthersPutBesideTheKeysStopsNobody(t *testing.T) {
	t.Parallel()
	server, r := eventstoretest.Start(t), commandstest.Ring(t)
	inst, err := newStarter(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	thief, first := thiefOf(inst), inst.Begun.SigningKey
	junk := func(stream string, at int64, event any) {
		t.Helper()
		name, data, err := codec.Encode(event)
		if err != nil {
			t.Fatal(err)
		}
		e := eventstore.Event{ID: uuid.New(), Type: name, Data: data, Metadata: []byte(`{}`)}
		if _, err := server.Client.Append(t.Context(), stream, at, e); err != nil {
			t.Fatal(err)
		}
	}
	end := func(stream string) codec.End {
		events, err := server.Client.ReadBackward(t.Context(), stream, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, link, _ := inst.Log.Keys.Verify(events[0])
		return codec.End{Revision: int64(events[0].Revision), Link: link}
	}
	_, err = inst.SigningKeys.Replace(
		t.Context(), commands.NewInstallationLoop(inst.Env(time.Now, nil, nil)), keyMeta,
		func(context.Context, time.Duration) error {
			back := installation.SigningKeyAdded{Keys: installation.Keys{SigningKey: first}}
			if _, err := thief.Write(
				t.Context(), codec.SigningKeys.Stream(""), end(codec.SigningKeys.Stream("")), back, signedNow(inst),
			); err != nil {
				t.Fatal(err)
			}
			if p, err := newStarter(server, r).Begin(t.Context()); err != nil || p.Log.Keys.Current() == first.ID {
				t.Errorf("the former key comes back: %v", err)
			}
			junk(codec.SigningKeys.Stream(""), end(codec.SigningKeys.Stream("")).Revision, installation.RestoreConfirmed{})
			return nil
		},
	)
	if err != nil {
		t.Fatalf("it stops a replacement: %v", err)
	}
	streams := []string{}
	for _, e := range commandstest.Everything(t, server) {
		if category, _ := codec.Split(e.Stream); category == codec.HeadsOfKeys && !slices.Contains(streams, e.Stream) {
			streams = append(streams, e.Stream)
		}
	}
	if len(streams) == 0 {
		t.Error("no heads were kept")
	}
	for _, stream := range streams {
		junk(stream, end(stream).Revision, codec.SigningKeyHeads{Rows: make([]byte, 56)})
	}
	if got := checkKeys(t, server, r, 2+len(streams)); got.Log.Keys.Current() == first.ID {
		t.Error("the former key comes back")
	}
}

// TestAKeyCountsUpToTheEventThatEndsIt writes with the former key in each step of a replacement.
func TestAKeyCountsUpToTheEventThatEndsIt(t *testing.T) {
	t.Parallel()
	o := open(t)
	id, _ := o.MustAgent("One")
	late := thiefOf(o.Inst)
	ended := func() bool { return o.Count("signing_key.ended.v1") > 0 }
	end, written, counting := o.MustFresh(id).End(), 0, 0
	meta := func() loop.Meta {
		event := agent.GrantAssigned{ToolID: commandstest.NewID().String()}
		appended, err := late.Write(t.Context(), "agent-"+id, end, event, signedNow(o.Inst))
		if err != nil {
			t.Fatal(err)
		}
		end = appended.End()
		if written++; !ended() {
			counting = written
		}
		return keyMeta()
	}
	done, err := o.Inst.SigningKeys.Replace(t.Context(), commands.NewInstallationLoop(o.Env), meta, noWait)
	if err != nil || len(done.Ended) != 1 || counting < 3 || written <= counting {
		t.Fatalf("replaced %+v while %d of %d events were written before its end: %v", done, counting, written, err)
	}
	checkKeys(t, o.Server, o.Ring, written-counting)
	if got := openOn(t, o.Server, o.Ring).MustFresh(id); len(got.State.Grants) != counting {
		t.Errorf("%d of %d events count that were written before the end of their key", len(got.State.Grants), counting)
	}
	if got := o.MustFresh(id); len(got.State.Grants) != counting {
		t.Errorf("for the process that replaced it %d events count", len(got.State.Grants))
	}
}
