package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"agentkey/domain"
)

// mustParse reads the times of a table.
func mustParse(t *testing.T, text string) *time.Time {
	t.Helper()
	if text == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return &at
}

// TestADayBeginsWithItsDate looks at each day of zones whose clocks change at midnight, by half an
// hour, or over the date line, and of zones that are 30 or 45 minutes off.
func TestADayBeginsWithItsDate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
		"America/Havana", "Africa/Cairo", "Asia/Beirut", "America/Santiago", "Pacific/Apia", "Pacific/Chatham",
	} {
		b, err := bucketsIn(false, name)
		if err != nil {
			t.Fatal(err)
		}
		for year := 2011; year < 2027; year++ {
			from := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC)
			to := from.AddDate(1, 0, 0)
			days, err := b.between(&from, &to, to)
			if err != nil {
				t.Fatal(err)
			}
			if days[0].After(from) || days[len(days)-1].Before(to) || !days[len(days)-2].Before(to) {
				t.Errorf("%s: %d is from %s to %s", name, year, days[0], days[len(days)-1])
			}
			for i, at := range days {
				is, was := at.In(b.zone), at.Add(-time.Nanosecond).In(b.zone)
				if is.Day() == was.Day() || i > 0 && was.Sub(days[i-1]) > 25*time.Hour || at.Minute()%15 != 0 {
					t.Errorf("%s: a day begins at %s", name, is)
				}
			}
		}
	}
}

func TestBucketsAreBoundedAndSayWhatToDo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 4, 1, 12, 34, 56, 0, time.UTC)
	for _, tt := range []struct {
		hourly         bool
		zone, from, to string
		want           string // where they begin and end, and how many there are; or the field and what to do
	}{
		{true, "UTC", "", "", "2026-03-31T13:00:00Z 2026-04-01T13:00:00Z 24"},
		{false, "UTC", "", "", "2026-03-03T00:00:00Z 2026-04-02T00:00:00Z 30"},
		{false, "Europe/Berlin", "", "", "2026-03-02T23:00:00Z 2026-04-01T22:00:00Z 30"},
		{true, "Asia/Kolkata", "", "2026-04-01T12:30:00Z", "2026-03-31T12:30:00Z 2026-04-01T12:30:00Z 24"},
		{true, "Asia/Kathmandu", "2026-04-01T11:00:00Z", "", "2026-04-01T10:15:00Z 2026-04-01T13:15:00Z 3"},
		{
			false, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T12:00:01Z",
			"2026-03-28T23:00:00Z 2026-03-29T22:00:00Z 1",
		},
		{true, "UTC", "2026-03-01T00:00:00Z", "2026-03-17T16:00:00Z", "2026-03-01T00:00:00Z 2026-03-17T16:00:00Z 400"},
		{true, "UTC", "2026-03-01T00:00:00Z", "2026-03-17T16:00:01Z", "bucket: 401 bucket=day"},
		{true, "UTC", "1970-01-01T00:00:00Z", "9998-12-31T23:59:59Z", "bucket: bucket=day"},
		{false, "UTC", "1999-01-01T00:00:00Z", "2026-05-18T00:00:00Z", "bucket: 9999 later from"},
		{false, "UTC", "2025-02-26T00:00:00Z", "", "2025-02-26T00:00:00Z 2026-04-02T00:00:00Z 400"},
		{false, "UTC", "2026-04-02T00:00:00Z", "2026-04-01T00:00:00Z", "from: before to"},
		{false, "UTC", "2026-04-02T00:00:00Z", "2026-04-02T00:00:00Z", "from: before to"},
		{false, "UTC", "2026-04-02T00:00:00Z", "", "from: past"},
		{false, "America/New_York", "0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z", "from: 1970"},
		{false, "America/New_York", "", "0001-01-01T00:00:00Z", "from: 1970"},
		{false, "UTC", "9999-12-30T00:00:00Z", "9999-12-31T23:59:59Z", "to: 9999"},
		{false, "Mars/Olympus", "", "", "tz: Europe/Berlin"},
		{false, "Local", "", "", "tz: Europe/Berlin"},
		{false, "../UTC", "", "", "tz: Europe/Berlin"},
	} {
		b, err := bucketsIn(tt.hourly, tt.zone)
		var times []time.Time
		if err == nil {
			times, err = b.between(mustParse(t, tt.from), mustParse(t, tt.to), now)
		}
		var got string
		if refusal, refused := errors.AsType[*domain.Error](err); refused {
			got = refusal.Fields[0].Field + ": " + refusal.Fields[0].Message
		} else {
			last := len(times) - 1
			got = fmt.Sprint(times[0].Format(time.RFC3339), " ", times[last].Format(time.RFC3339), " ", last)
		}
		for word := range strings.FieldsSeq(tt.want) {
			if !strings.Contains(got, word) {
				t.Errorf("%+v: %s", tt, got)
			}
		}
	}
}
