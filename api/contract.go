package api

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"go.yaml.in/yaml/v3"

	"agentkey/domain"
)

//go:embed openapi_gen.yaml
var documentYAML []byte

// operation is what the document says of one call: the one place where caller, tier and permission stand.
type operation struct {
	Method, Path string // as in the document
	ID           string
	Summary      string
	Caller       string // agent, admin or anyone
	Tier         string
	Permission   string
	Command      bool
	StrictCORS   bool
	params       []string // query
	takesBody    bool
	needsBody    bool
	takesYAML    bool
	maxBody      int64 // bytes; 0: what callers of its kind may send
	body         *yaml.Node
	musts        map[string]string // what a field of the query or the body must be
	objects      map[string]bool   // the fields of the body that have fields
	responses    map[string]string
}

// contract is the document, as it is served and as it is held against every request.
type contract struct {
	json       []byte
	operations map[string]*operation // by method and gin path
	byID       map[string]*operation
	methods    map[string][]string // by gin path
	validator  validator.Validator
	root       *yaml.Node
}

// theContract is read once in a process: it never changes, and reading it takes a quarter of a second.
var theContract = sync.OnceValues(loadContract)

func loadContract() (*contract, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(documentYAML, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	var plain any
	if err := doc.Decode(&plain); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	model, err := libopenapi.NewDocument(documentYAML)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	v, errs := validator.NewValidator(model, config.WithFormatAssertions(), config.WithCustomFormat("date-time", checkTime), config.WithoutSecurityValidation())
	if len(errs) > 0 {
		return nil, fmt.Errorf("read the OpenAPI document: %w", errors.Join(errs...))
	}
	c := &contract{json: text, operations: map[string]*operation{}, byID: map[string]*operation{}, methods: map[string][]string{}, validator: v, root: doc.Content[0]}
	paths := child(c.root, "paths")
	for i := 0; i < len(paths.Content); i += 2 {
		if err := c.addPath(paths.Content[i].Value, paths.Content[i+1]); err != nil {
			return nil, err
		}
	}
	return c, nil
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
		return errors.New("it must be a time such as 2030-01-31T12:00:00Z")
	}
	return nil
}

func (c *contract) addPath(path string, item *yaml.Node) error {
	route := strings.NewReplacer("{", ":", "}", "").Replace(path)
	for i := 0; i < len(item.Content); i += 2 {
		method := strings.ToUpper(item.Content[i].Value)
		if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
			continue
		}
		node := item.Content[i+1]
		var o struct {
			ID      string `yaml:"operationId"`
			Summary string `yaml:"summary"`
			Rules   struct {
				Caller, Tier, Permission, Effect, CORS string
				MaxBody                                int64 `yaml:"max_body"`
			} `yaml:"x-agentkey"`
			Responses map[string]yaml.Node `yaml:"responses"`
		}
		if err := node.Decode(&o); err != nil {
			return fmt.Errorf("read %s %s: %w", method, path, err)
		}
		op := &operation{
			Method: method, Path: path, ID: o.ID, Summary: o.Summary, Caller: o.Rules.Caller, Tier: o.Rules.Tier,
			Permission: o.Rules.Permission, Command: o.Rules.Effect == "command", maxBody: o.Rules.MaxBody, StrictCORS: o.Rules.CORS == "strict",
			responses: map[string]string{}, musts: map[string]string{}, objects: map[string]bool{},
		}
		if op.Caller == "" || o.Rules.Effect == "" {
			return fmt.Errorf("%s %s does not say who may call it", method, path)
		}
		for status := range o.Responses {
			response := c.resolve(child(child(node, "responses"), status))
			op.responses[status] = scalar(child(response, "description"))
		}
		for _, list := range []*yaml.Node{child(node, "parameters"), child(item, "parameters")} {
			for _, p := range contents(list) {
				if p = c.resolve(p); scalar(child(p, "in")) == "query" {
					op.params = append(op.params, scalar(child(p, "name")))
					op.musts[scalar(child(p, "name"))] = mustBe(c.resolve(child(p, "schema")))
				}
			}
		}
		if body := child(node, "requestBody"); body != nil {
			op.takesBody, op.needsBody = true, scalar(child(body, "required")) == "true"
			op.takesYAML = child(child(body, "content"), "application/yaml") != nil
			op.body = c.resolve(child(child(child(body, "content"), "application/json"), "schema"))
			c.describeFields(op, op.body, "")
		}
		c.operations[method+" "+route], c.byID[op.ID] = op, op
		c.methods[route] = append(c.methods[route], method)
	}
	return nil
}

// describeFields notes what each field of a body must be, those of objects within it too, as object.field.
func (c *contract) describeFields(op *operation, schema *yaml.Node, within string) {
	properties := contents(child(schema, "properties"))
	for i := 0; i+1 < len(properties); i += 2 {
		name, field := within+properties[i].Value, c.resolve(properties[i+1])
		op.musts[name] = mustBe(field)
		if child(field, "properties") != nil {
			op.objects[name] = true
			c.describeFields(op, field, name+".")
		}
	}
}

// resolve follows a reference within the document.
func (c *contract) resolve(n *yaml.Node) *yaml.Node {
	ref := scalar(child(n, "$ref"))
	if ref == "" {
		return n
	}
	at := c.root
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = child(at, step)
	}
	return c.resolve(at)
}

func (c *contract) of(ctx *gin.Context) *operation {
	method := ctx.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet // with the same answer, of which net/http sends the headers alone
	}
	op := c.operations[method+" "+ctx.FullPath()]
	if op != nil && op.Command && method != ctx.Request.Method {
		return nil
	}
	return op
}

// shadowed reports whether a path has a route of its own, but not with this method, and gin took it for the parameter of
// another route.
func (c *contract) shadowed(ctx *gin.Context) bool {
	_, exact := c.methods[ctx.Request.URL.Path]
	return exact && ctx.FullPath() != "" && ctx.FullPath() != ctx.Request.URL.Path
}

// described is where the fields of a call are described: on its own path when GET tells them, else in the document.
func (c *contract) described(ctx *gin.Context) string {
	if op := c.operations["GET "+ctx.FullPath()]; op != nil && strings.HasPrefix(op.ID, "describe") && ctx.Request.Method == http.MethodPost {
		return ctx.Request.URL.Path
	}
	return "/openapi.json"
}

// methodNotAllowed is the refusal of a method on a path that has others.
func (c *contract) methodNotAllowed(ctx *gin.Context) *domain.Error {
	allowed := slices.Clone(strings.Split(ctx.Writer.Header().Get("Allow"), ", "))
	if exact, found := c.methods[ctx.Request.URL.Path]; found { // gin counts those of routes with a parameter there, too
		allowed = slices.Clone(exact)
		if op := c.operations["GET "+ctx.Request.URL.Path]; op != nil && !op.Command {
			allowed = append(allowed, http.MethodHead)
		}
	}
	sort.Strings(allowed)
	list := strings.Join(allowed, ", ")
	ctx.Header("Allow", list)
	return &domain.Error{
		Kind: domain.KindMethod, Code: "method_not_allowed", Detail: "This path does not take " + ctx.Request.Method + ".",
		Hint: "Use " + list + " on " + ctx.Request.URL.Path + ".",
	}
}

// describe is what GET on a POST path answers: the definitions that validate the call.
func (c *contract) describe(method, path string) CallSchema {
	op := c.operations[method+" "+strings.NewReplacer("{", ":", "}", "").Replace(path)]
	var out CallSchema
	out.Schema.Method, out.Schema.Path, out.Schema.Description = method, path, op.Summary
	out.Schema.Responses = op.responses
	required := []string{}
	for _, n := range contents(child(op.body, "required")) {
		required = append(required, n.Value)
	}
	body := map[string]json.RawMessage{}
	properties := child(op.body, "properties")
	for i := 0; properties != nil && i < len(properties.Content); i += 2 {
		name, schema := properties.Content[i].Value, c.resolve(properties.Content[i+1])
		field := map[string]any{"type": scalar(child(schema, "type")), "required": slices.Contains(required, name)}
		for key, from := range map[string]string{"min_length": "minLength", "max_length": "maxLength", "description": "description", "example": "example"} {
			if n := child(schema, from); n != nil {
				var v any
				if n.Decode(&v) == nil {
					field[key] = v
				}
			}
		}
		body[name], _ = json.Marshal(field) // of strings, numbers and booleans
	}
	raw, _ := json.Marshal(body)
	_ = json.Unmarshal(raw, &out.Schema.Body)
	return out
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func contents(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Content
}

func scalar(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}
