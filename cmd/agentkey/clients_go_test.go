package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	agentkey "agentkey/clients/go"
	"agentkey/eventstore/eventstoretest/wait"
)

// TestTheGoClient does what agents and admins do with the client in clients/go, through a network
// that loses answers and with a service that starts again.
func TestTheGoClient(t *testing.T) {
	t.Parallel()
	p := start(t, "AGENTKEY_LIMIT_READS=1/1s")
	network := startProxy(t, strings.TrimPrefix(p.URL, "http://"))
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	admin := agentkey.New("http://"+network.address()+"/", p.Token)

	tool, err := admin.AddTool(ctx, agentkey.NewTool{
		Name: "GitHub", AuthType: "api_key", CredentialMode: "shared", Credential: new(agentkey.Credential(`"ghp_1"`)),
	})
	if err != nil {
		t.Fatal(err)
	}
	registered, err := admin.RegisterAgent(ctx, agentkey.NewAgent{Name: "Onboarding"})
	if err != nil || registered.APIKey == nil {
		t.Fatalf("%+v: %v", registered, err)
	}
	agent := agentkey.New(p.URL, *registered.APIKey)
	happened := newFollowing(ctx, admin)

	t.Run("a refusal has a code", func(t *testing.T) {
		_, err := agent.FetchCredential(ctx, tool.ID)
		var refused *agentkey.Error
		if !errors.As(err, &refused) || refused.Code != agentkey.ProblemCodeAccessNotApproved || refused.Status != 403 ||
			!strings.Contains(refused.Error(), "POST") {
			t.Errorf("without access: %v", err)
		}
		_, err = agentkey.New(p.URL, "sk_agent_nonsense").GetMe(ctx)
		if !errors.As(err, &refused) || refused.Code != agentkey.ProblemCodeCredentialsMalformed {
			t.Errorf("without a key: %v", err)
		}
		_, err = agentkey.New(p.URL+"/nowhere", p.Token).GetSummary(ctx, agentkey.GetSummaryParams{})
		if !errors.As(err, &refused) || refused.Status != 404 {
			t.Errorf("elsewhere: %v", err)
		}
	})

	asked, err := agent.RequestTool(
		ctx, tool.ID, agentkey.RequestToolParams{}, agentkey.ToolRequest{Reason: "to open pull requests"},
	)
	if err != nil {
		t.Fatal(err)
	}
	told := happened.until(t, "grant.requested").Happening
	if told.RequestID == nil || *told.RequestID != asked.RequestID {
		t.Errorf("the stream says %+v", told)
	}

	t.Run("a decision is about what was read", func(t *testing.T) {
		var seen http.Header
		_, err := admin.GetRequest(ctx, asked.RequestID, agentkey.GetRequestParams{}, agentkey.WithHeaders(&seen))
		if err != nil {
			t.Fatal(err)
		}
		_, err = admin.ApproveRequest(ctx, asked.RequestID, agentkey.Approval{}, agentkey.WithIfMatch(`"another"`))
		var refused *agentkey.Error
		if !errors.As(err, &refused) || refused.Code != agentkey.ProblemCodeRevisionStale {
			t.Errorf("of another state: %v", err)
		}
		decided, err := admin.ApproveRequest(
			ctx, asked.RequestID, agentkey.Approval{}, agentkey.WithIfMatch(seen.Get("ETag")),
		)
		if err != nil || decided.Status != agentkey.AccessRequestStatusApproved {
			t.Errorf("%+v: %v", decided, err)
		}
		fetched, err := agent.FetchCredential(ctx, tool.ID)
		if err != nil || string(fetched.Credential) != `"ghp_1"` {
			t.Errorf("%+v: %v", fetched, err)
		}
	})

	t.Run("an answer that was lost has one effect", func(t *testing.T) {
		network.loseAnswers()
		done := make(chan error, 1)
		go func() {
			_, err := admin.RegisterAgent(ctx, agentkey.NewAgent{Name: "Once"})
			done <- err
		}()
		wait.Until(t, "an answer is lost", func() bool { return network.lostAnswers() > 0 })
		network.cut()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var names []string
		either := []agentkey.AgentStatus{
			agentkey.AgentStatusActive, agentkey.AgentStatusSuspended,
		}
		for a, err := range admin.AllAgents(ctx, agentkey.ListAgentsParams{
			Limit: new(1), Status: &either, Sort: new(agentkey.ListAgentsParamsSortMinusName), // a page each
		}) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, a.Name)
		}
		if !slices.Equal(names, []string{"Once", "Onboarding"}) { // it reads its own writes
			t.Errorf("the agents are %v", names)
		}
	})

	t.Run("it waits as long as it is asked to", func(t *testing.T) {
		var waited []time.Duration
		agent.Waiting = func(_ error, pause time.Duration) { waited = append(waited, pause) }
		for range 2 {
			if _, err := agent.GetMe(ctx); err != nil {
				t.Error(err)
			}
		}
		if !slices.Contains(waited, time.Second) {
			t.Errorf("it waited %v", waited)
		}
		agent.Patience = -1
		var refused *agentkey.Error
		if _, err := agent.GetMe(ctx); !errors.As(err, &refused) || refused.RetryAfter != time.Second {
			t.Errorf("without patience: %v", err)
		}
		agent.Patience = 0
		for mine, err := range agent.MyTools(ctx, agentkey.AccessApproved) {
			if err != nil || mine.ID != tool.ID {
				t.Errorf("%+v: %v", mine, err)
			}
		}
	})

	t.Run("a stream begins again with another log", func(t *testing.T) {
		follower := agentkey.New(p.URL, p.Token)
		const gone = 1 << 62
		follower.WaitFor(gone)
		for e, err := range follower.Events(ctx, "", gone) {
			if err != nil || e.Name != agentkey.Reset || follower.Position() != e.ID {
				t.Errorf("%+v at %d: %v", e, follower.Position(), err)
			}
			break
		}
	})

	t.Run("a stream outlives the service", func(t *testing.T) {
		network.lead("")
		p.restart()
		p.admin().must(200, "POST", "/api/admin/agents/"+registered.Agent.ID+"/suspend", nil)
		network.lead(strings.TrimPrefix(p.URL, "http://")) // what happened before is not lost
		happened.until(t, "agent.suspended")
		if happened.doubled() {
			t.Error("the stream repeats an event")
		}
	})
}

// following collects what a client's stream tells.
type following struct {
	events chan agentkey.Event
	mu     sync.Mutex
	ids    []uint64
}

func newFollowing(ctx context.Context, c *agentkey.Client) *following {
	f := &following{events: make(chan agentkey.Event, 1000)}
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(f.events)
		defer begin()
		for e, err := range c.Events(ctx, "fetches", 0) {
			if err != nil {
				return
			}
			if e.Name == "" {
				begin()
				continue
			}
			f.mu.Lock()
			f.ids = append(f.ids, e.ID)
			f.mu.Unlock()
			f.events <- e
		}
	}()
	<-begun
	return f
}

func (f *following) until(t *testing.T, name string) agentkey.Event {
	t.Helper()
	for e := range f.events {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("%s was never told", name)
	return agentkey.Event{}
}

func (f *following) doubled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(slices.Compact(slices.Clone(f.ids))) != len(f.ids)
}
