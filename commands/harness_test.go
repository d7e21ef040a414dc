package commands_test

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
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// office is an installation on a real log with the parts that commands need, and one token to act with.
type office struct {
	t      testing.TB
	server *eventstoretest.Server
	inst   *commands.Installation
	env    *commands.Env
	ring   seal.Ring
	faults chan error
	clock  *clock

	agents   *commands.Agents
	grants   *commands.Grants
	tools    *commands.Tools
	fetch    *commands.Fetch
	fence    *commands.Fence
	refusals *commands.Refusals
	once     *commands.Once
	callers  *commands.Callers
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// clock goes with the real one, and ahead of it as far as a test says.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func ring(t testing.TB) seal.Ring {
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

func open(t testing.TB) *office {
	t.Helper()
	return openOn(t, eventstoretest.Start(t), ring(t))
}

// beginning is how a process begins or joins the installation of a store.
func beginning(server *eventstoretest.Server, r seal.Ring) commands.Beginning {
	return commands.Beginning{
		Client: server.Client, Ring: r, Clock: time.Now, NewID: newID,
		SaveToken: func(string) error { return nil }, DropToken: func() error { return nil },
	}
}

// openOn begins or joins the installation of a store, as another process would.
func openOn(t testing.TB, server *eventstoretest.Server, r seal.Ring) *office {
	t.Helper()
	return openAt(t, server, r, &clock{})
}

// openAt is openOn with a clock of the test's.
func openAt(t testing.TB, server *eventstoretest.Server, r seal.Ring, c *clock) *office {
	t.Helper()
	inst, err := beginning(server, r).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, server: server, inst: inst, ring: r, faults: make(chan error, 100), clock: c}
	privacy := seal.NewPrivacy(inst.Secrets, c.now)
	o.env = inst.Env(c.now, func(ctx context.Context, m commands.Meta) (string, error) {
		return privacy.Seal(ctx, m.Organization, seal.Personal{Address: m.Address, UserAgent: m.UserAgent})
	}, func(_ string, err error) {
		select {
		case o.faults <- err:
		default: // enough is known
		}
	})
	agents, catalogs := commands.NewAgentLoop(o.env), commands.NewCatalogLoop(o.env)
	o.refusals = commands.NewRefusals(o.env, newID)
	o.agents = &commands.Agents{Loop: agents, Catalogs: catalogs, Secrets: inst.Secrets, Privacy: privacy, Log: inst.Log, MACKey: inst.MACKey, Clock: c.now}
	o.grants = &commands.Grants{Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: c.now}
	o.tools = &commands.Tools{Catalogs: catalogs, Secrets: inst.Secrets, Log: inst.Log, Clock: c.now}
	o.fence = commands.NewFence(commands.FenceConfig{
		Installation: commands.NewInstallationLoop(o.env), Log: inst.Log, StoreID: inst.Begun.StoreID, Organization: inst.Begun.OrganizationID, NewID: newID,
		Logger: slog.New(slog.DiscardHandler), Forget: []func(){agents.Forget, catalogs.Forget},
	})
	o.env.OnAppend = o.fence.Seen
	follow, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { o.fence.Run(follow) })
	t.Cleanup(func() {
		stop()
		following.Wait()
	})
	o.fetch = &commands.Fetch{
		Agents: agents, Catalogs: catalogs, Secrets: inst.Secrets, Refusals: o.refusals, Fence: o.fence, Log: server.Client, NewID: newID,
	}
	o.once = &commands.Once{Log: inst.Log, MACKey: inst.MACKey, Clock: c.now, NewID: newID}
	o.callers = &commands.Callers{Agents: agents, Organizations: commands.NewOrganizationLoop(o.env), First: inst.Begun.OrganizationID}
	return o
}

func (o *office) meta() commands.Meta {
	return commands.Meta{
		Organization: o.inst.Begun.OrganizationID, Actor: domain.Actor{Type: domain.ActorService, ID: "token", Label: "ci"},
		CommandID: newID(), RequestID: "request", Address: "192.0.2.1", UserAgent: "test",
	}
}

func (o *office) asAgent(id string) commands.Meta {
	m := o.meta()
	m.Actor = domain.Actor{Type: domain.ActorAgent, ID: id}
	return m
}

func (o *office) mustTool(name string, mode catalog.Mode, credential string) string {
	o.t.Helper()
	var secret domain.Secret
	if credential != "" {
		secret = o.credential(credential)
	}
	id, _, err := o.tools.Add(o.t.Context(), o.meta(), catalog.AddTool{Name: name, AuthType: "api_key", Mode: mode}, secret)
	if err != nil {
		o.t.Fatalf("add %s: %v", name, err)
	}
	return id
}

func (o *office) credential(text string) domain.Secret {
	o.t.Helper()
	secret, err := commands.NewCredential([]byte(`"` + text + `"`))
	if err != nil {
		o.t.Fatal(err)
	}
	return secret
}

func (o *office) mustAgent(name string) (string, keys.Key) {
	o.t.Helper()
	r, err := o.agents.Register(o.t.Context(), o.meta(), commands.NewAgent{Name: name, Owner: "ada@example.com"})
	if err != nil {
		o.t.Fatalf("register %s: %v", name, err)
	}
	key, err := keys.Parse(r.APIKey)
	if err != nil {
		o.t.Fatal(err)
	}
	return r.ID, key
}

func (o *office) mustAssign(agentID, toolID string) {
	o.t.Helper()
	if _, err := o.grants.Assign(o.t.Context(), o.meta(), agentID, toolID, commands.Terms{}); err != nil {
		o.t.Fatalf("assign: %v", err)
	}
}

func (o *office) mustFetch(agentID, toolID string, number int) commands.Vended {
	o.t.Helper()
	v, err := o.fetch.Do(o.t.Context(), o.asAgent(agentID), agentID, number, toolID)
	if err != nil {
		o.t.Fatalf("fetch: %v", err)
	}
	return v
}

func contextWithStop(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

func code(err error) string {
	var refusal *domain.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	}
	return "fault: " + err.Error()
}
