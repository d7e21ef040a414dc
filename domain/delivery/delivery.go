// Package delivery decides about one notification to one channel: whose turn it is to send it, when
// it is tried again and when that ends. It knows neither what is said nor where it goes, and sends
// nothing.
package delivery

import (
	"time"

	"agentkey/domain"
)

// Event is what happened to a notification. The structs are the wire format of the stored events.
//
//sumtype:decl
type Event interface{ deliveryEvent() }

// About names what a notification is about, by ids: its words are looked up when it is sent. Stream
// and Revision name the event that was its cause, where there was one.
type About struct {
	Stream       string     `json:"stream,omitempty"`
	Revision     uint64     `json:"revision,omitempty"`
	AgentID      string     `json:"agent_id,omitempty"`
	ToolID       string     `json:"tool_id,omitempty"`
	RequestID    string     `json:"request_id,omitempty"`
	SuggestionID string     `json:"suggestion_id,omitempty"`
	EndsAt       *time.Time `json:"ends_at,omitempty"` // of what needs care
}

// The events of a notification's stream. Problems are in our words: nothing that the receiver said,
// and no address.
type (
	// Queued begins the stream.
	Queued struct {
		OrganizationID string       `json:"organization_id"`
		ChannelID      string       `json:"channel_id"`
		Topic          domain.Topic `json:"topic"`
		About          About        `json:"about"`
	}
	// Claimed gives one process the turn to send it, until a time.
	Claimed struct {
		Attempt int       `json:"attempt"`
		Until   time.Time `json:"until"`
	}
	// Succeeded is the end: the receiver took it.
	Succeeded struct {
		Attempt int    `json:"attempt"`
		Digest  string `json:"digest_id,omitempty"` // that it was part of
	}
	// Failed is an attempt that another one follows.
	Failed struct {
		Attempt int       `json:"attempt"`
		Problem string    `json:"problem"`
		NextAt  time.Time `json:"next_at"`
		Alone   bool      `json:"alone,omitempty"` // the receiver refuses its text, so it goes by itself
	}
	// Abandoned is an attempt that no other one follows: the notification is a dead letter.
	Abandoned struct {
		Attempt int    `json:"attempt"`
		Problem string `json:"problem"`
	}
	// Requeued is a human who wants it sent again.
	Requeued struct{}
)

func (Queued) deliveryEvent()    {}
func (Claimed) deliveryEvent()   {}
func (Succeeded) deliveryEvent() {}
func (Failed) deliveryEvent()    {}
func (Abandoned) deliveryEvent() {}
func (Requeued) deliveryEvent()  {}

// Status is where a notification stands. The zero value is one that was never queued.
type Status string

// The states of a notification.
const (
	Pending   Status = "pending"   // it was not tried yet
	Failing   Status = "failed"    // it was tried, and will be again
	Delivered Status = "delivered" // the receiver took it
	Dead      Status = "dead"      // it is not tried any more, unless a human wants that
)

// State is what decisions about a notification read.
type State struct {
	OrganizationID string
	ChannelID      string
	Topic          domain.Topic
	About          About
	Status         Status
	Since          time.Time // when it was queued, or queued again
	Attempts       int       // of all its life
	Tries          int       // since it was queued, or queued again
	Claimed        bool      // the outcome of the last attempt is not known
	DueAt          time.Time // when the next attempt may begin; zero: never
	EndedAt        time.Time // when it was delivered or given up; zero while it is neither
	Problem        string    // of the last attempt; "" when there was none
	Alone          bool      // it never goes out together with others
	Digest         string    // that it was delivered in; "" when it was by itself
	QueuedAt       time.Time // first of all
}

// Waits reports whether the notification is in its channel's queue.
func (s State) Waits() bool { return s.Status == Pending || s.Status == Failing }

// Evolve folds one fact into the state. It never refuses: it has happened.
func Evolve(s State, f domain.Fact[Event]) State {
	switch e := f.Event.(type) {
	case Queued:
		s = State{
			OrganizationID: e.OrganizationID, ChannelID: e.ChannelID, Topic: e.Topic, About: e.About,
			Status: Pending, Since: f.At, QueuedAt: f.At, DueAt: f.At,
		}
	case Claimed:
		s.Attempts, s.Tries, s.DueAt, s.Claimed = e.Attempt, s.Tries+1, e.Until, true
	case Succeeded:
		s.Status, s.DueAt, s.EndedAt, s.Problem, s.Claimed = Delivered, time.Time{}, f.At, "", false
		s.Digest = e.Digest
	case Failed:
		s.Status, s.DueAt, s.Problem, s.Claimed = Failing, e.NextAt, e.Problem, false
		s.Alone = s.Alone || e.Alone
	case Abandoned:
		s.Status, s.DueAt, s.EndedAt, s.Problem, s.Claimed = Dead, time.Time{}, f.At, e.Problem, false
	case Requeued:
		s.Status, s.Since, s.DueAt, s.Tries, s.EndedAt, s.Claimed = Pending, f.At, f.At, 0, time.Time{}, false
		s.Alone = false
	}
	return s
}
