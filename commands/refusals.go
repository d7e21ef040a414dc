package commands

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/eventstore/codec"
)

// Refusals records refused fetches, calls with keys or tokens that had ended, and calls that a role
// doesn't allow: the first of a tool, key or operation and a reason in a minute is durable before
// its answer, the rest are counted and written together within the minute. So a flood of refusals
// can't fill the log.
type Refusals struct {
	loop  *loop.Loop[struct{}, codec.Refused, codec.Refused]
	newID func() uuid.UUID
	every time.Duration

	mu      sync.Mutex
	windows map[refusal]*window
}

// refusal is what is counted together: of a tool, of all tools that don't exist (toolID is empty),
// of a key, of an identity that a workload had, of a service token, or of an operation that an
// actor may not call. subject is the agent, or the organization of the token or the actor.
type refusal struct {
	subject, toolID, keyID, tokenID, reason string
	binding                                 int

	actor     domain.Actor
	operation string
	role      domain.Role
}

// Asked is what a refused fetch asked for. Identity is what a workload presented, nil for a key.
type Asked struct {
	ToolID   string
	Identity *agent.Presented
}

// event counts a refusal; asked is what the last of them asked for.
func (r refusal) event(asked Asked, count int, last time.Time) codec.Refused {
	switch {
	case r.operation != "":
		return codec.CallRefused{Operation: r.operation, Role: r.role, Count: count, LastAt: last}
	case r.tokenID != "":
		return codec.TokenRefused{TokenID: r.tokenID, Count: count, LastAt: last}
	case r.keyID != "" || r.binding != 0:
		return codec.KeyRefused{
			AgentID: r.subject, KeyID: r.keyID, Reason: r.reason, Count: count, LastAt: last, Identity: asked.Identity,
		}
	}
	return codec.CredentialRefused{
		AgentID: r.subject, ToolID: asked.ToolID, Reason: r.reason, Count: count, LastAt: last, Identity: asked.Identity,
	}
}

// window is the present minute of one refusal, and what was counted and not written yet.
type window struct {
	began time.Time
	first *first
	meta  loop.Meta // of the last one counted
	asked Asked
	count int
	last  time.Time
}

// first is the refusal that began a minute. done is closed when it is durable, or failed with err.
type first struct {
	done    chan struct{}
	err     error
	waiting int // were counted since
}

// NewRefusals returns the record of refusals. Run must be running for counted ones to be
// written.
func NewRefusals(env *loop.Env, newID func() uuid.UUID) *Refusals {
	return &Refusals{
		newID: newID, every: time.Minute, windows: map[refusal]*window{},
		loop: loop.New(env, loop.Aggregate[struct{}, codec.Refused, codec.Refused]{
			// there is nothing to fold, and a snapshot says so without reading it all
			Category: codec.Refusals, Fold: 1,
			Decide: func(_ struct{}, c codec.Refused) ([]codec.Refused, error) {
				return []codec.Refused{c}, nil
			},
			Evolve: func(s struct{}, _ ...domain.Fact[codec.Refused]) struct{} { return s },
		}),
	}
}

// Record returns when the refusal of a fetch is durable or counted. Its only errors are those of
// the log. What was begun is written even if the caller leaves, because others count on it.
func (r *Refusals) Record(ctx context.Context, m loop.Meta, agentID string, asked Asked, reason string) error {
	return r.record(ctx, m, refusal{subject: agentID, toolID: asked.ToolID, reason: reason}, asked)
}

// Unknown records, as Record does, that an agent asked for a tool that doesn't exist. All of these
// are counted together, because a caller that invents ids can invent a new one each time.
func (r *Refusals) Unknown(ctx context.Context, m loop.Meta, agentID string, asked Asked, reason string) error {
	return r.record(ctx, m, refusal{subject: agentID, reason: reason}, asked)
}

// EndedKey records, as Record does, that an agent's key, its identity or a service token was used
// after it ended.
func (r *Refusals) EndedKey(ctx context.Context, m loop.Meta, by Caller) error {
	if by.Actor.Type == domain.ActorService {
		return r.record(ctx, m, refusal{subject: by.Organization, tokenID: by.Actor.ID}, Asked{})
	}
	of, asked := refusal{subject: by.Actor.ID, reason: "unbound"}, Asked{Identity: by.Identity}
	if by.Identity != nil {
		of.binding = by.Identity.Binding
	} else {
		key, found := by.Agent.FindKey(by.KeyNumber)
		if !found {
			return nil
		}
		of.keyID, of.reason = key.ID, "rotated"
	}
	if by.Agent.Status == agent.StatusRetired {
		of.reason = "agent_retired"
	}
	return r.record(ctx, m, of, asked)
}

// Forbidden records, as Record does, that a member or a service token called what their role
// doesn't allow.
func (r *Refusals) Forbidden(ctx context.Context, m loop.Meta, by Caller, operation string) error {
	who := domain.Actor{Type: by.Actor.Type, ID: by.Actor.ID}
	return r.record(ctx, m, refusal{subject: by.Organization, actor: who, operation: operation, role: by.Role}, Asked{})
}

func (r *Refusals) record(ctx context.Context, m loop.Meta, key refusal, asked Asked) error {
	now := r.loop.Env.Clock().UTC().Truncate(time.Microsecond)
	r.mu.Lock()
	w := r.windows[key]
	if w == nil {
		w = &window{}
		r.windows[key] = w
	}
	if w.first != nil && now.Sub(w.began) < r.every {
		f := w.first
		w.count++
		f.waiting++
		w.meta, w.asked, w.last = m, asked, now
		r.mu.Unlock()
		select {
		case <-f.done:
			return f.err
		case <-ctx.Done():
			return loop.Refusal(ctx.Err())
		}
	}
	f := &first{done: make(chan struct{})}
	w.began, w.first = now, f
	r.mu.Unlock()

	ctx = context.WithoutCancel(ctx)
	f.err = r.write(ctx, key, w)
	if f.err == nil {
		m.CommandID = r.newID()
		f.err = r.append(ctx, m, key, key.event(asked, 1, now))
	}
	if f.err != nil {
		r.mu.Lock()
		w.first = nil                       // the next one begins from zero
		w.count = max(0, w.count-f.waiting) // no refusal that was answered is lost
		r.mu.Unlock()
	}
	close(f.done)
	return f.err
}

// Run writes what was counted when its minute is over, until ctx ends; then it writes the rest.
// tick is how often it looks.
func (r *Refusals) Run(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-tick:
			r.flush(context.WithoutCancel(ctx), r.every/2)
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx), 0)
			return
		}
	}
}

// flush writes the windows that are at least so old. What can't be written is kept and tried again.
func (r *Refusals) flush(ctx context.Context, age time.Duration) {
	now := r.loop.Env.Clock()
	due := map[refusal]*window{}
	r.mu.Lock()
	for key, w := range r.windows {
		switch {
		case w.first != nil && !isClosed(w.first.done):
		case w.count > 0 && now.Sub(w.began) >= age:
			due[key] = w
		case w.count == 0 && now.Sub(w.began) >= r.every:
			delete(r.windows, key)
		}
	}
	r.mu.Unlock()
	for key, w := range due {
		if err := r.write(ctx, key, w); err != nil {
			r.loop.Env.OnFault("counted refusals not written yet", err)
		}
	}
}

// write appends what was counted. What can't be written counts on.
func (r *Refusals) write(ctx context.Context, key refusal, w *window) error {
	r.mu.Lock()
	count, m, asked, last := w.count, w.meta, w.asked, w.last
	w.count = 0
	r.mu.Unlock()
	if count == 0 {
		return nil
	}
	m.CommandID = r.newID()
	err := r.append(ctx, m, key, key.event(asked, count, last))
	if err != nil {
		r.mu.Lock()
		w.count += count
		r.mu.Unlock()
	}
	return err
}

func (r *Refusals) append(ctx context.Context, m loop.Meta, key refusal, e codec.Refused) error {
	_, err := r.loop.Do(ctx, key.subject, m, func(struct{}, time.Time) (codec.Refused, error) { return e, nil })
	return err
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
