package main

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described names an answer that the OpenAPI document describes. The media type is "" if there is
// no body.
type described struct{ method, path, status, media string }

// document is what the first server of the test binary served.
var document struct {
	once    sync.Once
	answers map[described]*jsonschema.Schema // nil: the body is not JSON
	err     error
}

// conforms compares an answer with the document.
func (c client) conforms(request *http.Request, a answer) error {
	document.once.Do(func() { document.answers, document.err = c.readDocument() })
	if document.err != nil {
		return document.err
	}
	if a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed ||
		request.Method == http.MethodOptions ||
		request.Method == http.MethodHead {
		return nil // the document doesn't describe them
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	schema, err := find(described{request.Method, request.URL.Path, strconv.Itoa(a.Status), media})
	if err == nil && media == "" && len(a.Body) > 0 {
		err = errors.New("it has a body")
	}
	if err == nil && schema != nil {
		var body any
		if body, err = jsonschema.UnmarshalJSON(bytes.NewReader(a.Body)); err == nil {
			err = schema.Validate(body)
		}
	}
	if err != nil {
		return fmt.Errorf(
			"%s %s: the answer %d is not in the document: %w: %s", request.Method, request.URL.Path, a.Status, err,
			a.Body,
		)
	}
	return nil
}

// find returns the schema of an answer to a path of a call.
func find(a described) (*jsonschema.Schema, error) {
	path, fewest := "", -1
	for candidate := range document.answers {
		parameters, matches := match(candidate.path, a.path)
		if matches && candidate.method == a.method && (fewest < 0 || parameters < fewest) {
			path, fewest = candidate.path, parameters
		}
	}
	a.path = path
	schema, found := document.answers[a]
	if !found && a.status >= "400" {
		a.status = "default"
		schema, found = document.answers[a]
	}
	if !found {
		return nil, fmt.Errorf("no body of the type %q is described", a.media)
	}
	return schema, nil
}

// match reports whether a path of a call is one of the document, and how many parameters that has.
func match(documented, path string) (parameters int, matches bool) {
	steps := strings.Split(path, "/")
	for i, step := range strings.Split(documented, "/") {
		if i == len(steps) {
			return 0, false
		}
		if strings.HasPrefix(step, "{") {
			parameters++
		} else if step != steps[i] {
			return 0, false
		}
	}
	return parameters, strings.Count(documented, "/") == len(steps)-1
}

// readDocument compiles the schemas of all answers.
func (c client) readDocument() (map[described]*jsonschema.Schema, error) {
	response, err := c.http.Get(c.base + "/openapi.json")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	whole, err := jsonschema.UnmarshalJSON(response.Body)
	if err != nil {
		return nil, err
	}
	const url = "urn:document"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020) // of OpenAPI 3.1
	compiler.AssertFormat()
	if err := compiler.AddResource(url, whole); err != nil {
		return nil, err
	}
	out, escape := map[described]*jsonschema.Schema{}, strings.NewReplacer("~", "~0", "/", "~1")
	for path, item := range inside(whole, "paths") {
		for method, operation := range inside(item) {
			for status, response := range inside(operation, "responses") {
				place := "#/paths/" + escape.Replace(path) + "/" + method + "/responses/" + status
				if shared, is := inside(response)["$ref"].(string); is {
					place, response = shared, inside(
						whole, "components", "responses",
					)[shared[strings.LastIndexByte(shared, '/')+1:]]
				}
				a := described{strings.ToUpper(method), path, status, ""}
				content := inside(response, "content")
				if len(content) == 0 {
					out[a] = nil
				}
				for a.media = range content {
					out[a] = nil
					if !strings.HasSuffix(a.media, "json") {
						continue
					}
					if out[a], err = compiler.Compile(
						url + place + "/content/" + escape.Replace(a.media) + "/schema",
					); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return out, nil
}

// inside returns the object at a path inside a JSON value; nil if there is none.
func inside(value any, path ...string) object {
	for _, step := range path {
		value = inside(value)[step]
	}
	of, _ := value.(object)
	return of
}
