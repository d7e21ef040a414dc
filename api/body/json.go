// Package body reads the body of a call, JSON or YAML, as the one object that it must be. Of a text
// that it can't read it says where and, most likely, why. It knows no operation and no schema.
package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// untouched is the one member whose white space is part of its value.
const untouched = "credential"

// Body is the one object that a call sends.
type Body struct {
	Object map[string]any  // to validate
	JSON   []byte          // the same object, to bind
	bound  map[string]any  // what JSON says
	places map[string]spot // of the values of a YAML text, by path
}

// Settle lets a call replace texts within the object, and in what is bound.
func (b *Body) Settle(replace func(object map[string]any)) error {
	replace(b.bound)
	replace(b.Object)
	text, err := encode(b.bound)
	clear(b.JSON) // it may hold a credential
	b.JSON = text
	return err
}

func encode(object map[string]any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(object)
	return out.Bytes(), err
}

// ReadJSON reads exactly one JSON object. It refuses what two readers could understand differently
// (RFC 7493) and trims every string but a credential's. An empty text at the top counts as absent,
// unless clears says otherwise; see normalise.
func ReadJSON(raw []byte, clears map[string]any) (Body, error) {
	if !utf8.Valid(raw) {
		return Body{}, malformed("JSON", explain(raw))
	}
	r := reader{Decoder: json.NewDecoder(bytes.NewReader(raw)), raw: raw}
	r.UseNumber()
	value, err := r.value(1)
	var wrong fault
	switch {
	case errors.As(err, &wrong):
		return Body{}, malformed("JSON", wrong)
	case err != nil:
		return Body{}, malformed("JSON", explain(raw))
	}
	after := r.next()
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return Body{}, malformed(
			"JSON", fault{placeOf(raw, after), "there is something after its end; send one object"},
		)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return Body{}, malformed(
			"JSON", fault{placeOf(raw, leading(raw)), "the body must be one JSON object, which begins with {"},
		)
	}
	if at := loneSurrogate(raw); at >= 0 {
		return Body{}, malformed(
			"JSON",
			fault{
				placeOf(raw, at),
				`this \u escape is half a character; write the other half too, or the character itself`,
			},
		)
	}
	return normalise(object, clears)
}

// leading is how many blanks a text begins with.
func leading(raw []byte) int { return len(raw) - len(bytes.TrimLeft(raw, " \t\r\n")) }

// normalise trims a body and settles what an empty text at its top means. Where clears is nil it
// counts as absent. In a change (RFC 7396) an empty text and null clear the members that clears
// names: both are validated as null, and bound as the value that clears has. Other members of a
// change stay as they are, so that none is ignored silently.
func normalise(object, clears map[string]any) (Body, error) {
	bound := map[string]any{}
	for name, v := range object {
		if name != untouched {
			v = trimmed(v)
		}
		if v == "" && clears == nil && name != untouched {
			delete(object, name)
			continue
		}
		object[name], bound[name] = v, v
		if cleared, clearable := clears[name]; clearable && (v == "" || v == nil) {
			object[name], bound[name] = nil, cleared
		}
	}
	text, err := encode(bound)
	return Body{Object: object, JSON: text, bound: bound}, err
}

// reader reads values and knows where it is.
type reader struct {
	*json.Decoder
	raw []byte
}

// deepest is how deep objects and lists may be nested. No schema needs more than a few levels, and
// every level costs memory.
const deepest = 32

// next is where the next token begins.
func (r reader) next() int {
	at := int(r.InputOffset())
	rest := r.raw[at:]
	return at + len(rest) - len(bytes.TrimLeft(rest, " \t\r\n,:"))
}

// value reads a value; an object or list that begins here is at this depth.
func (r reader) value(depth int) (any, error) {
	at := r.next()
	token, err := r.Token()
	if err != nil {
		return nil, err
	}
	delim, nested := token.(json.Delim)
	if nested && depth > deepest {
		return nil, fault{placeOf(r.raw, at), "objects and lists may be nested 32 deep, and this one is deeper"}
	}
	switch delim {
	case '{':
		object := map[string]any{}
		for r.More() {
			at := r.next()
			name, err := r.Token()
			if err != nil {
				return nil, err
			}
			text, _ := name.(string)
			if _, twice := object[text]; twice {
				return nil, fault{placeOf(r.raw, at), "this member is given twice in one object; keep one of the two"}
			}
			if object[text], err = r.value(depth + 1); err != nil {
				return nil, err
			}
		}
		_, err := r.Token()
		return object, err
	case '[':
		list := []any{}
		for r.More() {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := r.Token()
		return list, err
	}
	if n, ok := token.(json.Number); ok {
		safe, err := number(n)
		if err != nil {
			return nil, fault{placeOf(r.raw, at), "this number is larger or finer than programs exchange safely"}
		}
		return safe, nil
	}
	return token, nil
}

var errRange = errors.New("a number is out of range")

// number writes whole numbers in the one way that every reader of a whole number takes: 60.0 and
// 6e1 are 60.
func number(n json.Number) (json.Number, error) {
	if _, err := n.Int64(); err == nil {
		return n, nil
	}
	f, err := n.Float64()
	mantissa, _, _ := strings.Cut(strings.ToLower(n.String()), "e")
	if err != nil || f == 0 && strings.ContainsAny(mantissa, "123456789") {
		return "", errRange
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return json.Number(strconv.FormatInt(int64(f), 10)), nil
	}
	return n, nil
}

func trimmed(v any) any {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case map[string]any:
		for name := range v {
			if name != untouched {
				v[name] = trimmed(v[name])
			}
		}
	case []any:
		for i := range v {
			v[i] = trimmed(v[i])
		}
	}
	return v
}

// loneSurrogate finds a \u escape of half a pair, which encoding/json would replace silently: where
// it is, -1 if there is none. raw is valid JSON.
func loneSurrogate(raw []byte) int {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := escape(raw[i:])
		switch {
		case !ok:
			i++ // the character after the backslash is part of the escape
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return i
		case unit >= 0xD800 && unit <= 0xDBFF:
			low, ok := escape(raw[min(i+6, len(raw)):])
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return i
			}
			i += 11
		default:
			i += 5
		}
	}
	return -1
}

// escape reads a \uXXXX at the beginning of b.
func escape(b []byte) (uint16, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var unit uint16
	for _, digit := range b[2:6] {
		at := strings.IndexByte("0123456789abcdef", digit|0x20)
		if digit <= '9' {
			at = int(digit) - '0'
		}
		if at < 0 || at > 15 {
			return 0, false
		}
		unit = unit<<4 | uint16(at)
	}
	return unit, true
}
