package commands_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest"
)

// victim is an agent that was suspended after it had access, so that a forged event could give it
// back.
type victim struct {
	*office
	id, tool string
	number   int
	next     int64      // the revision of the next event
	link     codec.Link // that the next event names
}

func newVictim(t *testing.T) victim {
	t.Helper()
	o := open(t)
	tool := o.MustTool("GitHub", catalog.Shared, "ghp_first")
	id, key := o.MustAgent("Onboarding")
	o.MustAssign(id, tool)
	o.MustFetch(id, tool, key.Number)
	if _, err := o.Grants.Revoke(t.Context(), o.Meta(), id, tool, agent.CauseAdmin); err != nil {
		t.Fatal(err)
	}
	end := o.MustFresh(id).End()
	return victim{office: o, id: id, tool: tool, number: key.Number, next: end.Revision + 1, link: end.Link}
}

// put writes an event past everything that we do, as somebody with a connection to the store could.
func (v victim) put(e eventstore.Event) {
	v.T.Helper()
	if _, err := v.Server.Client.Append(v.T.Context(), "agent-"+v.id, v.next-1, e); err != nil {
		v.T.Fatal(err)
	}
}

func (v victim) read(stream string, revision uint64) eventstore.Recorded {
	v.T.Helper()
	events, err := v.Server.Client.ReadForward(v.T.Context(), stream, revision, 1)
	if err != nil || len(events) != 1 {
		v.T.Fatalf("read %d@%s: %v", revision, stream, err)
	}
	return events[0]
}

// sign makes an event with our key, as a newer version of ours might.
func (v victim) sign(stream string, revision int64, name string, data string) eventstore.Event {
	v.T.Helper()
	id := commandstest.NewID()
	signed := codec.Signed{
		Organization: v.Inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorService, ID: "token"},
		CommandID: commandstest.NewID().String(), Time: time.Now().UTC(), Schema: codec.Schema, Prev: v.link,
	}
	meta, _, err := v.Inst.Log.Keys.Sign(stream, uint64(revision), id, name, []byte(data), signed)
	if err != nil {
		v.T.Fatal(err)
	}
	return eventstore.Event{ID: id, Type: name, Data: []byte(data), Metadata: meta}
}

// calls are what anybody could try on the agent, by a process that knew it before and by one that
// did not.
func (v victim) calls(t *testing.T) map[string]error {
	t.Helper()
	ctx := t.Context()
	out := map[string]error{}
	for name, o := range map[string]*office{"warm": v.office, "cold": openOn(t, v.Server, v.Ring)} {
		_, out[name+" fetch"] = o.Fetch.Do(ctx, o.AsAgent(v.id), v.id, commands.Proof{KeyNumber: v.number}, v.tool)
		_, out[name+" assign"] = o.Grants.Assign(ctx, o.Meta(), v.id, v.tool, commands.Terms{})
		_, out[name+" revoke"] = o.Grants.Revoke(ctx, o.Meta(), v.id, v.tool, agent.CauseAdmin)
		_, out[name+" suspend"] = o.Agents.Suspend(ctx, o.Meta(), v.id)
		_, out[name+" rename"] = o.Agents.Do(ctx, o.Meta(), v.id, commandstest.Rename("x"))
		_, out[name+" query"] = o.Grants.Agents.Recent(ctx, v.id)
	}
	return out
}

// unchanged fails the test when the stream goes on after the event that was put.
func (v victim) unchanged(t *testing.T) {
	t.Helper()
	events, err := v.Server.Client.ReadForward(t.Context(), "agent-"+v.id, uint64(v.next)+1, 10)
	if err != nil || len(events) > 0 {
		t.Errorf("the stream went on with %d events: %v", len(events), err)
	}
}

// TestAForgedEventGivesNothing: what names another predecessor than the true one is passed over,
// and the agent's own history continues. What names the true one may be ours, altered, and nothing
// is decided on the stream.
func TestAForgedEventGivesNothing(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	reassign := func(v victim) (string, []byte) {
		return "grant.assigned.v1", []byte(`{"tool_id":"` + v.tool + `"}`)
	}
	// genuine is the assignment that was revoked, as it is stored.
	genuine := func(v victim) eventstore.Recorded { return v.read("agent-"+v.id, 1) }
	forgeries := map[string]func(v victim) eventstore.Event{
		"without metadata": func(v victim) eventstore.Event {
			name, data := reassign(v)
			return eventstore.Event{ID: uuid.New(), Type: name, Data: data, Metadata: []byte(`{}`)}
		},
		"signed with a key of somebody else's": func(v victim) eventstore.Event {
			name, data := reassign(v)
			id := uuid.New()
			keyring := codec.NewKeyring(v.Inst.Begun.StoreID, "another key", stranger, nil)
			return eventstore.Event{ID: id, Type: name, Data: data, Metadata: mustSign(v.T, keyring, v, id, name, data)}
		},
		"signed with a key of somebody else's under the id of ours": func(v victim) eventstore.Event {
			name, data := reassign(v)
			id := uuid.New()
			keyring := codec.NewKeyring(v.Inst.Begun.StoreID, v.Inst.Begun.SigningKey.ID, stranger, nil)
			return eventstore.Event{ID: id, Type: name, Data: data, Metadata: mustSign(v.T, keyring, v, id, name, data)}
		},
		"an authentic event of an earlier revision": func(v victim) eventstore.Event {
			e := genuine(v)
			return eventstore.Event{ID: uuid.New(), Type: e.Type, Data: e.Data, Metadata: e.Metadata}
		},
		"an authentic event of an earlier revision under its own id": func(v victim) eventstore.Event {
			e := genuine(v)
			return eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata}
		},
		"an authentic event of another agent at the same revision": func(v victim) eventstore.Event {
			other, _ := v.MustAgent("Other")
			for i := range v.next - 1 {
				v.MustDo(other, commandstest.Rename(strings.Repeat("x", int(i+1))))
			}
			v.MustAssign(other, v.tool)
			e := v.read("agent-"+other, uint64(v.next))
			return eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata}
		},
		"signed for this place with other data": func(v victim) eventstore.Event {
			name, data := reassign(v)
			e := v.sign("agent-"+v.id, v.next, name, string(data))
			e.Data = bytes.Replace(e.Data, []byte(`}`), []byte(`,"secret_id":"x"}`), 1)
			return e
		},
		"signed for this place with another type": func(v victim) eventstore.Event {
			e := v.sign("agent-"+v.id, v.next, "grant.expired.v1", `{"tool_id":"`+v.tool+`"}`)
			e.Type = "grant.assigned.v1"
			return e
		},
		"signed for this place with another id": func(v victim) eventstore.Event {
			name, data := reassign(v)
			e := v.sign("agent-"+v.id, v.next, name, string(data))
			e.ID = uuid.New()
			return e
		},
		"signed for this place by another actor": func(v victim) eventstore.Event {
			name, data := reassign(v)
			e := v.sign("agent-"+v.id, v.next, name, string(data))
			var m map[string]string
			if err := json.Unmarshal(e.Metadata, &m); err != nil {
				v.T.Fatal(err)
			}
			m["signed"] = strings.Replace(m["signed"], `"token"`, `"owner"`, 1)
			e.Metadata, _ = json.Marshal(m)
			return e
		},
		"signed for another store": func(v victim) eventstore.Event {
			other := open(v.T.(*testing.T))
			name, data := reassign(v)
			return victim{office: other, link: v.link}.sign("agent-"+v.id, v.next, name, string(data))
		},
	}
	passed := map[string]bool{
		"without metadata": true, "an authentic event of an earlier revision": true,
		"an authentic event of an earlier revision under its own id": true,
		"an authentic event of another agent at the same revision":   true,
	}
	for name, forge := range forgeries {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.put(forge(v))
			if passed[name] {
				v.goesOn(t)
				return
			}
			for call, err := range v.calls(t) {
				var forged *codec.ForgedError
				var refusal *domain.Error
				if !errors.As(err, &forged) || forged.Stream != "agent-"+v.id || forged.Revision != uint64(v.next) ||
					!errors.As(err, &refusal) || refusal.Code != "log_restored" {
					t.Errorf("%s: %v", call, err)
				}
			}
			v.unchanged(t)
		})
	}
}

// goesOn fails the test unless the agent is as before the event that was put, and can be changed.
func (v victim) goesOn(t *testing.T) {
	t.Helper()
	for _, o := range []*office{v.office, openOn(t, v.Server, v.Ring)} {
		name := "warm"
		if o != v.office {
			name = "cold"
		}
		found := make(chan codec.ForgedError, 100)
		o.Inst.Log.Found = func(e *codec.ForgedError) { found <- *e }
		_, err := o.Fetch.Do(t.Context(), o.AsAgent(v.id), v.id, commands.Proof{KeyNumber: v.number}, v.tool)
		var refusal *domain.Error
		if !errors.As(err, &refusal) || refusal.Code != "access_not_approved" {
			t.Errorf("%s fetch: %v", name, err)
		}
		if _, err := o.Agents.Do(t.Context(), o.Meta(), v.id, commandstest.Rename(name+" again")); err != nil {
			t.Errorf("%s rename: %v", name, err)
		}
		if e := <-found; e.Stream != "agent-"+v.id || e.Revision != uint64(v.next) || e.Fault != codec.Foreign {
			t.Errorf("%s found %+v", name, e)
		}
	}
	v.MustAssign(v.id, v.tool)
	v.MustFetch(v.id, v.tool, v.number)
}

func mustSign(t testing.TB, keyring *codec.Keyring, v victim, id uuid.UUID, name string, data []byte) []byte {
	t.Helper()
	signed := codec.Signed{
		Actor: domain.Actor{Type: domain.ActorService, ID: "token"}, CommandID: commandstest.NewID().String(),
		Time: time.Now().UTC(), Schema: codec.Schema, Prev: v.link,
	}
	meta, _, err := keyring.Sign("agent-"+v.id, uint64(v.next), id, name, data, signed)
	if err != nil {
		t.Fatal(err)
	}
	return meta
}

func TestAnEventOfANewerVersionStopsItsStreamUntilAnUpgrade(t *testing.T) {
	for name, event := range map[string]func(v victim) eventstore.Event{
		"an unknown name": func(v victim) eventstore.Event {
			return v.sign("agent-"+v.id, v.next, "grant.frozen.v1", `{}`)
		},
		"an unknown version": func(v victim) eventstore.Event {
			return v.sign("agent-"+v.id, v.next, "grant.assigned.v2", `{}`)
		},
		"an unknown field": func(v victim) eventstore.Event {
			return v.sign("agent-"+v.id, v.next, "grant.assigned.v1", `{"tool_id":"t","ip":"x"}`)
		},
		"an event from elsewhere": func(v victim) eventstore.Event {
			return v.sign("agent-"+v.id, v.next, "tool.removed.v1", `{"tool_id":"t"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.put(event(v))
			for call, err := range v.calls(t) {
				var refusal *domain.Error
				if !errors.As(err, &refusal) || refusal.Code != "newer_version_required" ||
					refusal.Kind != domain.KindUnavailable || refusal.RetryAfter <= 0 {
					t.Errorf("%s: %v", call, err)
				}
			}
			v.unchanged(t)
		})
	}
}

// drill returns an office on a copy of the log, with all keys of the installation, like a restore
// drill or a staging system.
func (v victim) drill() *office {
	v.T.Helper()
	server := eventstoretest.Start(v.T)
	for _, e := range commandstest.Everything(v.T, v.Server) {
		mustAppend(v.T, server, e)
	}
	return openOn(v.T, server, v.Ring)
}

// mustAppend puts an event at its revision, as somebody with a connection to the store could.
func mustAppend(t testing.TB, server *eventstoretest.Server, e eventstore.Recorded) {
	t.Helper()
	if _, err := server.Client.Append(
		t.Context(), e.Stream, int64(e.Revision)-1,
		eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata},
	); err != nil {
		t.Fatal(err)
	}
}

// TestAnApprovalFromACopyOfTheLogIsRefused: it was signed with our key, for this stream and this
// revision.
func TestAnApprovalFromACopyOfTheLogIsRefused(t *testing.T) {
	v := newVictim(t)
	drill := v.drill()
	drill.MustDo(v.id, commandstest.Rename("drilled"))
	drill.MustAssign(v.id, v.tool)
	v.MustDo(v.id, commandstest.Rename("in production"))
	v.next++
	e := victim{office: drill}.read("agent-"+v.id, uint64(v.next))
	v.put(eventstore.Event{ID: e.ID, Type: e.Type, Data: e.Data, Metadata: e.Metadata})
	for call, err := range v.calls(t) {
		var forged *codec.ForgedError
		if !errors.As(err, &forged) || forged.Stream != "agent-"+v.id || forged.Revision != uint64(v.next) {
			t.Errorf("%s: %v", call, err)
		}
	}
	v.unchanged(t)
}

// TestAMiddleThatWasCutAndRefilledIsRefused: the assignment that production never made is followed
// by what production did.
func TestAMiddleThatWasCutAndRefilledIsRefused(t *testing.T) {
	v := newVictim(t)
	drill, stream := v.drill(), "agent-"+v.id
	drill.MustAssign(v.id, v.tool)
	v.MustDo(v.id, commandstest.Rename("in production"))
	v.MustDo(v.id, commandstest.Rename("in production still"))
	refilled := eventstoretest.Start(t)
	for _, e := range commandstest.Everything(t, v.Server) {
		if e.Stream == stream && e.Revision == uint64(v.next) {
			e = victim{office: drill}.read(stream, e.Revision)
		}
		mustAppend(t, refilled, e)
	}
	after := openOn(t, refilled, v.Ring)
	_, err := after.Fetch.Do(t.Context(), after.AsAgent(v.id), v.id, commands.Proof{KeyNumber: v.number}, v.tool)
	var forged *codec.ForgedError
	if !errors.As(err, &forged) || forged.Stream != stream || forged.Revision != uint64(v.next)+1 {
		t.Errorf("a fetch: %v", err)
	}
}

// TestAForgedCatalogVendsNothing: what an agent gets is also what the catalog says. A stranger's
// event in it is passed over; what may be ours, altered, stops it.
func TestAForgedCatalogVendsNothing(t *testing.T) {
	o := open(t)
	tool, other := o.MustTool("GitHub", catalog.Shared, "ghp_first"), o.MustTool("Stripe", catalog.Shared, "sk_live")
	id, key := o.MustAgent("Onboarding")
	o.MustAssign(id, tool)
	cold := openOn(t, o.Server, o.Ring)
	head, err := o.Grants.Catalogs.Fresh(t.Context(), o.Inst.Begun.OrganizationID)
	if err != nil {
		t.Fatal(err)
	}
	stream := "catalog-" + o.Inst.Begun.OrganizationID
	data := []byte(
		`{"tool_id":"` + tool + `","secret_id":"` + head.State.Tools[other].SecretID + `","credential_version":2}`,
	)
	put := func(at int64, metadata string) {
		t.Helper()
		forged := eventstore.Event{ID: uuid.New(), Type: "tool.credential_rotated.v1", Data: data, Metadata: []byte(metadata)}
		if _, err := o.Server.Client.Append(t.Context(), stream, at, forged); err != nil {
			t.Fatal(err)
		}
	}
	put(head.Revision, `{}`)
	for name, process := range map[string]*office{"warm": o, "cold": cold} {
		v, err := process.Fetch.Do(t.Context(), process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
		if err != nil || string(v.Credential.Reveal()) != `"ghp_first"` {
			t.Errorf("%s, with a stranger's event: %v", name, err)
		}
	}
	link, err := head.End().Link.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	signed := `{\"actor\":{\"type\":\"service\",\"id\":\"x\"},\"command_id\":\"x\",\"time\":\"2030-01-01T00:00:00Z\",` +
		`\"schema\":1,\"prev\":\"` + string(link) + `\"}`
	put(head.Revision+1, `{"signed":"`+signed+`","key":"`+o.Inst.Begun.SigningKey.ID+`","sig":"x","mac":"x"}`)
	for name, process := range map[string]*office{"warm": o, "cold": openOn(t, o.Server, o.Ring)} {
		v, err := process.Fetch.Do(t.Context(), process.AsAgent(id), id, commands.Proof{KeyNumber: key.Number}, tool)
		var named *codec.ForgedError
		if !errors.As(err, &named) || named.Stream != stream || named.Fault != codec.Altered || !v.Credential.Empty() {
			t.Errorf("%s, with what may be ours: %v", name, err)
		}
	}
}
