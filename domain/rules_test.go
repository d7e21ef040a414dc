package domain_test

import (
	"testing"
	"time"

	"agentkey/domain"
)

func TestHoursOpenAndBeginInTheirOwnTimeZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	office := domain.AllowedHours{TimeZone: "Europe/Berlin", Days: "mon,tue,wed,thu,fri", From: "09:00", To: "18:00"}
	night := domain.AllowedHours{TimeZone: "Europe/Berlin", Days: "fri,sun", From: "22:00", To: "06:00"}
	allDay := domain.AllowedHours{TimeZone: "Europe/Berlin", Days: "sat", From: "00:00", To: "00:00"}
	for _, tt := range []struct {
		name  string
		hours domain.AllowedHours
		at    string // in UTC
		open  bool
		next  string // in UTC
	}{
		{"in winter an hour later than UTC", office, "2026-01-05T08:00:00Z", true, "2026-01-06T08:00:00Z"},
		{"a second too early", office, "2026-01-05T07:59:59Z", false, "2026-01-05T08:00:00Z"},
		{"the end is outside", office, "2026-01-05T17:00:00Z", false, "2026-01-06T08:00:00Z"},
		{"on Friday evening", office, "2026-01-09T20:00:00Z", false, "2026-01-12T08:00:00Z"},
		{"over a change of the clock", office, "2026-03-27T20:00:00Z", false, "2026-03-30T07:00:00Z"},
		{"a night that began the day before", night, "2026-01-10T04:59:00Z", true, "2026-01-11T21:00:00Z"},
		{"a night that has ended", night, "2026-01-10T05:00:00Z", false, "2026-01-11T21:00:00Z"},
		{"a night of another day", night, "2026-01-08T23:00:00Z", false, "2026-01-09T21:00:00Z"},
		{"Sunday night ends on Monday", night, "2026-01-12T00:00:00Z", true, "2026-01-16T21:00:00Z"},
		{"a whole day", allDay, "2026-01-10T22:59:00Z", true, "2026-01-16T23:00:00Z"},
		{"the day after a whole day", allDay, "2026-01-10T23:00:00Z", false, "2026-01-16T23:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		next := tt.hours.Next(at.In(berlin)).UTC().Format(time.RFC3339)
		if open := tt.hours.Open(at.In(berlin)); open != tt.open || next != tt.next {
			t.Errorf("%s: open is %t, and the next begin %s", tt.name, open, next)
		}
	}
	if !(domain.AllowedHours{}).Open(time.Now()) {
		t.Error("no hours are closed")
	}
}
