package commands

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
	"agentkey/integrations/oidc"
)

// People knows the members of organizations: who somebody is whose identity an issuer vouched for,
// and what is known of them. Whether they may come in is read from the organization's stream alone,
// so who was removed is out at once, on every replica, however long their token is valid.
type People struct {
	Organizations *OrganizationLoop
	Persons       *PersonLoop
	Directory     *Directory
	Privacy       *seal.Privacy
	Issuers       []string // URLs of those whose tokens name organizations
	Clock         func() time.Time
	NewID         func() uuid.UUID

	mu    sync.Mutex
	found map[listing][]codec.DirectoryEntered // entries stay, so what was found once holds
	said  map[string]said                      // by member
}

// said is what issuers said of a member, as this process knows it.
type said struct {
	Known

	issued time.Time // the newest token
	at     time.Time // when it was recorded
}

// recordEvery is how often what is known of a member may change.
const recordEvery = time.Minute

// mostPeople is how many are remembered in memory.
const mostPeople = 10_000

// mostInvitations is how many organizations are asked for an invitation to an address.
const mostInvitations = 50

// Admit returns the member that an identity is in an organization: the chosen one, the one that the
// token names, or, with neither, the first of theirs. Somebody who was invited by an address that
// they have proven becomes a member by it; so does somebody whose issuer is trusted to name the
// members of an organization, once. Refusal: not_a_member.
func (p *People) Admit(ctx context.Context, m loop.Meta, id oidc.Identity, chosen string) (Caller, error) {
	org, err := p.organization(ctx, id, chosen)
	if err != nil {
		return Caller{}, err
	}
	at := p.Directory.personAt(id.Issuer, id.Subject)
	member, err := p.member(ctx, p.remembered(at), org)
	var entries []codec.DirectoryEntered
	if err == nil && !member.Active() { // another process may have made them one
		if entries, err = p.Directory.find(ctx, at); err == nil {
			p.remember(at, entries)
			member, err = p.member(ctx, entries, org)
		}
	}
	if err == nil && !member.Active() {
		member, err = p.join(ctx, m, at, entries, id, org)
	}
	if err == nil && member.Provisioned {
		member, err = p.follow(ctx, m, member, id)
	}
	if err != nil {
		return Caller{}, err
	}
	m.Organization, m.Actor = member.organization, domain.Actor{Type: domain.ActorHuman, ID: member.ID}
	name, err := p.record(ctx, m, member.ID, said{Known: Known{Name: id.Name, Email: id.Email}, issued: id.IssuedAt})
	if err != nil {
		return Caller{}, err
	}
	m.Actor.Label = name.Label()
	return Caller{
		Actor: m.Actor, Organization: m.Organization, Role: member.Role, Tools: member.Tools, person: at,
	}, nil
}

// member is a member of an organization.
type member struct {
	organization.Member
	organization string
}

// organization returns the organization that a call is about, "" where nothing says which.
func (p *People) organization(ctx context.Context, id oidc.Identity, chosen string) (string, error) {
	if chosen != "" && uuid.Validate(chosen) != nil {
		return "", organization.NotAMember()
	}
	if !id.NamesOrganization {
		return chosen, nil
	}
	if id.Organization == "" {
		return "", organization.NotAMember()
	}
	external := organization.External{Issuer: id.Issuer, ID: id.Organization}
	at := p.Directory.externalAt(external)
	for _, fresh := range []bool{false, true} {
		entries := p.remembered(at)
		if fresh {
			var err error
			if entries, err = p.Directory.find(ctx, at); err != nil {
				return "", err
			}
			p.remember(at, entries)
		}
		for _, e := range entries {
			head, err := p.Organizations.Recent(ctx, e.OrganizationID)
			if err != nil {
				return "", err
			}
			if head.State.External == external {
				if chosen != "" && chosen != e.OrganizationID {
					return "", organization.NotAMember()
				}
				return e.OrganizationID, nil
			}
		}
	}
	return "", organization.NotAMember()
}

// member returns who somebody is in an organization, or in the first of theirs with org "". Who is
// no member is the zero one.
func (p *People) member(ctx context.Context, entries []codec.DirectoryEntered, org string) (member, error) {
	var looked []string
	for _, e := range entries {
		if org != "" && e.OrganizationID != org || slices.Contains(looked, e.OrganizationID) {
			continue
		}
		looked = append(looked, e.OrganizationID)
		head, err := p.Organizations.Recent(ctx, e.OrganizationID)
		if err != nil {
			return member{}, err
		}
		if m := head.State.Members[idIn(entries, e.OrganizationID)]; m.Active() {
			return member{m, e.OrganizationID}, nil
		}
	}
	return member{}, nil
}

// elsewhere returns the member that a person is in another organization. Refusal: not_a_member.
func (p *People) elsewhere(ctx context.Context, person listing, org string) (organization.Member, error) {
	if person == "" || uuid.Validate(org) != nil {
		return organization.Member{}, organization.NotAMember()
	}
	entries, err := p.Directory.find(ctx, person)
	if err != nil {
		return organization.Member{}, err
	}
	is, err := p.member(ctx, entries, org)
	if err == nil && !is.Active() {
		err = organization.NotAMember()
	}
	return is.Member, err
}

// idIn returns the id that somebody has in an organization, "" for none.
func idIn(entries []codec.DirectoryEntered, org string) string {
	for _, e := range slices.Backward(entries) {
		if e.OrganizationID == org {
			return e.MemberID
		}
	}
	return ""
}

// join makes a member of somebody who may become one.
func (p *People) join(
	ctx context.Context, m loop.Meta, at listing, entries []codec.DirectoryEntered, id oidc.Identity, org string,
) (member, error) {
	email := listing("")
	var invited []string
	if id.EmailVerified && id.Email != "" {
		email = p.Directory.emailAt(id.Email)
		inviting, err := p.Directory.find(ctx, email)
		if err != nil {
			return member{}, err
		}
		for _, e := range slices.Backward(inviting) {
			if (org == "" || org == e.OrganizationID) && len(invited) < mostInvitations {
				invited = append(invited, e.OrganizationID)
			}
		}
	}
	var open []string
	var accepting organization.Join
	for _, org := range invited {
		head, err := p.Organizations.Fresh(ctx, org)
		if err != nil {
			return member{}, err
		}
		// An organization that an issuer names takes nobody's word but that issuer's.
		of := head.State.External.Issuer
		i, found := head.State.InvitationFor(string(email), p.Clock())
		if found && (of == "" || of == id.Issuer) && !slices.Contains(open, org) {
			open = append(open, org)
			accepting = organization.Join{EmailHash: string(email), InvitationID: i.ID}
		}
	}
	switch {
	case len(open) == 1:
		return p.become(ctx, m, at, open[0], entries, accepting)
	case len(open) > 1:
		refusal := organization.NotAMember()
		refusal.Detail = "Several organizations have invited you: " + strings.Join(open, ", ") + "."
		refusal.Hint = "Choose one of them, where you sign in or with each call."
		return member{}, refusal
	}
	role := cmp.Or(id.Role, id.DefaultRole)
	if org == "" || !id.NamesOrganization || !id.Provision || role == "" {
		return member{}, organization.NotAMember()
	}
	return p.become(ctx, m, at, org, entries, organization.Join{Role: role, RoleAsOf: id.IssuedAt})
}

// become carries a Join out. Somebody who was erased is somebody new.
func (p *People) become(
	ctx context.Context, m loop.Meta, at listing, org string, entries []codec.DirectoryEntered, join organization.Join,
) (member, error) {
	former := idIn(entries, org)
	if former != "" {
		known, err := p.Persons.Fresh(ctx, former)
		if err != nil {
			return member{}, err
		}
		if !known.State.Erased || join.InvitationID == "" {
			join.MemberID = former
		}
	}
	m.Organization = org
	if join.MemberID == "" {
		m.Actor = domain.Actor{Type: domain.ActorSystem, ID: "sign_in"}
		entry, err := p.Directory.enter(
			ctx, m, at, codec.DirectoryEntered{OrganizationID: org, MemberID: p.NewID().String()},
			func(there []codec.DirectoryEntered) (e codec.DirectoryEntered, found bool) {
				e.OrganizationID, e.MemberID = org, idIn(there, org)
				return e, e.MemberID != former
			},
		)
		if err != nil {
			return member{}, err
		}
		join.MemberID = entry.MemberID
		p.remember(at, append(slices.Clone(entries), entry))
	}
	m.Actor = domain.Actor{Type: domain.ActorHuman, ID: join.MemberID}
	done, err := p.Organizations.Do(ctx, org, m, func(_ organization.State, at time.Time) (organization.Command, error) {
		return join.When(at), nil
	})
	if err == nil && join.InvitationID != "" { // the address that it was made for
		err = loop.Refusal(p.Privacy.ErasePerson(ctx, org, join.InvitationID))
	}
	return member{done.State.Members[join.MemberID], org}, err
}

// follow gives a provisioned member the role that their token names.
func (p *People) follow(ctx context.Context, m loop.Meta, is member, id oidc.Identity) (member, error) {
	role := cmp.Or(id.Role, id.DefaultRole)
	if role == "" {
		return is, organization.NotAMember()
	}
	p.mu.Lock()
	newest := p.said[is.ID].issued
	p.mu.Unlock()
	if role == is.Role || !id.IssuedAt.After(is.RoleAsOf) || id.IssuedAt.Before(newest) {
		return is, nil
	}
	m.Organization, m.Actor = is.organization, domain.Actor{Type: domain.ActorSystem, ID: "sign_in"}
	m.Address, m.UserAgent = "", "" // they are the member's, and go with the member
	m.CommandID = loop.DerivedID(m.CommandID, "role")
	done, err := p.Organizations.Do(
		ctx, is.organization, m, func(_ organization.State, at time.Time) (organization.Command, error) {
			return organization.FollowRole{MemberID: is.ID, Role: role, AsOf: id.IssuedAt, At: at}, nil
		},
	)
	return member{done.State.Members[is.ID], is.organization}, err
}

// record keeps what an issuer says of a member, and returns what is known. What it leaves out
// stays, what an older token says doesn't count, and nobody fills the log by saying something else
// each time.
func (p *People) record(ctx context.Context, m loop.Meta, id string, told said) (Known, error) {
	p.mu.Lock()
	was, hit := p.said[id]
	p.mu.Unlock()
	if !hit {
		var err error
		if was.Known, err = p.Known(ctx, m.Organization, id); err != nil {
			return Known{}, err
		}
	}
	now, next := p.Clock(), was
	if told.issued.After(was.issued) {
		next.issued = told.issued
	}
	if !told.issued.Before(was.issued) && now.Sub(was.at) >= recordEvery {
		next.Known = Known{Name: cmp.Or(told.Name, was.Name), Email: cmp.Or(told.Email, was.Email)}
	}
	if next.Known != was.Known {
		next.at = now
		keyID, sealed, err := p.Privacy.SealName(ctx, m.Organization, id, next.Known)
		if errors.Is(err, seal.ErrGone) {
			return Known{}, nil // erased: it is not written again
		}
		if err != nil {
			return Known{}, loop.Refusal(err)
		}
		m.CommandID = loop.DerivedID(m.CommandID, "person")
		if _, err := p.Persons.Do(ctx, id, m, func(person.State, time.Time) (person.Command, error) {
			return person.Record{OrganizationID: m.Organization, KeyID: keyID, Sealed: sealed}, nil
		}); err != nil {
			return Known{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said == nil || len(p.said) >= mostPeople {
		p.said = map[string]said{}
	}
	p.said[id] = next
	return next.Known, nil
}

// Known is what is kept of a person, of a service token, or of somebody who was invited; any of it
// may be absent.
type Known = seal.Named

// Known returns what is kept of a member; the zero Known of somebody who was erased, or of whom
// nothing was recorded.
func (p *People) Known(ctx context.Context, org, id string) (Known, error) {
	head, err := p.Persons.Recent(ctx, id)
	if err != nil {
		return Known{}, err
	}
	named, err := p.Privacy.OpenName(ctx, org, id, head.State.Sealed)
	return named, loop.Refusal(err)
}

// Owner returns what is kept of an owner of agents. It is recorded once, so no stream is read again
// for what this process has seen of it: whether it was erased is known from its key, within a
// minute.
func (p *People) Owner(ctx context.Context, org, id string) (Known, error) {
	head, err := p.Persons.Cached(ctx, id)
	if err != nil {
		return Known{}, err
	}
	if head.State.Sealed == "" {
		return p.Known(ctx, org, id)
	}
	named, err := p.Privacy.OpenName(ctx, org, id, head.State.Sealed)
	return named, loop.Refusal(err)
}

func (p *People) remembered(at listing) []codec.DirectoryEntered {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found[at]
}

func (p *People) remember(at listing, entries []codec.DirectoryEntered) {
	if len(entries) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || len(p.found) >= mostPeople {
		p.found = map[listing][]codec.DirectoryEntered{}
	}
	p.found[at] = entries
}
