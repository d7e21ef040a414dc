package codec

import (
	"encoding/json"
	"strings"

	"agentkey/domain"
)

// A rebuild reads the metadata of every event, and encoding/json takes more time for that than the
// check of the MAC. So what Sign writes is read by hand, in the order in which it is written.
// Whatever looks different is left to encoding/json, which decides what it means.

func parseMetadata(raw []byte) (metadata, error) {
	if m, ok := quickMetadata(string(raw)); ok {
		return m, nil
	}
	var m metadata
	err := json.Unmarshal(raw, &m)
	return m, err
}

func parseSigned(text string) (Signed, error) {
	if s, ok := quickSigned(text); ok {
		return s, nil
	}
	var s Signed
	err := json.Unmarshal([]byte(text), &s)
	return s, err
}

func quickMetadata(text string) (m metadata, ok bool) {
	r := reader{rest: text}
	r.literal(`{"signed":`)
	m.Signed = r.escaped()
	r.literal(`,"key":`)
	m.Key = r.plain()
	r.literal(`,"sig":`)
	m.Sig = r.plain()
	if strings.HasPrefix(r.rest, `,"mac":`) {
		r.literal(`,"mac":`)
		m.MAC = r.plain()
	}
	r.literal(`}`)
	return m, !r.failed && r.rest == ""
}

func quickSigned(text string) (s Signed, ok bool) {
	r := reader{rest: text}
	r.object(func(member string) {
		switch member {
		case "organization":
			s.Organization = r.plain()
		case "actor":
			r.object(func(member string) {
				switch member {
				case "type":
					s.Actor.Type = domain.ActorType(r.plain())
				case "id":
					s.Actor.ID = r.plain()
				default:
					r.failed = true
				}
			})
		case "command_id":
			s.CommandID = r.plain()
		case "correlation":
			s.Correlation = r.plain()
		case "causation":
			s.Causation = r.plain()
		case "request_id":
			s.RequestID = r.plain()
		case "time":
			r.failed = s.Time.UnmarshalText([]byte(r.plain())) != nil || r.failed
		case "schema":
			s.Schema = r.digit()
		case "prev":
			r.failed = s.Prev.UnmarshalText([]byte(r.plain())) != nil || r.failed
		case "private":
			s.Private = r.plain()
		default:
			r.failed = true
		}
	})
	return s, !r.failed && r.rest == ""
}

// reader takes a text apart from its beginning. Once something isn't as expected it has failed, and
// what it returns means nothing.
type reader struct {
	rest   string
	failed bool
}

func (r *reader) literal(text string) {
	rest, found := strings.CutPrefix(r.rest, text)
	r.rest, r.failed = rest, r.failed || !found
}

// object hands fn the name of each member, for it to read the value.
func (r *reader) object(fn func(member string)) {
	r.literal("{")
	for !r.failed {
		name := r.plain()
		r.literal(":")
		fn(name)
		if strings.HasPrefix(r.rest, "}") {
			r.rest = r.rest[1:]
			return
		}
		r.literal(",")
	}
}

// plain reads a string in which nothing is escaped.
func (r *reader) plain() string {
	r.literal(`"`)
	end := strings.IndexByte(r.rest, '"')
	if r.failed || end < 0 || !isPlain(r.rest[:end]) {
		r.failed = true
		return ""
	}
	text := r.rest[:end]
	r.rest = r.rest[end+1:]
	return text
}

func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' || text[i] == '\\' {
			return false
		}
	}
	return true
}

// escaped reads a string in which quotes and backslashes alone are escaped.
func (r *reader) escaped() string {
	r.literal(`"`)
	out := make([]byte, 0, len(r.rest))
	for i := 0; !r.failed && i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			r.rest = r.rest[i+1:]
			return string(out)
		case c == '\\' && i+1 < len(r.rest) && (r.rest[i+1] == '"' || r.rest[i+1] == '\\'):
			i++
			out = append(out, r.rest[i])
		case c < ' ' || c > '~' || c == '\\':
			r.failed = true
		default:
			out = append(out, c)
		}
	}
	r.failed = true
	return ""
}

// digit reads a number below ten.
func (r *reader) digit() int {
	if r.rest == "" || r.rest[0] < '0' || r.rest[0] > '9' {
		r.failed = true
		return 0
	}
	n := int(r.rest[0] - '0')
	r.rest = r.rest[1:]
	return n
}
