package api

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

// normalise reads exactly one JSON object, refuses what two readers could understand differently
// (RFC 7493), trims every string but a credential's, and drops empty members at the top. It returns
// the object to validate, and the same object as JSON to bind.
func normalise(raw []byte) (map[string]any, []byte, error) {
	if !utf8.Valid(raw) {
		return nil, nil, errMalformed("The body is not UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	value, err := readValue(d)
	if errors.Is(err, errDuplicate) {
		return nil, nil, errMalformed("A member is given twice.")
	}
	if errors.Is(err, errRange) {
		return nil, nil, errMalformed("A number is beyond what is exchanged safely.")
	}
	if err != nil {
		return nil, nil, errMalformed("The body is not complete JSON.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errMalformed("There is something after the JSON object.")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, nil, errMalformed("The body must be one JSON object.")
	}
	if loneSurrogate(raw) {
		return nil, nil, errMalformed("A \\u escape names half a character.")
	}
	for name, v := range object {
		if name == untouched {
			continue
		}
		v = trimmed(v)
		object[name] = v
		if v == "" {
			delete(object, name)
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return nil, nil, errMalformed("The body can't be read.")
	}
	return object, out.Bytes(), nil
}

var (
	errDuplicate = errors.New("a member is given twice")
	errRange     = errors.New("a number is out of range")
)

func readValue(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch delim, _ := token.(json.Delim); delim {
	case '{':
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			text, _ := name.(string)
			if _, twice := object[text]; twice {
				return nil, errDuplicate
			}
			if object[text], err = readValue(d); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case '[':
		list := []any{}
		for d.More() {
			v, err := readValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	if n, ok := token.(json.Number); ok {
		return number(n)
	}
	return token, nil
}

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

// loneSurrogate finds a \u escape of half a pair, which encoding/json would replace silently. raw
// is valid JSON.
func loneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := escape(raw[i:])
		switch {
		case !ok:
			i++ // the character after the backslash is part of the escape
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			low, ok := escape(raw[min(i+6, len(raw)):])
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 11
		default:
			i += 5
		}
	}
	return false
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
