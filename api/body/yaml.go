package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"

	"agentkey/domain"
)

// jsonOf reads exactly one YAML document and returns it as JSON, for all that is checked of JSON to
// be checked of it. What JSON has no word for is refused: anchors and aliases, tags, keys that
// aren't strings.
func jsonOf(raw []byte) ([]byte, error) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, errYAML("The body is not complete YAML.")
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errYAML("The body must be one YAML document.")
	}
	if err := plain(&doc); err != nil {
		return nil, err
	}
	var value any
	if err := doc.Decode(&value); err != nil { // a key that is given twice, too
		return nil, errYAML("A key is given twice, or a value can't be read.")
	}
	out, err := json.Marshal(value)
	if err != nil {
		return nil, errYAML("It holds a value that JSON has no word for.")
	}
	return out, nil
}

// plain refuses what a reader could mistake for something else.
func plain(n *yaml.Node) error {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return errYAML("It must not have anchors or aliases.")
	}
	if n.Kind == yaml.ScalarNode {
		switch n.Tag {
		case "!!str", "!!int", "!!bool", "!!null":
		default:
			return errYAML("A value is neither text, whole number nor true or false; put quotes around it.")
		}
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && (c.Kind != yaml.ScalarNode || c.Tag != "!!str") {
			return errYAML("A key is not text.")
		}
		if err := plain(c); err != nil {
			return err
		}
	}
	return nil
}

func errYAML(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "malformed_json", Detail: detail,
		Hint: "Send one YAML document that says what JSON could say, as GET /api/admin/catalog/export answers it.",
	}
}
