package reactions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
	"agentkey/projections"
	"agentkey/readmodels"
)

// RemovedTools revokes what agents had of a tool that was removed. The removal alone has ended all
// of it; this writes it down for each agent.
func RemovedTools(model *projections.ReadModel, grants *commands.Grants) Reaction {
	const name = "removed_tools"
	return Reaction{Name: name, Types: `^tool\.removed\.`, Handle: func(ctx context.Context, cause codec.Verified) (bool,
		error,
	) {
		removed, ok := cause.Event.(catalog.ToolRemoved)
		if !ok {
			return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
		}
		return eachGrant(ctx, model, cause, removed.ToolID, func(agentID string) (commands.AgentResult, error) {
			m := consequence(name, cause, agentID)
			return grants.Revoke(ctx, m, agentID, removed.ToolID, agent.CauseToolRemoved)
		})
	}}
}

// FrozenTools revokes what agents had of a tool when it was frozen, and ends their requests. The
// freeze alone has ended all of it; this writes it down for each agent. What was granted after the
// tool was unfrozen stays.
func FrozenTools(model *projections.ReadModel, grants *commands.Grants) Reaction {
	const name = "frozen_tools"
	return Reaction{Name: name, Types: `^tool\.frozen\.`, Handle: func(ctx context.Context, cause codec.Verified) (bool,
		error,
	) {
		frozen, ok := cause.Event.(catalog.ToolFrozen)
		if !ok {
			return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
		}
		return eachGrant(ctx, model, cause, frozen.ToolID, func(agentID string) (commands.AgentResult, error) {
			return grants.RevokeFrozen(ctx, consequence(name, cause, agentID), agentID, frozen.ToolID, frozen.Freeze)
		})
	}}
}

// eachGrant ends what each agent ever had of a tool. The read model names the agents once it knows
// of everything before the cause; the decision is the stream's.
func eachGrant(
	ctx context.Context, model *projections.ReadModel, cause codec.Verified, toolID string,
	end func(agentID string) (commands.AgentResult, error),
) (acted bool, err error) {
	if err := model.WaitFor(ctx, cause.Position); err != nil {
		return false, err
	}
	for p := (readmodels.Page{Limit: 200}); ; {
		found, err := model.DB.Grants(
			ctx, cause.Signed.Organization, readmodels.GrantFilter{ToolID: toolID}, cause.Signed.Time, p,
		)
		if err != nil {
			return acted, err
		}
		for _, g := range found.Items {
			done, err := end(g.AgentID)
			if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindNotFound {
				continue // a retired agent, whose access ended with it
			}
			if err != nil {
				return acted, err
			}
			acted = acted || done.Changed
		}
		if p.Before = found.Next; p.Before == 0 {
			return acted, nil
		}
	}
}

// AnsweredSuggestions gives the backers of a suggestion what was decided for them, where the
// request that decided it did not come to that.
func AnsweredSuggestions(grants *commands.Grants) Reaction {
	const name = "answered_suggestions"
	return Reaction{
		Name: name, Types: `^suggestion\.(accepted|redirected)\.`,
		Handle: func(ctx context.Context, cause codec.Verified) (acted bool, err error) {
			var suggestionID, toolID string
			var decisions []catalog.Decision
			switch e := cause.Event.(type) {
			case catalog.SuggestionAccepted:
				suggestionID, toolID, decisions = e.SuggestionID, e.ToolID, e.Decisions
			case catalog.SuggestionRedirected:
				suggestionID, toolID, decisions = e.SuggestionID, e.ToolID, e.Decisions
			default:
				return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
			}
			m := onBehalf(name, cause)
			for _, d := range decisions {
				seeded, err := grants.Seed(ctx, m, suggestionID, toolID, d)
				if err != nil {
					return acted, err
				}
				acted = acted || seeded.Changed()
			}
			return acted, nil
		},
	}
}

// PlannedChanges completes a change of the catalog that takes several appends, where the request
// that planned it did not come to that.
func PlannedChanges(tools *commands.Tools) Reaction {
	const name = "planned_changes"
	return Reaction{
		Name: name, Types: `^catalog\.change_planned\.`, After: 2 * time.Second,
		Handle: func(ctx context.Context, cause codec.Verified) (bool, error) {
			planned, ok := cause.Event.(catalog.ChangePlanned)
			if !ok {
				return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
			}
			done, err := tools.Continue(ctx, onBehalf(name, cause), planned)
			return done.Changed, err
		},
	}
}

// TakenNotes marks the note that a revision of a usage guide took up, where the request that
// revised it did not come to that.
func TakenNotes(notes *commands.Notes) Reaction {
	const name = "taken_notes"
	return Reaction{
		Name: name, Types: `^tool\.instructions_revised\.`,
		Handle: func(ctx context.Context, cause codec.Verified) (bool, error) {
			revised, ok := cause.Event.(catalog.ToolInstructionsRevised)
			if !ok {
				return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
			}
			if revised.NoteID == "" {
				return false, nil
			}
			m := consequence(name, cause, revised.NoteID)
			done, err := notes.Take(ctx, m, revised.ToolID, revised.NoteID, revised.Version, revised.DecidedOn)
			return done.Changed, err
		},
	}
}

// EndedSecrets removes the secrets that were replaced, or that ended with a tool, an agent's access
// or a channel. A minute passes first, in which a fetch that was vended the former version may
// still open it.
func EndedSecrets(secrets *seal.Secrets) Reaction {
	const types = `^(tool\.removed|tool\.credential_rotated|grant\.revoked|grant\.expired|grant\.credential_replaced|` +
		`notification_channel\.(updated|removed))\.`
	return Reaction{
		Name: "ended_secrets", Types: types, After: time.Minute,
		Handle: func(ctx context.Context, cause codec.Verified) (bool, error) {
			id := ""
			switch e := cause.Event.(type) {
			case catalog.ToolRemoved:
				id = e.SecretID
			case catalog.ToolCredentialRotated:
				id = e.Replaces
			case agent.GrantRevoked:
				id = e.SecretID
			case agent.GrantExpired:
				id = e.SecretID
			case agent.GrantCredentialReplaced:
				id = e.Replaces
			case organization.ChannelUpdated:
				id = e.Replaces
			case organization.ChannelRemoved:
				id = e.SecretID
			}
			if id == "" {
				return false, nil
			}
			return true, secrets.Remove(ctx, id)
		},
	}
}

// UnusedSecrets removes the credentials and plans that nothing refers to an hour after they were
// written: the process died before the event that was to refer to them, or their end was never
// carried out. A command takes seconds, so what is not used by then never will be.
func UnusedSecrets(grants *commands.Grants) Reaction {
	return Reaction{
		Name: "unused_secrets", Types: `^secret\.sealed\.`, After: time.Hour, FromStart: true,
		Handle: func(ctx context.Context, cause codec.Verified) (bool, error) {
			sealed, ok := cause.Event.(codec.SecretSealed)
			if !ok {
				return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
			}
			if p := seal.Purpose(sealed.Purpose); p != seal.Credential && p != seal.Plan {
				return false, nil
			}
			used, err := grants.Uses(ctx, sealed.OrganizationID, sealed.Owner, sealed.SecretID)
			if err != nil || used {
				return false, err
			}
			return true, grants.Secrets.Remove(ctx, sealed.SecretID)
		},
	}
}

// onBehalf is who acts on what follows from an event: the reaction, for the one who caused the
// event, however many reactions lie between.
func onBehalf(reaction string, cause codec.Verified) loop.Meta {
	return loop.Meta{
		Organization: cause.Signed.Organization, Actor: domain.Actor{Type: domain.ActorSystem, ID: reaction},
		OnBehalfOf: cause.Signed.By(), Causation: cause.ID.String(),
	}
}

// consequence is onBehalf for one thing that follows from an event. The same cause has the same
// command, so a second process that reacts too finds it done.
func consequence(reaction string, cause codec.Verified, about string) loop.Meta {
	m := onBehalf(reaction, cause)
	m.CommandID = uuid.NewSHA1(cause.ID, []byte(reaction+"/"+about))
	return m
}
