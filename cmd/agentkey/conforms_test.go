package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
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
	answers map[described]documented
	headers []string // those that the document knows
	err     error
}

// documented is what the document says about an answer.
type documented struct {
	body    *jsonschema.Schema // nil: it is not JSON
	headers object
	told    string // about the call
}

// conforms compares an answer with the document.
func (c client) conforms(request *http.Request, a answer) error {
	document.once.Do(func() { document.err = c.readDocument() })
	if document.err != nil {
		return document.err
	}
	if a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed ||
		request.Method == http.MethodOptions ||
		request.Method == http.MethodHead || a.Header.Get("Content-Security-Policy") != "" {
		return nil // the document doesn't describe them, nor the files of a dashboard
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	known, err := find(described{request.Method, request.URL.Path, strconv.Itoa(a.Status), media})
	if err == nil && media == "" && len(a.Body) > 0 {
		err = errors.New("it has a body")
	}
	if err == nil {
		err = known.heads(request, a)
	}
	if err == nil {
		err = known.lists(a)
	}
	if err == nil && known.body != nil {
		var body any
		if body, err = jsonschema.UnmarshalJSON(bytes.NewReader(a.Body)); err == nil {
			err = known.body.Validate(body)
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

// heads compares the headers of an answer with the document: it declares those that are there, and
// those that it requires are there.
func (d documented) heads(request *http.Request, a answer) error {
	for _, name := range document.headers {
		of, declared := d.headers[name].(object)
		present := len(a.Header.Values(name)) > 0
		placed := name == "X-Event-Position" && a.Status < 300 &&
			(request.Method != http.MethodGet || strings.HasSuffix(request.URL.Path, "/credentials") ||
				request.URL.Query().Has("as_of"))
		switch must := of["required"] == true || placed; {
		case present && !declared:
			return fmt.Errorf("it has the header %s", name)
		case declared && must && !present:
			return fmt.Errorf("it lacks the header %s", name)
		}
	}
	return nil
}

// lists looks for the code of a refusal behind its status, in what people read about the call.
func (d documented) lists(a answer) error {
	if a.Status < http.StatusBadRequest || a.Code() == "" {
		return nil
	}
	_, refusals, _ := strings.Cut(d.told, "Refusals: ")
	for of := range strings.SplitSeq(refusals, "; ") {
		if strings.HasPrefix(of, strconv.Itoa(a.Status)) && strings.Contains(of, "`"+a.Code()+"`") {
			return nil
		}
	}
	return fmt.Errorf("it doesn't list this refusal: %q", refusals)
}

// find returns what the document says about an answer to a path of a call.
func find(a described) (documented, error) {
	path, fewest := "", -1
	for candidate := range document.answers {
		parameters, matches := match(candidate.path, a.path)
		if matches && candidate.method == a.method && (fewest < 0 || parameters < fewest) {
			path, fewest = candidate.path, parameters
		}
	}
	a.path = path
	known, found := document.answers[a]
	if !found && a.status >= "400" {
		a.status = "default"
		known, found = document.answers[a]
	}
	if !found {
		return documented{}, fmt.Errorf("no body of the type %q is described", a.media)
	}
	return known, nil
}

// match reports whether a path of a call is one of the document, and how many parameters that has.
func match(documented, path string) (parameters int, matches bool) {
	steps := strings.Split(path, "/")
	for i, step := range strings.Split(documented, "/") {
		if i == len(steps) {
			return 0, false
		}
		if step == "{path}" { // the rest, with its slashes
			return parameters + 1, true
		}
		if strings.HasPrefix(step, "{") {
			parameters++
		} else if step != steps[i] {
			return 0, false
		}
	}
	return parameters, strings.Count(documented, "/") == len(steps)-1
}

// readDocument reads the headers of all answers and compiles their schemas.
func (c client) readDocument() error {
	response, err := c.http.Get(c.base + "/openapi.json")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	whole, err := jsonschema.UnmarshalJSON(response.Body)
	if err != nil {
		return err
	}
	const url = "urn:document"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020) // of OpenAPI 3.1
	compiler.AssertFormat()
	if err := compiler.AddResource(url, whole); err != nil {
		return err
	}
	headers := inside(whole, "components", "headers")
	document.headers = slices.Sorted(maps.Keys(headers))
	out, escape := map[described]documented{}, strings.NewReplacer("~", "~0", "/", "~1")
	for path, item := range inside(whole, "paths") {
		for method, operation := range inside(item) {
			for status, response := range inside(operation, "responses") {
				place := "#/paths/" + escape.Replace(path) + "/" + method + "/responses/" + status
				if shared, is := inside(response)["$ref"].(string); is {
					place, response = shared, inside(
						whole, "components", "responses",
					)[shared[strings.LastIndexByte(shared, '/')+1:]]
				}
				known := documented{headers: object{}}
				known.told, _ = inside(operation)["description"].(string)
				for name := range inside(response, "headers") {
					known.headers[name] = headers[name]
				}
				a := described{strings.ToUpper(method), path, status, ""}
				content := inside(response, "content")
				if len(content) == 0 {
					out[a] = known
				}
				for a.media = range content {
					known.body = nil
					if a.media == "application/json" || strings.HasSuffix(a.media, "+json") {
						known.body, err = compiler.Compile(url + place + "/content/" + escape.Replace(a.media) + "/schema")
						if err != nil {
							return err
						}
					}
					out[a] = known
				}
			}
		}
	}
	document.answers = out
	return nil
}

// inside returns the object at a path inside a JSON value; nil if there is none.
func inside(value any, path ...string) object {
	for _, step := range path {
		value = inside(value)[step]
	}
	of, _ := value.(object)
	return of
}
