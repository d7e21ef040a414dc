// Package domain holds what every aggregate shares: refusals, actors and facts. The aggregates are
// its sub-packages. Nothing under domain knows a clock, randomness, a context or any kind of I/O:
// time and ids arrive on the commands, and what has been decided is returned as events.
package domain

import (
	"slices"
	"strings"
	"time"
)

// ActorType says what kind of caller acted.
type ActorType string

// The actor types of the audit.
const (
	ActorAgent   ActorType = "agent"
	ActorHuman   ActorType = "human"
	ActorService ActorType = "service"
	ActorSystem  ActorType = "system"
)

// Actor is who did something. ID is an agent's, a service token's or a person's id, or the name of
// a part of the system. Label is a display name; it is never stored in clear, so it is absent from
// stored actors.
type Actor struct {
	Type  ActorType `json:"type"`
	ID    string    `json:"id"`
	Label string    `json:"-"`
}

// IsRule reports whether the actor is a rule of an organization. Rules act as parts of the system,
// whose others have names.
func (a Actor) IsRule() bool { return a.Type == ActorSystem && strings.Count(a.ID, "-") == 4 }

// Fact is one thing that happened: the event with the time of its signed metadata and who is behind
// it. States are folded from facts; no event repeats either of the two in its data.
type Fact[E any] struct {
	Event E
	At    time.Time
	By    Actor // who did it, or on whose behalf a part of the system did
}

// RuleVersion is a rule of an organization as it was when it decided a request. Each change of a
// rule makes another version, counted from 1.
type RuleVersion struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// Role is what a service token or a member may do in an organization.
type Role string

// The roles. The table of what each may do is the door's.
const (
	RoleOwner    Role = "owner"
	RoleAdmin    Role = "admin"
	RoleApprover Role = "approver" // decides requests
	RoleAuditor  Role = "auditor"  // reads everything
	RoleViewer   Role = "viewer"   // reads all but the audit
)

// Roles are the roles, widest first: each may give those that follow it.
var Roles = []Role{RoleOwner, RoleAdmin, RoleApprover, RoleAuditor, RoleViewer}

// RolesText is what is said where a role isn't one.
const RolesText = "it must be owner, admin, approver, auditor or viewer"

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return slices.Contains(Roles, r) }

// Covers reports whether somebody of role r may give the role other. What isn't a role covers none.
func (r Role) Covers(other Role) bool {
	return r.Valid() && slices.Index(Roles, r) <= slices.Index(Roles, other)
}
