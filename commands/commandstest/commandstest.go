// Package commandstest begins an installation on a real log, with the parts that commands need, for
// tests of commands and of the loop below them.
package commandstest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// Office is an installation on a real log with the parts that commands need, and one token to act
// with.
type Office struct {
	T      testing.TB
	Server *eventstoretest.Server
	Inst   *commands.Installation
	Env    *loop.Env
	Ring   seal.Ring
	Faults chan error
	Clock  *Clock

	Agents   *commands.Agents
	Grants   *commands.Grants
	Tools    *commands.Tools
	Fetch    *commands.Fetch
	Fence    *commands.Fence
	Refusals *commands.Refusals
	Once     *commands.Once
	Callers  *commands.Callers
}

// NewID draws an id.
func NewID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// Clock goes with the real one, and ahead of it as far as a test says. A stopped one moves only
// when it is advanced.
type Clock struct {
	ahead   atomic.Int64
	stopped atomic.Pointer[time.Time]
}

// Now returns the time of this clock.
func (c *Clock) Now() time.Time {
	now := time.Now()
	if at := c.stopped.Load(); at != nil {
		now = *at
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

// Stop stops it, so that a slow machine spends no time.
func (c *Clock) Stop() { c.stopped.Store(new(time.Now())) }

// Advance sets it further ahead.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// Ring returns a ring of one new master key.
func Ring(t testing.TB) seal.Ring {
	t.Helper()
	text, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.ParseMasterKey(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Open begins an installation on an empty log.
func Open(t testing.TB) *Office {
	t.Helper()
	return OpenOn(t, eventstoretest.Start(t), Ring(t))
}

// Beginning is how a process begins or joins the installation of a store.
func Beginning(server *eventstoretest.Server, r seal.Ring) commands.Beginning {
	return commands.Beginning{
		Client: server.Client, Ring: r, Clock: time.Now, NewID: NewID,
		SaveToken: func(string) error { return nil }, DropToken: func() error { return nil }, Warn: func(string) {},
	}
}

// OpenOn begins or joins the installation of a store, as another process would.
func OpenOn(t testing.TB, server *eventstoretest.Server, r seal.Ring) *Office {
	t.Helper()
	return OpenAt(t, server, r, &Clock{})
}

// OpenAt is OpenOn with a clock of the test's.
func OpenAt(t testing.TB, server *eventstoretest.Server, r seal.Ring, c *Clock) *Office {
	t.Helper()
	inst, err := Beginning(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := &Office{T: t, Server: server, Inst: inst, Ring: r, Faults: make(chan error, 100), Clock: c}
	privacy := seal.NewPrivacy(inst.Secrets, c.Now)
	o.Env = inst.Env(c.Now, func(ctx context.Context, m loop.Meta) (string, error) {
		return privacy.Seal(ctx, m.Organization, seal.Personal{Address: m.Address, UserAgent: m.UserAgent})
	}, func(_ string, err error) {
		select {
		case o.Faults <- err:
		default: // enough is known
		}
	})
	agents, catalogs := commands.NewAgentLoop(o.Env), commands.NewCatalogLoop(o.Env)
	o.Refusals = commands.NewRefusals(o.Env, NewID)
	o.Agents = &commands.Agents{
		Loop: agents, Catalogs: catalogs, Secrets: inst.Secrets, Privacy: privacy, Log: inst.Log, MACKey: inst.MACKey,
		Clock: c.Now,
	}
	o.Grants = &commands.Grants{Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: c.Now}
	o.Grants.Rules = commands.NewRulebook(&commands.Rulebook{
		Loop: commands.NewRuleLoop(o.Env), Agents: agents, Catalogs: catalogs, MACKey: inst.MACKey, Clock: c.Now,
		Patience: time.Minute,
	})
	o.Tools = &commands.Tools{Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: c.Now}
	o.Fence = commands.NewFence(commands.FenceConfig{
		Installation: commands.NewInstallationLoop(o.Env), Log: inst.Log, StoreID: inst.Begun.StoreID,
		Organization: inst.Begun.OrganizationID, NewID: NewID, Logger: slog.New(slog.DiscardHandler),
		Forget: []func(){agents.Forget, catalogs.Forget},
	})
	o.Env.OnAppend = o.Fence.Seen
	follow, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { o.Fence.Run(follow) })
	t.Cleanup(func() {
		stop()
		following.Wait()
	})
	o.Fetch = &commands.Fetch{
		Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Refusals: o.Refusals, Fence: o.Fence,
		Log: server.Client, NewID: NewID,
	}
	o.Once = &commands.Once{Log: inst.Log, MACKey: inst.MACKey, Clock: c.Now, NewID: NewID}
	o.Callers = &commands.Callers{
		Agents: agents, Organizations: commands.NewOrganizationLoop(o.Env), First: inst.Begun.OrganizationID,
		Uses: commands.NewUses(inst.Log, c.Now, NewID, nil),
	}
	return o
}

// Meta is who gives a command: a service token.
func (o *Office) Meta() loop.Meta {
	return loop.Meta{
		Organization: o.Inst.Begun.OrganizationID,
		Actor:        domain.Actor{Type: domain.ActorService, ID: "token", Label: "ci"}, CommandID: NewID(),
		RequestID: "request", Address: "192.0.2.1", UserAgent: "test",
	}
}

// AsAgent is Meta for a call of an agent.
func (o *Office) AsAgent(id string) loop.Meta {
	m := o.Meta()
	m.Actor = domain.Actor{Type: domain.ActorAgent, ID: id}
	return m
}

// MustTool adds a tool; without a credential it has none of its own.
func (o *Office) MustTool(name string, mode catalog.Mode, credential string) string {
	o.T.Helper()
	var secret domain.Secret
	if credential != "" {
		secret = o.Credential(credential)
	}
	id, _, err := o.Tools.Add(
		o.T.Context(), o.Meta(), catalog.AddTool{Name: name, AuthType: "api_key", Mode: mode}, secret,
	)
	if err != nil {
		o.T.Fatalf("add %s: %v", name, err)
	}
	return id
}

// Credential is a credential of one string.
func (o *Office) Credential(text string) domain.Secret {
	o.T.Helper()
	secret, err := commands.NewCredential([]byte(`"` + text + `"`))
	if err != nil {
		o.T.Fatal(err)
	}
	return secret
}

// MustAgent registers an agent and returns its id and key.
func (o *Office) MustAgent(name string) (string, keys.Key) {
	o.T.Helper()
	r, err := o.Agents.Register(o.T.Context(), o.Meta(), commands.NewAgent{Name: name, Owner: "ada@example.com"})
	if err != nil {
		o.T.Fatalf("register %s: %v", name, err)
	}
	key, err := keys.Parse(r.APIKey)
	if err != nil {
		o.T.Fatal(err)
	}
	return r.ID, key
}

// MustAssign gives an agent a tool without a request.
func (o *Office) MustAssign(agentID, toolID string) {
	o.T.Helper()
	if _, err := o.Grants.Assign(o.T.Context(), o.Meta(), agentID, toolID, commands.Terms{}); err != nil {
		o.T.Fatalf("assign: %v", err)
	}
}

// MustFetch fetches a credential under a key.
func (o *Office) MustFetch(agentID, toolID string, number int) commands.VendedCredential {
	o.T.Helper()
	v, err := o.Fetch.Do(o.T.Context(), o.AsAgent(agentID), agentID, commands.Proof{KeyNumber: number}, toolID)
	if err != nil {
		o.T.Fatalf("fetch: %v", err)
	}
	return v
}

// Code returns the code of a refusal, "" without an error, and the text of a fault.
func Code(err error) string {
	var refusal *domain.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	}
	return "fault: " + err.Error()
}
