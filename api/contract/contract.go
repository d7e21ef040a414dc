// Package contract holds the OpenAPI document: the bytes that are served, and for each of its operations the rules
// of access and the compiled JSON Schemas of the query and the body. It validates what it is given and says what each
// field must be. It knows neither HTTP nor what an operation does.
package contract

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed openapi_gen.json
var indented []byte

// Contract is the document. It never changes.
type Contract struct {
	JSON       []byte // as it is served
	Operations []*Operation
}

// Load reads the document and compiles its schemas, once in a process.
var Load = sync.OnceValues(func() (*Contract, error) {
	c, err := load(indented)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	return c, nil
})

func load(text []byte) (*Contract, error) {
	var served bytes.Buffer
	if err := json.Compact(&served, text); err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	schemas, err := newCompiler(text)
	if err != nil {
		return nil, err
	}
	c := &Contract{JSON: served.Bytes()}
	for path, item := range d.Paths {
		for method, o := range item.operations() {
			op, err := d.operation(method, path, o, schemas)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			c.Operations = append(c.Operations, op)
		}
	}
	return c, nil
}

// compiler makes JSON Schemas of places in the document.
type compiler struct{ *jsonschema.Compiler }

func newCompiler(text []byte) (compiler, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return compiler{}, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020) // the one of OpenAPI 3.1
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: checkTime})
	return compiler{c}, c.AddResource(documentURL, whole)
}

const documentURL = "urn:agentkey:openapi"

// at compiles the schema at a JSON pointer.
func (c compiler) at(pointer string) (*jsonschema.Schema, error) {
	return c.Compile(documentURL + "#" + pointer)
}

var pointerStep = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer of a place.
func pointer(steps ...string) string {
	var out strings.Builder
	for _, step := range steps {
		out.WriteString("/" + pointerStep.Replace(step))
	}
	return out.String()
}

var timeShape = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// checkTime takes the times that can be bound and written again in UTC. They are fewer than RFC 3339 has: there are no
// leap seconds, no small t, and no year beyond 9999.
func checkTime(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if year := at.UTC().Year(); err != nil || !timeShape.MatchString(text) || year < 1 || year > 9999 {
		return errors.New("not a time of this contract")
	}
	return nil
}
