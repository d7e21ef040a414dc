package formats

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// NoIndex is the index of a line that doesn't say which leaf of the ledger its event is.
const NoIndex = -1

// Line is one event as exports in JSON Lines hold it. It has one form, in which every byte counts.
type Line struct {
	Event

	Index    int64  // of its leaf in the ledger of its organization; NoIndex if it isn't given
	Position uint64 // in the log that it comes from; nothing signs it
}

// Append appends the line, with its line break.
func (l Line) Append(text []byte) ([]byte, error) {
	if !plain(l.Stream) || !plain(l.Type) {
		return nil, fmt.Errorf("event %d@%q has a name that no event of ours has", l.Revision, l.Stream)
	}
	text = append(text, '{')
	if l.Index >= 0 {
		text = append(text, `"index":`...)
		text = append(strconv.AppendInt(text, l.Index, 10), ',')
	}
	text = append(text, `"position":`...)
	text = strconv.AppendUint(text, l.Position, 10)
	text = append(append(text, `,"stream":"`...), l.Stream...)
	text = append(text, `","revision":`...)
	text = strconv.AppendUint(text, l.Revision, 10)
	text = append(append(text, `,"id":"`...), l.ID.String()...)
	text = append(append(text, `","type":"`...), l.Type...)
	text = append(text, `","data":"`...)
	text = base64.StdEncoding.AppendEncode(text, l.Data)
	text = append(text, `","metadata":"`...)
	text = base64.StdEncoding.AppendEncode(text, l.Metadata)
	return append(text, "\"}\n"...), nil
}

// plain reports whether a text can stand in quotes as it is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\' {
			return false
		}
	}
	return text != ""
}

var errLine = errors.New("it isn't an event in the form in which exports are written")

// ParseLine reads what Append writes, without the line break. Whatever else means the same in JSON
// is refused.
func ParseLine(text []byte) (Line, error) {
	r := lineReader{rest: string(text)}
	l := Line{Index: NoIndex}
	r.literal("{")
	if strings.HasPrefix(r.rest, `"index":`) {
		r.literal(`"index":`)
		l.Index = int64(r.number(63)) //nolint:gosec // it has 63 bits
		r.literal(",")
	}
	r.literal(`"position":`)
	l.Position = r.number(64)
	r.literal(`,"stream":"`)
	l.Stream = r.name()
	r.literal(`,"revision":`)
	l.Revision = r.number(64)
	r.literal(`,"id":"`)
	id, err := uuid.Parse(r.name())
	l.ID, r.failed = id, r.failed || err != nil
	r.literal(`,"type":"`)
	l.Type = r.name()
	r.literal(`,"data":"`)
	l.Data = r.bytes()
	r.literal(`,"metadata":"`)
	l.Metadata = r.bytes()
	r.literal("}")
	if r.failed || r.rest != "" {
		return Line{}, errLine
	}
	if same, err := l.Append(make([]byte, 0, len(text)+1)); err != nil || string(same[:len(same)-1]) != string(text) {
		return Line{}, errLine
	}
	return l, nil
}

// lineReader takes a line apart. Once something isn't as expected, what it returns means nothing.
type lineReader struct {
	rest   string
	failed bool
}

func (r *lineReader) literal(text string) {
	rest, found := strings.CutPrefix(r.rest, text)
	r.rest, r.failed = rest, r.failed || !found
}

func (r *lineReader) number(bits int) uint64 {
	end := 0
	for end < len(r.rest) && r.rest[end] >= '0' && r.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(r.rest[:end], 10, bits)
	r.rest, r.failed = r.rest[end:], r.failed || err != nil
	return n
}

// name reads up to the closing quote.
func (r *lineReader) name() string {
	text, rest, found := strings.Cut(r.rest, `"`)
	r.rest, r.failed = rest, r.failed || !found
	return text
}

func (r *lineReader) bytes() []byte {
	raw, err := base64.StdEncoding.Strict().DecodeString(r.name())
	r.failed = r.failed || err != nil
	return raw
}
