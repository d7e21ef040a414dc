// Package limits counts calls against limits by one algorithm: GCRA (the generic cell rate
// algorithm) with a burst equal to the limit. Memory counts in this process, Shared in Redis for
// all of them. It does not know who calls or why.
package limits

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Rule is how much is allowed within a window. The zero value allows everything.
type Rule struct {
	Limit  int
	Window time.Duration
}

// Off reports whether the rule limits nothing.
func (r Rule) Off() bool { return r.Limit == 0 }

// interval is how long one call uses up its place.
func (r Rule) interval() time.Duration { return r.Window / time.Duration(r.Limit) }

// ParseRule reads "120/1m" or "off".
func ParseRule(text string) (Rule, error) {
	if text == "off" {
		return Rule{}, nil
	}
	count, window, found := strings.Cut(text, "/")
	limit, err := strconv.Atoi(count)
	length, werr := time.ParseDuration(window)
	if !found || err != nil || werr != nil || limit < 1 || limit > 1_000_000 || length < time.Second ||
		length > 24*time.Hour {
		return Rule{}, errors.New("it must be like 120/1m, at most 1000000 in 1s to 24h, or off")
	}
	return Rule{Limit: limit, Window: length}, nil
}

// Decision is the answer to one call.
type Decision struct {
	Allowed    bool
	Limit      int
	Window     time.Duration
	Remaining  int           // that could be taken at once
	Reset      time.Time     // when everything could be taken at once again
	RetryAfter time.Duration // until the next one is allowed; 0 when one is
}

// peeked completes the answer to a call that took nothing: whether the next one would be allowed,
// and when.
func (d Decision) peeked(r Rule, now time.Time) Decision {
	if d.Remaining == 0 {
		d.Allowed = false
		full := d.Reset.Sub(now) - r.Window
		d.RetryAfter = max(full+r.interval(), time.Nanosecond)
	}
	return d
}
