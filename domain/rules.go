package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ApprovalRules are what it takes to give access to a tool. The zero value asks for one approval,
// at any time, by anyone who may approve. Two of them are compared with ==.
type ApprovalRules struct {
	SeparationOfDuties bool         `json:"separation_of_duties,omitempty"` // nobody approves for an agent of their own
	RequiredApprovals  int          `json:"required_approvals,omitempty"`   // of different people; 0: one
	AllowedHours       AllowedHours `json:"allowed_hours,omitzero"`
}

// Approvals is how many different people have to approve.
func (r ApprovalRules) Approvals() int { return max(1, r.RequiredApprovals) }

// AllowedHours are the hours in which access may be given; the zero value is all of them. Days are
// those on which they begin. Where To isn't after From they end on the next day.
type AllowedHours struct {
	TimeZone string `json:"time_zone"` // of the IANA database
	Days     string `json:"days"`      // mon to sun, in the order of the week, with commas
	From     string `json:"from"`      // a time of day such as 09:00
	To       string `json:"to"`
}

// Weekdays are the names of the days in AllowedHours, in the order of the week.
var Weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// Open reports whether access may be given at a moment, which is in the time zone of the hours.
func (h AllowedHours) Open(local time.Time) bool {
	if h == (AllowedHours{}) {
		return true
	}
	from, to := minutes(h.From), minutes(h.To)
	now := local.Hour()*60 + local.Minute()
	if from < to {
		return h.on(local.Weekday()) && from <= now && now < to
	}
	return h.on(local.Weekday()) && from <= now || h.on(local.Weekday()+6) && now < to // began the day before
}

// Next is when the hours begin the next time after a moment, which is in their time zone.
func (h AllowedHours) Next(local time.Time) time.Time {
	year, month, day := local.Date()
	from := minutes(h.From)
	for i := range 9 { // a week from today, and one day more where a clock change leaves the hour out
		next := time.Date(year, month, day+i, from/60, from%60, 0, 0, local.Location())
		if h.on(next.Weekday()) && next.After(local) {
			return next
		}
	}
	return local
}

// on reports whether the hours begin on a day; days count on after Saturday.
func (h AllowedHours) on(day time.Weekday) bool {
	return slices.Contains(strings.Split(h.Days, ","), Weekdays[(day+6)%7])
}

// String describes the hours for the texts of a refusal.
func (h AllowedHours) String() string {
	return fmt.Sprintf("%s to %s on %s in %s", h.From, h.To, strings.ReplaceAll(h.Days, ",", ", "), h.TimeZone)
}

// minutes is a time of day as minutes after midnight. The contract has checked its form.
func minutes(text string) int {
	var hour, minute int
	_, _ = fmt.Sscanf(text, "%d:%d", &hour, &minute) // what it can't read is midnight
	return hour*60 + minute
}

// String describes the rules for the plan of an import, "" where there are none.
func (r ApprovalRules) String() string {
	var all []string
	if r.SeparationOfDuties {
		all = append(all, "separation of duties")
	}
	if r.RequiredApprovals > 0 {
		all = append(all, fmt.Sprintf("%d approvals", r.RequiredApprovals))
	}
	if r.AllowedHours != (AllowedHours{}) {
		all = append(all, r.AllowedHours.String())
	}
	return strings.Join(all, "; ")
}
