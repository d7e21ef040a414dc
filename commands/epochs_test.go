package commands_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
)

// copyOf copies a log as agentkey eventstore copy does.
func copyOf(t *testing.T, from *eventstoretest.Server) *eventstoretest.Server {
	t.Helper()
	to := eventstoretest.Start(t)
	for range 2 {
		if _, err := codec.Copy(t.Context(), from.Client, to.Client, func(codec.Copied) {}); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestWhatACopySignsFitsNowhereElse copies a log and lets both go on from the same event. What one
// of them signs doesn't count in the other.
func TestWhatACopySignsFitsNowhereElse(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	stream, key := "agent-"+v.id, v.Inst.Log.Keys.Current()
	drill := openOn(t, copyOf(t, v.Server), v.Ring)
	ofDrill := drill.Inst.Log.Keys.Current()
	drill.MustAssign(v.id, v.tool)
	approved := victim{office: drill}.read(stream, uint64(v.next))
	number := v.number
	if got := drill.MustFetch(v.id, v.tool, number); string(got.Credential.Reveal()) != `"ghp_first"` {
		t.Errorf("the drill vends %s", got.Credential.Reveal())
	}

	// The former keys end in the copy, when no process can sign with one there any more.
	drill.Inst.SigningKeys.Rely(commands.Replacement{Lease: time.Millisecond, Patience: 5 * time.Millisecond})
	leave := func(o *office) {
		t.Helper()
		o.Inst.SigningKeys.Leave(t.Context(), commands.NewInstallationLoop(o.Env), keyMeta, func(err error) { t.Fatal(err) })
	}
	leave(drill)
	leave(drill)
	other, _ := v.MustAgent("Begun in production")
	for _, e := range commandstest.Everything(t, v.Server) {
		if e.Stream == "agent-"+other {
			mustAppend(t, drill.Server, e)
		}
	}
	for name, o := range map[string]*office{"warm": drill, "cold": openOn(t, drill.Server, v.Ring)} {
		if got, err := o.Agents.Loop.Fresh(t.Context(), other); err == nil && got.State.Name != "" {
			t.Errorf("%s: in the drill there is an agent that production registered later: %+v", name, got.State)
		}
	}

	// One key for each life of the log, however often it is opened.
	again := openOn(t, drill.Server, v.Ring)
	leave(again)
	of := openOn(t, copyOf(t, drill.Server), v.Ring)
	signers := []string{
		key, ofDrill, again.Inst.Log.Keys.Current(), of.Inst.Log.Keys.Current(),
		openOn(t, v.Server, v.Ring).Inst.Log.Keys.Current(),
	}
	if signers[0] == signers[1] || signers[1] != signers[2] || signers[2] == signers[3] || signers[4] != key {
		t.Errorf("production, the drill, the drill again, a copy of it and production sign with %q", signers)
	}
	if keys, err := again.Inst.VerificationKeys(); err != nil || len(keys.Keys) != 3 {
		t.Errorf("the drill's keys are %+v: %v", keys.Keys, err)
	}

	// The drill's key is put into production, with its secrets, and an approval of the drill's to
	// where it was made: to the same place.
	there := map[string]int{}
	for _, e := range commandstest.Everything(t, v.Server) {
		there[e.Stream]++
	}
	for _, e := range commandstest.Everything(t, drill.Server) {
		if category, _ := codec.Split(e.Stream); e.Stream == "signing-keys" && there[e.Stream] <= int(e.Revision) ||
			(category == codec.Secrets || category == codec.HeadsOfKeys) && there[e.Stream] == 0 {
			mustAppend(t, v.Server, e)
		}
	}
	mustAppend(t, v.Server, approved)
	for name, o := range map[string]*office{"warm": v.office, "cold": openOn(t, v.Server, v.Ring)} {
		_, err := o.Fetch.Do(t.Context(), o.AsAgent(v.id), v.id, commands.Proof{KeyNumber: number}, v.tool)
		if err == nil || !strings.Contains(err.Error(), "its key is not ours") {
			t.Errorf("%s: with the drill's approval in its log, production answers %v", name, err)
		}
	}
}

// TestTheLossOfAnOwnSecretIsSurvived removes each copy of each secret of an installation, and
// writes something else in its place.
func TestTheLossOfAnOwnSecretIsSurvived(t *testing.T) {
	t.Parallel()
	origin := open(t)
	begun := origin.Inst.Begun
	own := map[string]string{
		"the signing key": begun.SigningKey.SecretID, "the MAC key": begun.SigningKey.MACSecretID,
		"the key of checkpoints": begun.CheckpointKey.SecretID,
	}
	for name, id := range own {
		for which, lost := range map[string]string{"first": id, "second": commands.TwinID(id)} {
			for _, how := range []string{"removed", "missing", "another's"} {
				t.Run(fmt.Sprintf("%s, the %s copy is %s", name, which, how), func(t *testing.T) {
					t.Parallel()
					server, stream := eventstoretest.Start(t), codec.Secrets.Stream(lost)
					for _, e := range commandstest.Everything(t, origin.Server) {
						if e.Stream == stream && how == "another's" {
							e.Data = bytes.Replace(e.Data, []byte(`"sealed":"`), []byte(`"sealed":"AAAA`), 1)
						}
						if e.Stream != stream || how != "missing" {
							mustAppend(t, server, e)
						}
					}
					if how == "removed" {
						if err := server.Client.Tombstone(t.Context(), stream); err != nil {
							t.Fatal(err)
						}
					}
					o := openOn(t, server, origin.Ring)
					o.MustAgent("Onboarding")
					if _, err := o.Inst.CheckpointKey(t.Context()); err != nil {
						t.Errorf("checkpoints: %v", err)
					}
					if one, both, err := o.Inst.LostCopies(t.Context()); err != nil || !slices.Equal(one, []string{stream}) ||
						len(both) > 0 {
						t.Errorf("%s was lost, and %v is named, and %v without another copy: %v", stream, one, both, err)
					}
					replaceKeys(o)
					one, both, err := o.Inst.LostCopies(t.Context())
					if err != nil || name == "the signing key" && len(one)+len(both) > 0 {
						t.Errorf("with new keys %v and %v are lost: %v", one, both, err)
					}
				})
			}
		}
	}
}

// TestWithoutBothCopiesItSaysSo removes both copies.
func TestWithoutBothCopiesItSaysSo(t *testing.T) {
	t.Parallel()
	o := open(t)
	id := o.Inst.Begun.SigningKey.SecretID
	for _, id := range []string{id, commands.TwinID(id)} {
		if err := o.Server.Client.Tombstone(t.Context(), codec.Secrets.Stream(id)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := newStarter(o.Server, o.Ring).Begin(t.Context())
	if err == nil || !strings.Contains(err.Error(), "signing key") {
		t.Errorf("without its signing key a process says %v", err)
	}
}

// TestLeavingFinishesAndNothingElse lets two processes of a copy end the former keys. The second
// has not looked since the first was done, and has no key to add.
func TestLeavingFinishesAndNothingElse(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	server := copyOf(t, v.Server)
	first, second := openOn(t, server, v.Ring), openOn(t, server, v.Ring)
	for _, o := range []*office{first, second} {
		o.Inst.SigningKeys.Rely(commands.Replacement{Lease: time.Millisecond, Patience: 5 * time.Millisecond})
		o.Inst.SigningKeys.Leave(
			t.Context(), commands.NewInstallationLoop(o.Env), keyMeta, func(err error) { t.Error(err) },
		)
	}
	added, ended := first.Count("signing_key.added.v1"), first.Count("signing_key.ended.v1")
	if added != 2 || ended != 1 {
		t.Errorf("%d keys were added and %d have ended", added, ended)
	}
}

// TestLeavingTriesUntilItSucceeds takes the log away when the former keys are about to end.
func TestLeavingTriesUntilItSucceeds(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	copied := copyOf(t, v.Server)
	client, err := eventstore.Open(eventstore.Config{
		Socket: copied.Socket, Logger: slog.New(slog.DiscardHandler), Timeout: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	copied.Client = client
	o := openOn(t, copied, v.Ring)
	o.Inst.SigningKeys.Rely(commands.Replacement{Lease: time.Millisecond, Patience: 5 * time.Millisecond})
	copied.Stop()
	failed, left := make(chan error, 100), make(chan struct{})
	go func() {
		defer close(left)
		o.Inst.SigningKeys.Leave(
			t.Context(), commands.NewInstallationLoop(o.Env), keyMeta, func(err error) { failed <- err },
		)
	}()
	select {
	case err := <-failed:
		t.Logf("without the log: %v", err)
	case <-left:
		t.Fatal("without the log it is done")
	}
	copied.Restart()
	<-left
	if n := o.Count("signing_key.ended.v1"); n != 1 {
		t.Errorf("%d keys have ended", n)
	}
}
