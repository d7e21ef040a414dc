package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"agentkey/domain"
)

// spot is where a member of a YAML text is.
type spot struct{ name, value place }

// ReadYAML reads exactly one YAML document as the JSON object that it could be. What JSON has no
// word for is refused: anchors and aliases, tags, keys that aren't text.
func ReadYAML(raw []byte) (Body, error) {
	if at, broken := notUTF8(raw); broken {
		return Body{}, malformed("YAML", fault{placeOf(raw, at), unreadable(raw)})
	}
	if at := bytes.IndexFunc(raw, unprintable); at >= 0 {
		return Body{}, malformed(
			"YAML",
			fault{
				placeOf(raw, at),
				"there is a control character here; remove it, or write it as an escape in double quotes",
			},
		)
	}
	if err := tooCostly(raw, mostValues); err != nil {
		return Body{}, err
	}
	d, err := yaml.NewLoader(bytes.NewReader(raw), yaml.WithPlugin(newLimits()))
	if err != nil {
		return Body{}, err
	}
	var doc, more yaml.Node
	if err := d.Load(&doc); err != nil {
		return Body{}, malformed("YAML", explainYAML(raw, err))
	}
	if n := count(doc.Content[0], mostValues); n != nil {
		return Body{}, malformed("YAML", fault{place{n.Line, n.Column}, tooMany})
	}
	r := yamlReader{places: map[string]spot{}}
	value := r.value(doc.Content[0], "")
	object, ok := value.(map[string]any)
	if !ok && len(r.wrong) == 0 {
		return Body{}, malformed(
			"YAML", fault{placeOf(raw, 0), "the document must be a mapping, such as agentkey_catalog: 1"},
		)
	}
	if len(r.wrong) > 0 {
		first := r.wrong[0]
		return Body{}, &domain.Error{
			Kind: domain.KindInvalid, Code: "malformed_json", Hint: hints["YAML"], Fields: r.wrong,
			Detail: fmt.Sprintf(
				"The body is not valid YAML at line %d, column %d: %s.", first.Line, first.Column, first.Message,
			),
		}
	}
	switch err := d.Load(&more); {
	case err == nil:
		return Body{}, malformed(
			"YAML", fault{place{more.Line, more.Column}, "a second document begins here; send one"},
		)
	case !errors.Is(err, io.EOF):
		return Body{}, malformed("YAML", explainYAML(raw, err))
	}
	out, err := normalise(object, nil)
	out.places = r.places
	return out, err
}

// mostValues is how many values a YAML text may have, names of fields included. A catalog of 2,000
// tools has a fifth of that.
const mostValues = 200_000

var (
	tooDeep = fmt.Sprintf("mappings and lists may be nested %d deep, and this one is deeper", deepest)
	tooMany = fmt.Sprintf("there are more than %d values before this one; send several files", mostValues)
)

// newLimits bounds what is built of one text while it is read.
func newLimits() *loaderlimits.Plugin {
	lists := 0
	return loaderlimits.New(loaderlimits.DepthFunc(func(depth int, _ *yaml.DepthContext) error {
		lists++
		switch {
		case depth > deepest:
			return errors.New(tooDeep)
		case lists > mostValues:
			return errors.New(tooMany)
		}
		return nil
	}))
}

// count returns the first node beyond so many, nil when there is none. It does not follow aliases.
func count(n *yaml.Node, most int) *yaml.Node {
	left := most
	var walk func(*yaml.Node) *yaml.Node
	walk = func(n *yaml.Node) *yaml.Node {
		if left--; left < 0 {
			return n
		}
		for _, below := range n.Content {
			if beyond := walk(below); beyond != nil {
				return beyond
			}
		}
		return nil
	}
	return walk(n)
}

func unprintable(c rune) bool {
	return unicode.IsControl(c) && !strings.ContainsRune("\t\n\r\u0085", c)
}

// explainYAML says where a text stops being YAML and why.
func explainYAML(raw []byte, err error) fault {
	if errors.Is(err, io.EOF) {
		return fault{placeOf(raw, 0), "it is empty"}
	}
	wrong, found := errors.AsType[*yaml.LoadError](err)
	if !found || wrong.Mark.Line == 0 {
		return fault{placeOf(raw, len(raw)), "it can't be read"}
	}
	at := place{wrong.Mark.Line, wrong.Mark.Column}
	for _, bound := range []string{tooDeep, tooMany} {
		if strings.Contains(wrong.Message, bound) {
			return fault{at, bound}
		}
	}
	line := strings.Split(string(raw), "\n")[min(at.line, bytes.Count(raw, []byte{'\n'})+1)-1]
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
		return fault{place{at.line, tab + 1}, "a line is indented with a tab; use blanks"}
	}
	cause := wrong.Message
	if wrong.ContextMsg != "" && wrong.ContextMark.Line > 0 {
		cause += fmt.Sprintf(
			" %s, which begins at line %d, column %d", wrong.ContextMsg, wrong.ContextMark.Line,
			wrong.ContextMark.Column,
		)
	}
	switch rest := []rune(line); {
	case at.column <= len(rest) && strings.ContainsRune("@`%", rest[at.column-1]):
		cause = "a text can't begin with this character; put quotes around the text"
	case strings.Contains(cause, ": ") || wrong.Message == "mapping values are not allowed in this context":
		cause = "there is a colon in a text without quotes, or the line is not indented like its neighbours"
	}
	return fault{at, cause}
}

// yamlReader makes JSON values of nodes, and keeps where they are and what is wrong with them.
type yamlReader struct {
	places map[string]spot
	wrong  []domain.Field
}

// mostMistakes is how many of the mistakes in a text are kept.
const mostMistakes = 50

func (r *yamlReader) refuse(n *yaml.Node, path, message string) {
	if len(r.wrong) >= mostMistakes {
		return
	}
	f := fault{place{n.Line, n.Column}, message}
	if path == "" {
		path = "body"
	}
	r.wrong = append(r.wrong, f.field(path))
}

func (r *yamlReader) value(n *yaml.Node, path string) any {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		r.refuse(n, path, "anchors and aliases are not allowed; write the value again")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(n, path)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			at := path + "[" + strconv.Itoa(i) + "]"
			r.places[at] = spot{place{item.Line, item.Column}, place{item.Line, item.Column}}
			list[i] = r.value(item, at)
		}
		return list
	default:
		return r.scalar(n, path)
	}
}

func (r *yamlReader) mapping(n *yaml.Node, path string) map[string]any {
	object := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			r.refuse(key, path, "the name of a field is not text")
			continue
		}
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		if _, twice := object[key.Value]; twice {
			r.refuse(key, at, "this field is given twice; keep one of the two")
			continue
		}
		r.places[at] = spot{place{key.Line, key.Column}, place{value.Line, value.Column}}
		object[key.Value] = r.value(value, at)
	}
	return object
}

// decimal is how JSON writes whole numbers.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,17})$`)

func (r *yamlReader) scalar(n *yaml.Node, path string) any {
	switch n.ShortTag() {
	case "!!str", "!!float": // no field takes a fraction, and 1e3 is text to some writers
		return n.Value
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if decimal.MatchString(n.Value) {
			return json.Number(n.Value)
		}
		return n.Value // 0o17 is text to some writers
	}
	r.refuse(n, path, "this is neither text, a whole number nor true or false; put quotes around it")
	return nil
}

// Locate fills in where the fields of a YAML text are, if it is known. A message that begins with
// unknown is about the name of a field, any other about its value.
func (b Body) Locate(fields []domain.Field, unknown string) {
	for i, f := range fields {
		path := f.Field
		for at, found := b.places[path]; ; at, found = b.places[path] {
			if found {
				where := at.value
				if strings.HasPrefix(f.Message, unknown) && path == f.Field {
					where = at.name
				}
				fields[i].Line, fields[i].Column = where.line, where.column
				break
			}
			cut := strings.LastIndexAny(path, ".[")
			if cut <= 0 {
				break
			}
			path = path[:cut] // a field that is missing: what it is missing from
		}
	}
}
