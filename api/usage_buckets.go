package api

import (
	"fmt"
	"time"

	"agentkey/domain"
)

// mostBuckets is how many buckets an answer has at most.
const mostBuckets = 400

// buckets are what a chart is asked for: hours or days of a time zone.
type buckets struct {
	hourly bool
	zone   *time.Location
}

func bucketsIn(hourly bool, zone string) (buckets, error) {
	found, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" { // which is the process's own
		return buckets{}, domain.Invalid(
			"tz", "it must be a name of the IANA time zone database such as Europe/Berlin",
		)
	}
	return buckets{hourly, found}, nil
}

// latest is the last time that a chart may reach to, so that its end is a time that can be written.
var latest = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// between returns where the buckets begin that a stretch of time touches, and where the last one
// ends. Without to it is up to now; without from, the last 24 hours or 30 days of it.
func (b buckets) between(from, to *time.Time, now time.Time) ([]time.Time, error) {
	end := now
	if to != nil {
		end = *to
	}
	last := b.begin(end.Add(-time.Nanosecond))
	first := last.Add(-23 * time.Hour)
	if !b.hourly {
		first = b.begin(last.In(b.zone).AddDate(0, 0, -29))
	}
	switch {
	case from != nil && !from.Before(end) && to == nil:
		return nil, domain.Invalid("from", "it must be in the past, or before a to that you add")
	case from != nil && !from.Before(end):
		return nil, domain.Invalid("from", "it must be before to")
	case from != nil && from.Year() < 1970, end.Year() < 1970:
		return nil, domain.Invalid("from", "there was nothing to count before 1970; use a later from and to")
	case end.After(latest):
		return nil, domain.Invalid("to", "it must be before the year 9999")
	case from != nil:
		first = b.begin(*from)
	}
	if n := b.count(first, last); n > mostBuckets {
		advice := "use bucket=day, a later from or an earlier to"
		if !b.hourly {
			advice = "use a later from or an earlier to"
		}
		return nil, domain.Invalid("bucket", fmt.Sprintf(
			"that makes %d buckets, and an answer has at most %d; %s", n, mostBuckets, advice,
		))
	}
	times := []time.Time{first}
	for at := first; at.Before(end); {
		at = b.next(at)
		times = append(times, at.UTC())
	}
	return times, nil
}

// count is how many buckets begin from one beginning to another.
func (b buckets) count(first, last time.Time) int64 {
	length := int64(60 * 60)
	if !b.hourly {
		length *= 24
	}
	return (last.Unix()-first.Unix()+length/2)/length + 1
}

// begin is where the bucket begins that a time is in.
func (b buckets) begin(t time.Time) time.Time {
	if !b.hourly {
		return dayOf(t.In(b.zone).Date()).begin(b.zone)
	}
	_, offset := t.In(b.zone).Zone()
	local := t.Unix() + int64(offset)
	return time.Unix(t.Unix()-(local%3600+3600)%3600, 0).UTC()
}

// next is where the bucket after one that begins at a time begins.
func (b buckets) next(t time.Time) time.Time {
	if b.hourly {
		return t.Add(time.Hour)
	}
	today := dayOf(t.In(b.zone).Date())
	for {
		today = dayOf(time.Date(today.year, today.month, today.day+1, 0, 0, 0, 0, time.UTC).Date())
		if begin := today.begin(b.zone); begin.After(t) { // a zone that moved over the date line left out a day
			return begin
		}
	}
}

// date is a day of a calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dayOf(year int, month time.Month, day int) date { return date{year, month, day} }

// begin is the first instant in a zone whose date is this one or a later one. It isn't always
// midnight: clocks may be put forward then.
func (d date) begin(zone *time.Location) time.Time {
	midnight := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC)
	reached := func(t time.Time) bool {
		year, month, day := t.In(zone).Date()
		return !time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Before(midnight)
	}
	const step = 15 * time.Minute // all zones change by a multiple of it
	begin := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, zone)
	for !reached(begin) {
		begin = begin.Add(step)
	}
	for reached(begin.Add(-step)) {
		begin = begin.Add(-step)
	}
	return begin.UTC()
}
