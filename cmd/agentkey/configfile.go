package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file takes what a configuration file sets and the environment does not. A file is copied, shown
// and kept in version control, so it must not hold a secret: it names the file that does.
func (l *loader) file(path string) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		l.wrong(configVariable, "%v", err)
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return // nothing but comments
	} else if err != nil {
		l.wrong(path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.wrong(path, "there must be one document in it")
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		if top.Tag != "!!null" {
			l.wrong(path, "it must hold keys with values, such as listen: 127.0.0.1:8080")
		}
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		if first, twice := lines[key.Value]; twice {
			l.wrong(where, "line %d already sets it", first)
			continue
		}
		lines[key.Value] = key.Line
		if key.Value == oidcKey {
			l.oidcList(path, value)
			continue
		}
		l.entry(key.Value, value, where)
	}
}

// entry takes one key of a configuration file.
func (l *loader) entry(key string, value *yaml.Node, where string) {
	base, fromFile := strings.CutSuffix(key, "_file")
	i := slices.IndexFunc(
		settings, func(s setting) bool { return s.key() == key || fromFile && s.secret && s.key() == base },
	)
	if i < 0 {
		l.wrong(where, "there is no such setting")
		return
	}
	s := settings[i]
	if s.secret && s.key() == key {
		l.wrong(
			where,
			"this file must not hold a secret: put it into a file of its own and name that file with %s_file, or set "+
				"%s",
			key, s.name,
		)
		return
	}
	text, err := textOf(value)
	switch {
	case err != nil:
		l.wrong(where, "%v", err)
	case text != "" && !l.has(s.name): // the environment wins
		l.values[s.name] = l.value(s.name, !s.secret, text, where)
	}
}

// textOf returns a value as the environment would have it: a list with commas.
func textOf(value *yaml.Node) (string, error) {
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return "", nil
	case value.Kind == yaml.ScalarNode:
		return value.Value, nil
	case value.Kind == yaml.SequenceNode:
		items := make([]string, len(value.Content))
		for i, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("an item of the list is not text")
			}
			items[i] = item.Value
		}
		return strings.Join(items, ","), nil
	}
	return "", errors.New("it must be a text, or a list of texts")
}
