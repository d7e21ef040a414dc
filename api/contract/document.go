package contract

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is the part of the OpenAPI document outside its schemas.
type document struct {
	Paths      map[string]pathItem `json:"paths"`
	Components struct {
		Parameters map[string]documentedParameter `json:"parameters"`
		Responses  map[string]response            `json:"responses"`
	} `json:"components"`
}

type pathItem struct {
	Parameters []documentedParameter `json:"parameters"`

	Get    *documented `json:"get"`
	Post   *documented `json:"post"`
	Put    *documented `json:"put"`
	Patch  *documented `json:"patch"`
	Delete *documented `json:"delete"`
}

// operations are the operations of a path, by method.
func (p pathItem) operations() map[string]*documented {
	all := map[string]*documented{"GET": p.Get, "POST": p.Post, "PUT": p.Put, "PATCH": p.Patch, "DELETE": p.Delete}
	maps.DeleteFunc(all, func(_ string, o *documented) bool { return o == nil })
	return all
}

type documented struct {
	ID         string                `json:"operationId"`
	Summary    string                `json:"summary"`
	Parameters []documentedParameter `json:"parameters"`
	Body       *struct {
		Required bool                `json:"required"`
		Content  map[string]struct{} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]response `json:"responses"`
	Rules     struct {
		Caller     string `json:"caller"`
		Tier       string `json:"tier"`
		Permission string `json:"permission"`
		Effect     string `json:"effect"`
		CORS       string `json:"cors"`
		MaxBody    int64  `json:"max_body"`
		Compress   bool   `json:"compress"`
		ETag       bool   `json:"etag"`
		Revalidate bool   `json:"revalidate"`
		IfMatch    bool   `json:"if_match"`
		Self       bool   `json:"self"`

		Codes []string `json:"codes"` // of refusals that few calls have
	} `json:"x-agentkey"`
}

type documentedParameter struct {
	Ref      string `json:"$ref"`
	Name     string `json:"name"`
	In       string `json:"in"`
	Required bool   `json:"required"`
	Explode  bool   `json:"explode"`
}

type response struct {
	Ref         string `json:"$ref"`
	Description string `json:"description"`
}

// leastBody is how many bytes each caller may send at least, whatever the schema.
var leastBody = map[string]int64{"agent": 8 << 10, "admin": 32 << 10, "anyone": 8 << 10}

// References to shared parts.
const (
	sharedParameters = "#/components/parameters/"
	sharedResponses  = "#/components/responses/"
)

// operation reads one operation and compiles its schemas.
func (d document) operation(method, path string, o *documented, schemas compiler) (*Operation, error) {
	if o.Rules.Caller == "" || o.Rules.Effect == "" {
		return nil, errors.New("x-agentkey does not say who may call it")
	}
	if o.Rules.Compress && o.Rules.Effect == "command" { // whose answers may show a secret
		return nil, errors.New("the answer of a command is not compressed")
	}
	op := &Operation{
		Method: method, Path: path, ID: o.ID, Summary: o.Summary, Responses: map[string]string{},
		Caller: o.Rules.Caller, Tier: o.Rules.Tier, Permission: o.Rules.Permission,
		Self: o.Rules.Self, Command: o.Rules.Effect == "command", StrictCORS: o.Rules.CORS == "strict",
		MaxBody: o.Rules.MaxBody, Compress: o.Rules.Compress,
		TakesIfMatch: o.Rules.IfMatch, AnswersETag: o.Rules.ETag || o.Rules.Revalidate, Revalidates: o.Rules.Revalidate,
		codes: o.Rules.Codes,
	}
	for status, r := range o.Responses {
		if name, named := strings.CutPrefix(r.Ref, sharedResponses); named {
			r = d.Components.Responses[name]
		}
		op.Responses[status] = r.Description
	}
	item := pointer("paths", path)
	at := item + pointer(strings.ToLower(method))
	for within, list := range map[string][]documentedParameter{item: d.Paths[path].Parameters, at: o.Parameters} {
		for i, p := range list {
			place := within + pointer("parameters", strconv.Itoa(i))
			if name, named := strings.CutPrefix(p.Ref, sharedParameters); named {
				p, place = d.Components.Parameters[name], pointer("components", "parameters", name)
			}
			if p.Name == "" {
				return nil, fmt.Errorf("the parameter at %s has no name", place)
			}
			if p.In != "query" { // the API checks ids in paths itself: a wrong one means 404
				continue
			}
			schema, err := schemas.at(place + pointer("schema"))
			if err != nil {
				return nil, err
			}
			op.query = append(op.query, parameter{p.Name, schema, p.Required, p.Explode})
		}
	}
	slices.SortFunc(op.query, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	if o.Body == nil {
		return op, nil
	}
	op.NeedsBody = o.Body.Required
	_, op.TakesYAML = o.Body.Content["application/yaml"]
	var err error
	op.Body, err = schemas.at(at + pointer("requestBody", "content", "application/json", "schema"))
	if err != nil {
		return nil, err
	}
	op.HasWebAddress = hasWebAddress(op.Body)
	if method == http.MethodPatch {
		op.Clears = clears(op.Body)
	}
	if op.MaxBody != 0 {
		return op, nil
	}
	most, err := largest(op.Body)
	op.MaxBody = max(most, leastBody[op.Caller])
	return op, err
}

// clears are the members of a change that may be null, each with the value that null stands for.
func clears(body *jsonschema.Schema) map[string]any {
	out := map[string]any{}
	for name, member := range target(body).Properties {
		member = target(member)
		switch {
		case !nullable(member):
		case typeOf(member) == "string":
			out[name] = ""
		case typeOf(member) == "object":
			out[name] = map[string]any{}
		case typeOf(member) == "array":
			out[name] = []any{}
		default:
			out[name] = 0
		}
	}
	return out
}
