package api

import (
	"context"
	"slices"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/readmodels"
)

// GetOrganization answers GET /api/admin/organization.
func (s *Server) GetOrganization(
	ctx context.Context, _ GetOrganizationRequestObject,
) (GetOrganizationResponseObject, error) {
	call := callOf(ctx)
	head, err := s.Organizations.Loop.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	return GetOrganization200JSONResponse(organizationView(call.Caller.Organization, head.State)), nil
}

// UpdateOrganization answers PATCH /api/admin/organization.
func (s *Server) UpdateOrganization(
	ctx context.Context, r UpdateOrganizationRequestObject,
) (UpdateOrganizationResponseObject, error) {
	call := callOf(ctx)
	var change commands.OrganizationChange
	if b := r.Body; b != nil {
		change.Name, change.ExternalID, change.Issuer = b.Name, b.ExternalID, b.ExternalIssuer
	}
	done, err := s.People.UpdateOrganization(call.ctx, call.meta(), change, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return UpdateOrganization200JSONResponse(organizationView(call.Caller.Organization, done.State)), nil
}

// ListOrganizations answers GET /api/admin/organizations.
func (s *Server) ListOrganizations(
	ctx context.Context, _ ListOrganizationsRequestObject,
) (ListOrganizationsResponseObject, error) {
	call := callOf(ctx)
	ids, states, err := s.People.Memberships(call.ctx, call.Caller)
	if err != nil {
		return nil, err
	}
	items := make([]Organization, len(ids))
	for i, id := range ids {
		items[i] = organizationView(id, states[i])
	}
	return ListOrganizations200JSONResponse{Items: items}, nil
}

// CreateOrganization answers POST /api/admin/organizations.
func (s *Server) CreateOrganization(
	ctx context.Context, r CreateOrganizationRequestObject,
) (CreateOrganizationResponseObject, error) {
	call := callOf(ctx)
	if call.Caller.Organization != s.Organizations.First {
		return nil, &domain.Error{
			Kind: domain.KindForbidden, Code: "role_insufficient",
			Detail: "Only an owner of the installation's first organization may create another one.",
			Hint:   "Ask the people who run this installation.",
		}
	}
	id, done, err := s.People.CreateOrganization(call.ctx, call.meta(), call.Caller, r.Body.Name)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return CreateOrganization201JSONResponse(organizationView(id, done.State)), nil
}

func organizationView(id string, o organization.State) Organization {
	return Organization{
		ID: id, Name: o.Name, ExternalID: optional(o.External.ID), ExternalIssuer: optional(o.External.Issuer),
	}
}

// ListMembers answers GET /api/admin/members. It reads the stream that decides, so that a member
// who isn't listed can't come in.
func (s *Server) ListMembers(ctx context.Context, r ListMembersRequestObject) (ListMembersResponseObject, error) {
	call := callOf(ctx)
	p, state, model, err := s.organizationPage(call, r.Params.Limit, r.Params.Cursor, r.Params.AsOf)
	if err != nil {
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	type listed struct {
		id   string
		view func() Member
	}
	var all []listed
	status := value(r.Params.Status)
	if status != MemberStatusInvited {
		for _, m := range state.AllMembers() {
			all = append(all, listed{m.ID, func() Member { return n.member(call.ctx, m) }})
		}
	}
	if status != MemberStatusActive {
		for _, i := range state.AllInvitations(model.now) {
			all = append(all, listed{i.ID, func() Member { return n.invited(call.ctx, i) }})
		}
	}
	those, next := newestOf(all, p)
	ids := make([]string, len(those))
	for i, one := range those {
		ids[i] = one.id
	}
	n.meet(call.ctx, ids, s.People.Known)
	var seen map[string]time.Time
	if model.position == nil {
		if seen, err = s.Door.Callers.Uses.Last(call.ctx, ids); err != nil {
			return nil, err
		}
	}
	items := views(those, func(one listed) Member {
		m := one.view()
		m.LastSeenAt = optionalTime(seen[one.id])
		return m
	})
	return ListMembers200JSONResponse{Items: items, NextCursor: next, Position: model.position}, n.err
}

// organization is the caller's organization as its stream has it.
func (s *Server) organization(call *call) (organization.State, error) {
	head, err := s.Organizations.Loop.Fresh(call.ctx, call.Caller.Organization)
	return head.State, err
}

// organizationAt is the caller's organization as its stream had it at as_of. Its members have the
// names that they have now.
func (s *Server) organizationAt(call *call, asOf *AsOf) (organization.State, view, error) {
	model, err := s.at(call, asOf)
	if err != nil {
		return organization.State{}, model, err
	}
	if model.position == nil {
		state, err := s.organization(call)
		return state, model, err
	}
	state, err := s.Organizations.Loop.AsOf(call.ctx, call.Caller.Organization, uint64(*model.position)) //nolint:gosec // positions fit
	return state, model, err
}

// organizationPage reads which page of a list of the organization's stream is asked for, and the
// organization as organizationAt does.
func (s *Server) organizationPage(
	call *call, limit *Limit, cursor *Cursor, asOf *AsOf,
) (p readmodels.Page, state organization.State, model view, err error) {
	if p, err = page(limit, cursor); err == nil {
		state, model, err = s.organizationAt(call, asOf)
	}
	return p, state, model, err
}

// newestOf cuts a page from what is in the order in which it came to be, newest first.
func newestOf[T any](all []T, p readmodels.Page) (those []T, next *string) {
	if p.Before > 0 && p.Before < uint64(len(all)) {
		all = all[:p.Before]
	}
	rest := max(0, len(all)-p.Limit)
	those = slices.Clone(all[rest:])
	slices.Reverse(those)
	return those, cursor(uint64(rest))
}

func (n *naming) member(ctx context.Context, m organization.Member) Member {
	known := n.person(ctx, m.ID)
	return Member{
		ID: m.ID, Name: optional(known.Name), Email: optional(known.Email), Role: Role(m.Role),
		Status: MemberStatusActive, Provisioned: optional(m.Provisioned), CreatedAt: m.JoinedAt.UTC(),
		CreatedBy: n.somebody(ctx, m.InvitedBy), Tools: some(m.Tools),
	}
}

// some is absent where a list is empty.
func some(list []string) *[]string {
	if len(list) == 0 {
		return nil
	}
	return &list
}

func (n *naming) invited(ctx context.Context, i organization.Invitation) Member {
	is := n.invitation(ctx, i)
	return Member{
		ID: is.ID, Email: optional(is.Email), Role: is.Role, Status: MemberStatusInvited, CreatedAt: is.CreatedAt,
		CreatedBy: &is.CreatedBy, ExpiresAt: &is.ExpiresAt, Tools: is.Tools,
	}
}

func (n *naming) invitation(ctx context.Context, i organization.Invitation) Invitation {
	return Invitation{
		ID: i.ID, Email: n.open(ctx, i.ID, i.Sealed).Email, Role: Role(i.Role), CreatedAt: i.CreatedAt.UTC(),
		ExpiresAt: i.ExpiresAt.UTC(), CreatedBy: n.actor(ctx, i.CreatedBy), Tools: some(i.Tools),
	}
}

// GetMember answers GET /api/admin/members/{id}.
func (s *Server) GetMember(ctx context.Context, r GetMemberRequestObject) (GetMemberResponseObject, error) {
	call := callOf(ctx)
	state, err := s.organization(call)
	if err != nil {
		return nil, err
	}
	n := s.naming(call.Caller.Organization)
	if m := state.Members[r.ID]; m.Active() {
		return GetMember200JSONResponse(n.member(call.ctx, m)), n.err
	}
	if i := state.Invitations[r.ID]; i.Open(s.Clock()) {
		return GetMember200JSONResponse(n.invited(call.ctx, i)), n.err
	}
	return nil, domain.NotFound("member")
}

// UpdateMember answers PATCH /api/admin/members/{id}.
func (s *Server) UpdateMember(ctx context.Context, r UpdateMemberRequestObject) (UpdateMemberResponseObject, error) {
	call := callOf(ctx)
	done, err := s.People.Update(call.ctx, call.meta(), r.ID, domain.Role(r.Body.Role), r.Body.Tools, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	n := s.naming(call.Caller.Organization)
	return UpdateMember200JSONResponse(n.member(call.ctx, done.State.Members[r.ID])), nil
}

// RemoveMember answers DELETE /api/admin/members/{id}, also for a member who leaves.
func (s *Server) RemoveMember(ctx context.Context, r RemoveMemberRequestObject) (RemoveMemberResponseObject, error) {
	call := callOf(ctx)
	state, err := s.organization(call)
	if err != nil {
		return nil, err
	}
	remove := s.People.Remove
	if _, invited := state.Invitations[r.ID]; invited {
		remove = s.People.RevokeInvitation
	}
	done, err := remove(call.ctx, call.meta(), r.ID, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RemoveMember204Response{}, nil
}

// ListInvitations answers GET /api/admin/invitations.
func (s *Server) ListInvitations(
	ctx context.Context, r ListInvitationsRequestObject,
) (ListInvitationsResponseObject, error) {
	call := callOf(ctx)
	p, state, _, err := s.organizationPage(call, r.Params.Limit, r.Params.Cursor, nil)
	if err != nil {
		return nil, err
	}
	those, next := newestOf(state.AllInvitations(s.Clock()), p)
	n := s.naming(call.Caller.Organization)
	items := views(those, func(i organization.Invitation) Invitation { return n.invitation(call.ctx, i) })
	return ListInvitations200JSONResponse{Items: items, NextCursor: next}, n.err
}

// CreateInvitation answers POST /api/admin/invitations.
func (s *Server) CreateInvitation(
	ctx context.Context, r CreateInvitationRequestObject,
) (CreateInvitationResponseObject, error) {
	call := callOf(ctx)
	done, made, err := s.People.Invite(
		call.ctx, call.meta(), r.Body.Email, domain.Role(r.Body.Role), value(r.Body.Tools), call.Caller.Giver(),
	)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return CreateInvitation201JSONResponse(s.naming(call.Caller.Organization).invitation(call.ctx, made)), nil
}

// RevokeInvitation answers DELETE /api/admin/invitations/{id}.
func (s *Server) RevokeInvitation(
	ctx context.Context, r RevokeInvitationRequestObject,
) (RevokeInvitationResponseObject, error) {
	call := callOf(ctx)
	done, err := s.People.RevokeInvitation(call.ctx, call.meta(), r.ID, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RevokeInvitation204Response{}, nil
}
