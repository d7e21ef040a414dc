// Package catalog decides which tools an organization offers: names, modes, which secret is current
// and the usage guide of each; and what agents suggest that it should offer. Adding, renaming,
// removing, suggesting and accepting are ordered by one stream, so that two tools never share a
// name and two suggestions never mean the same. It does not know who has access to what.
package catalog

import (
	"maps"
	"time"

	"agentkey/domain"
)

// Mode says whose credential a tool hands out.
type Mode string

// The modes: one credential for everybody, or one for each agent.
const (
	Shared   Mode = "shared"
	PerAgent Mode = "per_agent"
)

// AuthType is what kind of credential a tool takes.
type AuthType string

// Event is what happened in a catalog. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ catalogEvent() }

// The events of a catalog's stream.
type (
	// ToolAdded offers a tool. FoldedName and Site arrive on the command, so that a newer Unicode or
	// suffix table changes no past decision.
	ToolAdded struct {
		ToolID           string       `json:"tool_id"`
		Name             string       `json:"name"`
		FoldedName       string       `json:"folded_name"`
		Description      string       `json:"description,omitempty"`
		URL              string       `json:"url,omitempty"`
		Site             string       `json:"site,omitempty"`
		DocsURL          string       `json:"docs_url,omitempty"`
		AuthType         AuthType     `json:"auth_type"`
		Mode             Mode         `json:"credential_mode"`
		SecretID         string       `json:"secret_id,omitempty"`
		CredentialFields domain.Parts `json:"credential_fields,omitempty"`
		MaxGrantSeconds  int64        `json:"max_grant_seconds,omitempty"`

		Approval domain.ApprovalRules `json:"approval,omitzero"`
		Labels   domain.Labels        `json:"labels,omitempty"`
	}
	// ToolUpdated holds the fields that changed.
	ToolUpdated struct {
		ToolID          string    `json:"tool_id"`
		Name            *string   `json:"name,omitempty"`
		FoldedName      *string   `json:"folded_name,omitempty"`
		Description     *string   `json:"description,omitempty"`
		URL             *string   `json:"url,omitempty"`
		Site            *string   `json:"site,omitempty"`
		DocsURL         *string   `json:"docs_url,omitempty"`
		AuthType        *AuthType `json:"auth_type,omitempty"`
		MaxGrantSeconds *int64    `json:"max_grant_seconds,omitempty"`

		Approval *domain.ApprovalRules `json:"approval,omitempty"`
		Labels   *domain.Labels        `json:"labels,omitempty"` // all that there are now
	}
	// ToolCredentialRotated names the secret that is vended from now on.
	ToolCredentialRotated struct {
		ToolID            string       `json:"tool_id"`
		SecretID          string       `json:"secret_id"`
		Replaces          string       `json:"replaces,omitempty"` // the secret before it
		CredentialVersion int          `json:"credential_version"`
		CredentialFields  domain.Parts `json:"credential_fields,omitempty"`
		ExpiresAt         *time.Time   `json:"expires_at,omitempty"`
	}
	// ToolInstructionsRevised is one version of a usage guide. RestoredFrom is the version it repeats,
	// or 0; NoteID the note of an agent that it took up, if it did, and DecidedOn the digest of that
	// note.
	ToolInstructionsRevised struct {
		ToolID       string `json:"tool_id"`
		Version      int    `json:"version"`
		Instructions string `json:"instructions"`
		RestoredFrom int    `json:"restored_from,omitempty"`
		NoteID       string `json:"note_id,omitempty"`
		DecidedOn    string `json:"decided_on,omitempty"`
	}
	// ToolRemoved takes a tool away for good; every grant of it counts as revoked from here on.
	// SecretID is the shared credential that ends with it.
	ToolRemoved struct {
		ToolID   string `json:"tool_id"`
		SecretID string `json:"secret_id,omitempty"`
	}
	// ToolFrozen ends every grant of a tool and every request for it, for good, and lets none be
	// granted until it is unfrozen. Freeze counts how often the tool has been frozen.
	ToolFrozen struct {
		ToolID string `json:"tool_id"`
		Freeze int    `json:"freeze"`
	}
	// ToolUnfrozen lets the tool be granted again. What the freeze ended stays so.
	ToolUnfrozen struct {
		ToolID string `json:"tool_id"`
	}
)

func (ToolAdded) catalogEvent()               {}
func (ToolUpdated) catalogEvent()             {}
func (ToolCredentialRotated) catalogEvent()   {}
func (ToolInstructionsRevised) catalogEvent() {}
func (ToolRemoved) catalogEvent()             {}
func (ToolFrozen) catalogEvent()              {}
func (ToolUnfrozen) catalogEvent()            {}

// Tool is the newest state of one tool.
type Tool struct {
	Name                string       `json:"name"`
	FoldedName          string       `json:"folded_name"`
	Description         string       `json:"description,omitempty"`
	URL                 string       `json:"url,omitempty"`
	Site                string       `json:"site,omitempty"`
	DocsURL             string       `json:"docs_url,omitempty"`
	AuthType            AuthType     `json:"auth_type"`
	Mode                Mode         `json:"credential_mode"`
	SecretID            string       `json:"secret_id,omitempty"`
	CredentialVersion   int          `json:"credential_version,omitempty"`
	CredentialExpiresAt *time.Time   `json:"credential_expires_at,omitempty"`
	CredentialFields    domain.Parts `json:"credential_fields,omitempty"`
	CredentialAt        time.Time    `json:"credential_at,omitzero"` // since when it has this version
	CredentialBy        domain.Actor `json:"credential_by,omitzero"`
	Instructions        string       `json:"instructions,omitempty"`
	InstructionsVersion int          `json:"instructions_version,omitempty"`
	MaxGrantSeconds     int64        `json:"max_grant_seconds,omitempty"`
	CreatedAt           time.Time    `json:"created_at"`
	UpdatedAt           time.Time    `json:"updated_at"`
	Revision            int          `json:"revision"` // of the resource: one more with each edit
	FrozenAt            *time.Time   `json:"frozen_at,omitempty"`
	Freezes             int          `json:"freezes,omitempty"` // how often it was frozen

	Approval domain.ApprovalRules `json:"approval,omitzero"`
	Labels   domain.Labels        `json:"labels,omitempty"`
}

// State is every tool that is offered now, and every suggestion there was. The zero State is an
// empty catalog. A State is a value: Evolve never changes what an older one holds.
type State struct {
	Tools       map[string]Tool       `json:"tools,omitempty"`
	Revision    int                   `json:"revision,omitempty"` // one more with each change of a tool
	Suggestions map[string]Suggestion `json:"suggestions,omitempty"`
	Underway    *Underway             `json:"underway,omitempty"` // a change that takes several appends
}

// Named returns the id of the tool with a folded name.
func (s State) Named(folded string) (string, bool) {
	for id, t := range s.Tools {
		if t.FoldedName == folded {
			return id, true
		}
	}
	return "", false
}

// folding is a state that facts are being folded into. Its maps are those of an older state until
// the first change.
type folding struct {
	State
	ownTools, ownSuggestions bool
}

// tools returns the map of tools to change.
func (s *folding) tools() map[string]Tool {
	if !s.ownTools {
		if s.Tools = maps.Clone(s.Tools); s.Tools == nil {
			s.Tools = map[string]Tool{}
		}
		s.ownTools = true
	}
	return s.Tools
}

func (s *folding) tool(id string, at time.Time, change func(*Tool)) {
	tools := s.tools()
	t := tools[id]
	change(&t)
	t.UpdatedAt = at
	t.Revision++
	tools[id] = t
	s.Revision++
}

// Evolve folds facts into the state, one after another. It never refuses: they have happened.
func Evolve(s State, facts ...domain.Fact[Event]) State {
	f := folding{State: s}
	for _, fact := range facts {
		f.underway(fact.Event)
		f.evolve(fact)
	}
	return f.State
}

func (s *folding) evolve(f domain.Fact[Event]) {
	switch e := f.Event.(type) {
	case ToolAdded:
		s.tool(e.ToolID, f.At, func(t *Tool) {
			*t = Tool{
				Name: e.Name, FoldedName: e.FoldedName, Description: e.Description, URL: e.URL, Site: e.Site,
				DocsURL: e.DocsURL, AuthType: e.AuthType, Mode: e.Mode, MaxGrantSeconds: e.MaxGrantSeconds,
				Approval: e.Approval, Labels: e.Labels, CreatedAt: f.At,
			}
			if e.SecretID != "" {
				t.SecretID, t.CredentialVersion, t.CredentialFields = e.SecretID, 1, e.CredentialFields
				t.CredentialAt, t.CredentialBy = f.At, f.By
			}
		})
	case ToolUpdated:
		s.tool(e.ToolID, f.At, func(t *Tool) {
			set(&t.Name, e.Name)
			set(&t.FoldedName, e.FoldedName)
			set(&t.Description, e.Description)
			set(&t.URL, e.URL)
			set(&t.Site, e.Site)
			set(&t.DocsURL, e.DocsURL)
			set(&t.AuthType, e.AuthType)
			set(&t.MaxGrantSeconds, e.MaxGrantSeconds)
			set(&t.Approval, e.Approval)
			set(&t.Labels, e.Labels)
		})
	case ToolCredentialRotated:
		s.tool(e.ToolID, f.At, func(t *Tool) {
			t.SecretID, t.CredentialVersion, t.CredentialExpiresAt = e.SecretID, e.CredentialVersion, e.ExpiresAt
			t.CredentialFields, t.CredentialAt, t.CredentialBy = e.CredentialFields, f.At, f.By
		})
	case ToolInstructionsRevised:
		s.tool(e.ToolID, f.At, func(t *Tool) {
			t.Instructions, t.InstructionsVersion = e.Instructions, e.Version
		})
	case ToolRemoved:
		delete(s.tools(), e.ToolID)
		s.Revision++
	case ToolFrozen:
		s.tool(e.ToolID, f.At, func(t *Tool) { t.FrozenAt, t.Freezes = &f.At, e.Freeze })
	case ToolUnfrozen:
		s.tool(e.ToolID, f.At, func(t *Tool) { t.FrozenAt = nil })
	case SuggestionMade, SuggestionBacked, SuggestionDismissed, SuggestionAccepted, SuggestionRedirected,
		SuggestionCooldownRefused:
		s.evolveSuggestion(e, f)
	case ChangePlanned, ChangeCompleted: // they change no tool and no suggestion
	}
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}
