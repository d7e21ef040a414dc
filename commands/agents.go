package commands

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/person"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// AgentResult is a command on an agent carried out.
type AgentResult = loop.Result[agent.State, agent.Event]

// Agents carries out what admins do to agents. An agent of another organization looks like none.
type Agents struct {
	Loop     *AgentLoop
	Catalogs *CatalogLoop
	Secrets  *seal.Secrets
	Privacy  *seal.Privacy
	Log      *codec.Log
	MACKey   domain.Secret
	Clock    func() time.Time
}

// Do decides one command on an agent of the caller's organization.
func (a *Agents) Do(
	ctx context.Context, m loop.Meta, id string, build loop.Build[agent.State, agent.Command],
) (AgentResult, error) {
	return a.Loop.Do(ctx, id, m, owned(m, build))
}

// owned makes an agent of another organization look like none.
func owned(m loop.Meta, build loop.Build[agent.State, agent.Command]) loop.Build[agent.State, agent.Command] {
	return func(s agent.State, at time.Time) (agent.Command, error) {
		if s.OrganizationID != m.Organization {
			return nil, domain.NotFound("agent")
		}
		return build(s, at)
	}
}

// NewAgent is what an admin says of a new agent. Owner is the person responsible for it, an e-mail
// or a name: it is stored sealed, under an id that only this installation can derive.
type NewAgent struct {
	Name, Description, Owner string
	Labels                   domain.Labels
}

// IssuedKey is a key that an agent was given. The call that drew it shows its text once: APIKey is
// empty where the command was carried out by an earlier call, which alone knew the text.
type IssuedKey struct {
	AgentResult
	ID     string // of the agent
	APIKey string
}

// issued answers for the key that the log has for the command, which may be another than was drawn
// here.
func issued(done AgentResult, id uuid.UUID, draft keys.Draft) (IssuedKey, error) {
	out := IssuedKey{AgentResult: done, ID: id.String()}
	for _, e := range done.Events {
		var stored agent.Key
		switch e := e.(type) {
		case agent.Registered:
			stored = e.Key
		case agent.KeyRotated:
			stored = e.Key
		default:
			continue
		}
		text, key, err := draft.Key(keys.Agent, id, stored.Number)
		if err != nil {
			return IssuedKey{}, err
		}
		if key.Matches(stored.Hash) {
			out.APIKey = text
		}
	}
	return out, nil
}

// Register makes an agent and its first key.
func (a *Agents) Register(ctx context.Context, m loop.Meta, n NewAgent) (IssuedKey, error) {
	id := loop.DerivedID(m.CommandID, "agent")
	draft, err := keys.Draw()
	if err != nil {
		return IssuedKey{}, err
	}
	owner, err := a.Person(ctx, m, n.Owner)
	if err != nil {
		return IssuedKey{}, err
	}
	done, err := a.Loop.Do(ctx, id.String(), m, func(agent.State, time.Time) (agent.Command, error) {
		_, key, err := draft.Key(keys.Agent, id, 1)
		return agent.Register{
			OrganizationID: m.Organization, Name: n.Name, Description: n.Description, OwnerID: owner,
			Labels: n.Labels,
			Key:    agent.Key{Number: 1, ID: loop.DerivedID(m.CommandID, "key").String(), Hash: key.Hash()},
		}, err
	})
	if err != nil {
		return IssuedKey{}, err
	}
	return issued(done, id, draft)
}

// Rotation is how a key is replaced: the former one works for Overlap, and Force ends a key whose
// overlap an earlier rotation promised.
type Rotation struct {
	Overlap time.Duration
	Force   bool
}

// RotateKey makes a new key, which is shown once. Refusals: overlap_running.
func (a *Agents) RotateKey(ctx context.Context, m loop.Meta, id string, r Rotation) (IssuedKey, error) {
	agentID, err := uuid.Parse(id)
	if err != nil {
		return IssuedKey{}, domain.NotFound("agent")
	}
	draft, err := keys.Draw()
	if err != nil {
		return IssuedKey{}, err
	}
	done, err := a.Do(ctx, m, id, func(s agent.State, at time.Time) (agent.Command, error) {
		_, key, err := draft.Key(keys.Agent, agentID, s.NextKey) // the text carries its number, which is the state's
		return agent.RotateKey{
			At: at, Overlap: r.Overlap, Force: r.Force, IfRevision: m.IfRevision,
			Key: agent.Key{Number: s.NextKey, ID: loop.DerivedID(m.CommandID, "key").String(), Hash: key.Hash()},
		}, err
	})
	if err != nil {
		return IssuedKey{}, err
	}
	return issued(done, agentID, draft)
}

// Retire ends an agent for good and removes the credentials that were its own.
func (a *Agents) Retire(ctx context.Context, m loop.Meta, id string) (AgentResult, error) {
	done, err := a.Do(ctx, m, id, func(s agent.State, _ time.Time) (agent.Command, error) {
		if s.Status == agent.StatusRetired && m.Since == 0 {
			return nil, domain.NotFound("agent")
		}
		return agent.Retire{IfRevision: m.IfRevision}, nil
	})
	if err != nil {
		return done, err
	}
	return done, a.dropOwn(ctx, done.State)
}

// Suspend stops an agent, ends every grant and request of it and removes the credentials that were
// its own.
func (a *Agents) Suspend(ctx context.Context, m loop.Meta, id string) (AgentResult, error) {
	done, err := a.Do(ctx, m, id, func(s agent.State, _ time.Time) (agent.Command, error) {
		if s.Status == agent.StatusRetired {
			return nil, domain.NotFound("agent")
		}
		return agent.Suspend{IfRevision: m.IfRevision}, nil
	})
	if err != nil {
		return done, err
	}
	return done, a.dropOwn(ctx, done.State)
}

// dropOwn removes an agent's own credentials for access that has ended. A command that is found
// done may be answered with a later state, in which there is access again.
func (a *Agents) dropOwn(ctx context.Context, s agent.State) error {
	for _, g := range s.Grants {
		if g.SecretID != "" && !g.Open() {
			if err := a.Secrets.Remove(ctx, g.SecretID); err != nil {
				return loop.Refusal(err)
			}
		}
	}
	return nil
}

// PersonID is the id under which Person records a text.
func (a *Agents) PersonID(org, text string) string { return personID(a.MACKey, org, text) }

// Person records who an e-mail or a name is, sealed with a key of that person's own, and returns
// the id under which events may name them. The same text has the same id, which nobody can derive
// without our MAC key.
func (a *Agents) Person(ctx context.Context, m loop.Meta, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	id := a.PersonID(m.Organization, text)
	_, err := a.Log.First(ctx, codec.People.Stream(id))
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, eventstore.ErrStreamNotFound) {
		return "", loop.Refusal(err)
	}
	keyID, sealed, err := a.Privacy.SealName(ctx, m.Organization, id, seal.Named{Name: text})
	if err != nil {
		return "", loop.Refusal(err)
	}
	signed := codec.Signed{
		Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(), RequestID: m.RequestID,
		Time: loop.Later(a.Clock(), time.Time{}),
	}
	_, err = a.Log.Write(
		ctx, codec.People.Stream(id), codec.Begin,
		person.Recorded{OrganizationID: m.Organization, KeyID: keyID, Sealed: sealed}, signed,
	)
	if err != nil && !isExisting(err) {
		return "", loop.Refusal(err)
	}
	return id, nil
}
