// Package installation decides about the installation as a whole: that it was begun once, by whom
// its events are signed, and which master keys may open its secrets. Of a master key it knows only
// an id and a check value.
package installation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"agentkey/domain"
)

// Event is what happened to the installation. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ installationEvent() }

// MasterKey names a master key and holds the value by which a configured key is recognised.
type MasterKey struct {
	ID    string `json:"id"`
	Check string `json:"check"`
}

// The events of the installation's stream, and of the stream of its signing keys.
type (
	// Begun is the first event of the log.
	Begun struct {
		StoreID        string      `json:"store_id"`
		OrganizationID string      `json:"organization_id"` // the first one
		SigningKey     SigningKey  `json:"signing_key"`     // the first one
		CheckpointKey  PublicKey   `json:"checkpoint_key"`  // signs the checkpoints of the ledger
		MasterKeys     []MasterKey `json:"master_keys"`
		AdminTokenHash string      `json:"admin_token_hash"` // SHA-256 of the first organization's first token, hex
		AdminTokenID   string      `json:"admin_token_id"`
		// of the formats: a program that knows less must not open the log
		MinimumVersion int `json:"minimum_version"`
	}
	// MasterKeyAdded lets a further master key wrap secrets.
	MasterKeyAdded struct {
		MasterKey
	}
	// MasterKeyDestroyed says that no copy of a former master key is left, so that nobody can open any
	// more what only that key wrapped.
	MasterKeyDestroyed struct {
		ID string `json:"id"`
	}
	// SigningKeyAdded names the key that signs from now on and vouches for the former ones.
	SigningKeyAdded struct{ Keys }
	// SigningKeyEnded says that a former key counts only for what the log held.
	SigningKeyEnded struct {
		Keys
		KeyID string `json:"key_id"`
	}
	// SigningKeysRecorded is in the installation's stream and names the last event of the stream of
	// the signing keys, so that this one can't be cut unnoticed.
	SigningKeysRecorded struct {
		KeyID    string `json:"key_id"` // that signs
		Revision int64  `json:"revision"`
		Link     string `json:"link"`
	}
	// RestoreFound says that the log is not the one that was written last: it came out of a backup, or
	// its end is gone, or the end of one stream, and with it perhaps revocations. Nothing is vended,
	// or nothing on what that stream says, until that is confirmed.
	RestoreFound struct{ Evidence }
	// ForeignEventFound names an event in one of our streams that isn't one of ours at its place.
	ForeignEventFound struct{ Finding }
	// RestoreConfirmed records that an operator reviewed the access that the log now grants.
	RestoreConfirmed struct {
		SuspendedAgents int `json:"suspended_agents"` // by the operator, before confirming
	}
)

// Evidence is what shows that the log was restored: the note that came with a backup, or an event
// that a process had seen and that is not there.
type Evidence struct {
	BackupID string    `json:"backup_id,omitempty"`
	Stream   string    `json:"stream,omitempty"`
	Revision int64     `json:"revision,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	EventAt  time.Time `json:"event_at,omitzero"`

	// Of the end of one stream, where no other is known to be gone:
	Alone          bool   `json:"alone,omitempty"`
	OrganizationID string `json:"organization_id,omitempty"`
	Reason         string `json:"reason,omitempty"` // truncated, or altered where another event is there
}

// Finding is an event that isn't one of ours at its place. Reason is one of codec's faults.
type Finding struct {
	Stream         string `json:"stream"`
	Revision       int64  `json:"revision"`
	Reason         string `json:"reason"`
	OrganizationID string `json:"organization_id"` // whose stream it is in
}

// Found is a finding in the state.
type Found struct {
	Finding
	At        time.Time
	Confirmed bool // an operator has confirmed the log since
}

func (Begun) installationEvent()               {}
func (MasterKeyAdded) installationEvent()      {}
func (MasterKeyDestroyed) installationEvent()  {}
func (SigningKeyAdded) installationEvent()     {}
func (SigningKeyEnded) installationEvent()     {}
func (SigningKeysRecorded) installationEvent() {}
func (RestoreFound) installationEvent()        {}
func (RestoreConfirmed) installationEvent()    {}
func (ForeignEventFound) installationEvent()   {}

// Command is something to decide on the installation's stream.
//
//sumtype:decl
type Command interface{ installationCommand() }

// The commands of the installation.
type (
	// Begin starts it, once.
	Begin struct{ Begun Begun }
	// AddMasterKey makes a further master key known.
	AddMasterKey struct{ MasterKey }
	// DestroyMasterKey records that no copy of a master key is left.
	DestroyMasterKey struct{ ID string }
	// RecordSigningKeys names the last event of the stream of the signing keys.
	RecordSigningKeys struct{ Recorded SigningKeysRecorded }
	// ReportRestore holds credentials back.
	ReportRestore struct{ Evidence }
	// ReportForeign names what isn't ours.
	ReportForeign struct{ Finding }
	// ConfirmRestore lets credentials go again.
	ConfirmRestore struct{ SuspendedAgents int }
)

func (Begin) installationCommand()             {}
func (AddMasterKey) installationCommand()      {}
func (DestroyMasterKey) installationCommand()  {}
func (RecordSigningKeys) installationCommand() {}
func (ReportRestore) installationCommand()     {}
func (ReportForeign) installationCommand()     {}
func (ConfirmRestore) installationCommand()    {}

// State is what the start of every process checks itself against.
type State struct {
	Exists     bool
	StoreID    string
	SigningKey SigningKey
	MasterKeys []MasterKey
	Destroyed  []string            // ids of master keys
	Recorded   SigningKeysRecorded // the last one

	Restored    bool      // the log as a whole, and not confirmed
	Findings    []Found   // in the order in which they were found, MaxFindings at most
	BackupID    string    // of the backup that was found last
	ConfirmedAt time.Time // when a restored log was confirmed last
}

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Begun:
		return State{Exists: true, StoreID: e.StoreID, SigningKey: e.SigningKey, MasterKeys: e.MasterKeys}
	case MasterKeyAdded:
		s.MasterKeys = append(slices.Clone(s.MasterKeys), e.MasterKey)
	case MasterKeyDestroyed:
		s.Destroyed = append(slices.Clone(s.Destroyed), e.ID)
	case SigningKeyAdded:
		s.SigningKey = e.SigningKey
	case SigningKeyEnded:
		s.SigningKey = e.SigningKey
	case SigningKeysRecorded:
		s.Recorded = e
	case RestoreFound:
		if e.Alone {
			found := Finding{Stream: e.Stream, Revision: e.Revision, Reason: e.Reason, OrganizationID: e.OrganizationID}
			s.Findings = append(slices.Clone(s.Findings), Found{Finding: found, At: f.At})
			break
		}
		s.Restored = true
		if e.BackupID != "" {
			s.BackupID = e.BackupID
		}
	case ForeignEventFound:
		s.Findings = append(slices.Clone(s.Findings), Found{Finding: e.Finding, At: f.At})
	case RestoreConfirmed:
		s.Restored, s.ConfirmedAt = false, f.At
		s.Findings = slices.Clone(s.Findings)
		for i := range s.Findings {
			s.Findings[i].Confirmed = true
		}
	}
	return s
}

// MaxFindings bounds how many events that aren't ours are named: anyone who can write one can write
// a million. Lost ends of streams are always named.
const MaxFindings = 256

// Foreign is the one reason of a finding that holds no credential back.
const Foreign = "foreign"

// Held reports whether nothing may be vended on what a stream says.
func (s State) Held(stream string) bool {
	return slices.ContainsFunc(s.Findings, func(f Found) bool {
		return f.Stream == stream && f.Holds()
	})
}

// Holds reports whether nothing may be vended on the stream of a finding.
func (f Found) Holds() bool { return !f.Confirmed && f.Reason != Foreign }

// Unconfirmed counts the findings that no operator has confirmed.
func (s State) Unconfirmed() (n int) {
	for _, f := range s.Findings {
		if !f.Confirmed {
			n++
		}
	}
	return n
}

// Suspect reports whether there is something that an operator has not confirmed.
func (s State) Suspect() bool {
	return s.Restored || s.Unconfirmed() > 0
}

func (s State) found(stream string, revision int64) bool {
	return slices.ContainsFunc(s.Findings, func(f Found) bool { return f.Stream == stream && f.Revision == revision })
}

// Knows reports whether evidence tells nothing new: of a backup that was found before, or of an
// event that was lost before an operator confirmed, or while nothing is vended anyway.
func (s State) Knows(e Evidence) bool {
	if e.BackupID != "" {
		return e.BackupID == s.BackupID
	}
	if e.Alone {
		return s.Restored || s.Held(e.Stream)
	}
	return s.Restored || !e.EventAt.After(s.ConfirmedAt)
}

// ErrNotRestored says that there is nothing to confirm.
var ErrNotRestored = errors.New("the log was not restored, or that is confirmed already")

// ErrDestroyed is the answer to a master key that comes again after it was recorded as destroyed.
var ErrDestroyed = errors.New("this master key was recorded as destroyed; create another one")

func (s State) knows(masterKey string) bool {
	return slices.ContainsFunc(s.MasterKeys, func(k MasterKey) bool { return k.ID == masterKey })
}

// Decide answers a command on a state: events to append, none when it is already so, or a refusal.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Begin:
		if s.Exists {
			return nil, nil
		}
		return []Event{c.Begun}, nil
	case AddMasterKey:
		if !s.Exists {
			return nil, domain.NotFound("installation")
		}
		if slices.Contains(s.Destroyed, c.ID) {
			return nil, ErrDestroyed
		}
		if s.knows(c.ID) {
			return nil, nil
		}
		return []Event{MasterKeyAdded(c)}, nil
	case DestroyMasterKey:
		if !s.knows(c.ID) {
			return nil, domain.NotFound("master key")
		}
		if slices.Contains(s.Destroyed, c.ID) {
			return nil, nil
		}
		return []Event{MasterKeyDestroyed(c)}, nil
	case RecordSigningKeys:
		if !s.Exists {
			return nil, domain.NotFound("installation")
		}
		if c.Recorded.Revision <= s.Recorded.Revision {
			return nil, nil
		}
		return []Event{c.Recorded}, nil
	case ReportRestore:
		if !s.Exists {
			return nil, domain.NotFound("installation")
		}
		if s.Knows(c.Evidence) {
			return nil, nil
		}
		return []Event{RestoreFound(c)}, nil
	case ReportForeign:
		if !s.Exists {
			return nil, domain.NotFound("installation")
		}
		if s.found(c.Stream, c.Revision) || len(s.Findings) >= MaxFindings {
			return nil, nil
		}
		return []Event{ForeignEventFound(c)}, nil
	case ConfirmRestore:
		if !s.Suspect() {
			return nil, ErrNotRestored
		}
		return []Event{RestoreConfirmed(c)}, nil
	}
	return nil, fmt.Errorf("installation: no decision for %T", c)
}
