// Package contract reads the OpenAPI document: the bytes to serve and, for each operation, the
// access rules and the compiled JSON Schemas of query and body. It validates input and says what
// each field must be. It depends on neither HTTP nor what an operation does.
package contract

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"agentkey/commands/words"
)

//go:embed openapi_gen.json
var indented []byte

// Contract is the document. It never changes after Load.
type Contract struct {
	JSON       []byte // the document as clients get it
	Operations []*Operation
}

// Load reads the document and compiles its schemas, once per process.
var Load = sync.OnceValues(func() (*Contract, error) {
	c, err := load(indented)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	return c, nil
})

func load(text []byte) (*Contract, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	schemas, err := newCompiler(text)
	if err != nil {
		return nil, err
	}
	c := &Contract{}
	for path, item := range d.Paths {
		for method, o := range item.operations() {
			op, err := d.operation(method, path, o, schemas)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			c.Operations = append(c.Operations, op)
		}
	}
	c.JSON, err = public(text, c.Operations)
	return c, err
}

// compiler compiles schemas by their place in the document.
type compiler struct{ *jsonschema.Compiler }

func newCompiler(text []byte) (compiler, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return compiler{}, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020) // the draft that OpenAPI 3.1 uses
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: ofText(checkTime)})
	for name, check := range texts {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: ofText(check)})
	}
	return compiler{c}, c.AddResource(documentURL, whole)
}

const documentURL = "urn:agentkey:openapi"

// at compiles the schema at a JSON pointer.
func (c compiler) at(pointer string) (*jsonschema.Schema, error) {
	return c.Compile(documentURL + "#" + pointer)
}

var pointerStep = strings.NewReplacer("~", "~0", "/", "~1")

// pointer builds a JSON pointer.
func pointer(steps ...string) string {
	var out strings.Builder
	for _, step := range steps {
		out.WriteString("/" + pointerStep.Replace(step))
	}
	return out.String()
}

// checkTime accepts the times that can be bound and written again in UTC.
func checkTime(text string) error {
	_, err := words.Time(text)
	return err
}
