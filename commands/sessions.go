package commands

import (
	"context"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
)

// BegunSession is a session that has begun, with the text that its browser keeps.
type BegunSession struct {
	OrganizationResult
	Session organization.Session
	Text    string
}

// BeginSession begins a session for a caller that was admitted: a member, or a service token.
func (o *Organizations) BeginSession(ctx context.Context, m loop.Meta, caller Caller) (BegunSession, error) {
	m.Organization, m.Actor = caller.Organization, caller.Actor
	begin := organization.BeginSession{TokenID: caller.Actor.ID}
	if caller.Actor.Type == domain.ActorHuman {
		begin = organization.BeginSession{MemberID: caller.Actor.ID, PersonHash: string(caller.person)}
	}
	return o.beginSession(ctx, m, begin)
}

// FollowLink begins the session that a sign-in link was made for, once. Refusal:
// credentials_unknown.
func (o *Organizations) FollowLink(ctx context.Context, m loop.Meta, link string) (BegunSession, error) {
	key, err := keys.Parse(link)
	if err != nil || key.Kind != keys.Link {
		return BegunSession{}, organization.LinkEnded()
	}
	m.Organization = o.organization(key.ID)
	head, err := o.Loop.Fresh(ctx, m.Organization)
	if err != nil {
		return BegunSession{}, err
	}
	offer, found := head.State.Session(key.Number)
	if !found {
		return BegunSession{}, organization.LinkEnded()
	}
	m.Actor = domain.Actor{Type: domain.ActorService, ID: offer.TokenID}
	return o.beginSession(ctx, m, organization.BeginSession{
		Link: organization.Link{Number: key.Number, Matches: key.Matches},
	})
}

func (o *Organizations) beginSession(
	ctx context.Context, m loop.Meta, begin organization.BeginSession,
) (BegunSession, error) {
	draft, carried, err := o.draw(m.Organization)
	if err != nil {
		return BegunSession{}, err
	}
	begin.SessionID = loop.DerivedID(m.CommandID, "session").String()
	done, err := o.Loop.Do(ctx, m.Organization, m, func(s organization.State, at time.Time) (organization.Command, error) {
		_, key, err := draft.Key(keys.Session, carried, s.NextSession)
		return begin.As(s.NextSession, key.Hash(), at), err
	})
	if err != nil {
		return BegunSession{}, err
	}
	begun := BegunSession{OrganizationResult: done, Session: done.State.Sessions[begin.SessionID]}
	begun.Text, _, err = draft.Key(keys.Session, carried, begun.Session.Number)
	return begun, err
}

// OfferSession makes a link that begins a session for a service token of the organization of m. It
// can be followed once, within organization.LinkTime.
func (o *Organizations) OfferSession(ctx context.Context, m loop.Meta, tokenID string) (link string, err error) {
	draft, carried, err := o.draw(m.Organization)
	if err != nil {
		return "", err
	}
	id := loop.DerivedID(m.CommandID, "link").String()
	done, err := o.Loop.Do(ctx, m.Organization, m, func(s organization.State, at time.Time) (organization.Command, error) {
		_, key, err := draft.Key(keys.Link, carried, s.NextSession)
		return organization.OfferSession{
			SessionID: id, TokenID: tokenID, Hash: key.Hash(), Number: s.NextSession, At: at,
		}, err
	})
	if err != nil {
		return "", err
	}
	link, _, err = draft.Key(keys.Link, carried, done.State.Sessions[id].Number)
	return link, err
}

// EndSession ends a session of the organization of m at once, on every process.
func (o *Organizations) EndSession(
	ctx context.Context, m loop.Meta, id string, by organization.Giver,
) (OrganizationResult, error) {
	return o.Loop.Do(ctx, m.Organization, m, func(_ organization.State, at time.Time) (organization.Command, error) {
		return organization.EndSession{SessionID: id, By: by, At: at}, nil
	})
}

// EndSessions ends the sessions of a member or a service token, or with owner "" everybody's.
func (o *Organizations) EndSessions(
	ctx context.Context, m loop.Meta, owner string, by organization.Giver,
) (OrganizationResult, error) {
	return o.Loop.Do(ctx, m.Organization, m, func(_ organization.State, at time.Time) (organization.Command, error) {
		return organization.EndSessions{Owner: owner, By: by, At: at}, nil
	})
}

func (o *Organizations) draw(organization string) (keys.Draft, uuid.UUID, error) {
	carried, err := o.carried(organization)
	if err != nil {
		return keys.Draft{}, carried, err
	}
	draft, err := keys.Draw()
	return draft, carried, err
}

// organization is the one that a key carries.
func (o *Organizations) organization(carried uuid.UUID) string {
	if carried == uuid.Nil {
		return o.First
	}
	return carried.String()
}
