package api

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/gin-gonic/gin"

	"agentkey/api/contract"
	"agentkey/domain"
)

// routes finds the operations of the contract by what gin knows of a call.
type routes struct {
	operations map[string]*contract.Operation // by method and gin's path
	byID       map[string]*contract.Operation
	methods    map[string][]string // by gin's path
}

func newRoutes(operations []*contract.Operation) routes {
	r := routes{
		operations: map[string]*contract.Operation{}, byID: map[string]*contract.Operation{},
		methods: map[string][]string{},
	}
	for _, op := range operations {
		path := ginPath(op.Path)
		r.operations[op.Method+" "+path], r.byID[op.ID] = op, op
		r.methods[path] = append(r.methods[path], op.Method)
	}
	return r
}

var ginParameters = strings.NewReplacer("{path}", "*path", "{", ":", "}", "")

// ginPath is gin's form of a path. A parameter of the name path is the rest, with its slashes.
func ginPath(path string) string { return ginParameters.Replace(path) }

func (r routes) of(ctx *gin.Context) *contract.Operation {
	method := ctx.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet // HEAD gets the same answer, and net/http sends only its headers
	}
	op := r.operations[method+" "+ctx.FullPath()]
	if op != nil && op.Command && method != ctx.Request.Method {
		return nil
	}
	return op
}

// shadowed reports whether a path has its own route without this method, so that gin took it for
// the parameter of another route.
func (r routes) shadowed(ctx *gin.Context) bool {
	_, exact := r.methods[ctx.Request.URL.Path]
	return exact && ctx.FullPath() != "" && ctx.FullPath() != ctx.Request.URL.Path
}

// described is the path that describes the fields of a call: its own if GET describes it, else the
// document's.
func (r routes) described(ctx *gin.Context) string {
	get := r.operations["GET "+ctx.FullPath()]
	if get != nil && strings.HasPrefix(get.ID, "describe") && ctx.Request.Method == http.MethodPost {
		return ctx.Request.URL.Path
	}
	return "/openapi.json"
}

// notFound refuses a path that isn't a route. Where it is one but for slashes, dots or case, it
// says which.
func (r routes) notFound(ctx *gin.Context) *domain.Error {
	refusal := domain.NotFound("path")
	if right := r.meant(ctx.Request.URL.Path); right != "" {
		refusal.Hint = "Use the path " + domain.Verbatim(right) + "."
	}
	return refusal
}

// meant is the route that a path was probably meant to be, "" if there is none.
func (r routes) meant(wrong string) string {
	given := strings.Split(path.Clean("/"+wrong), "/")
	for route := range r.methods {
		want := strings.Split(route, "/")
		if len(want) != len(given) {
			continue
		}
		right := slices.Clone(given)
		for i, step := range want {
			switch {
			case strings.HasPrefix(step, ":"):
				right[i] = url.PathEscape(given[i])
			case strings.EqualFold(step, given[i]):
				right[i] = step
			default:
				right = nil
			}
			if right == nil {
				break
			}
		}
		if _, exact := r.methods[strings.Join(given, "/")]; right != nil &&
			(!exact || route == strings.Join(given, "/")) {
			return strings.Join(right, "/")
		}
	}
	return ""
}

// methodNotAllowed refuses a method on a path that has others.
func (r routes) methodNotAllowed(ctx *gin.Context) *domain.Error {
	allowed := slices.Clone(strings.Split(ctx.Writer.Header().Get("Allow"), ", "))
	if exact, found := r.methods[ctx.Request.URL.Path]; found { // gin adds other routes' methods
		allowed = slices.Clone(exact)
		if op := r.operations["GET "+ctx.Request.URL.Path]; op != nil && !op.Command {
			allowed = append(allowed, http.MethodHead)
		}
	}
	sort.Strings(allowed)
	list := strings.Join(allowed, ", ")
	ctx.Header("Allow", list)
	return &domain.Error{
		Kind: domain.KindMethod, Code: "method_not_allowed",
		Detail: "This path does not take " + domain.Verbatim(ctx.Request.Method) + ".",
		Hint:   "Use " + list + " on " + domain.Verbatim(ctx.Request.URL.Path) + ".",
	}
}

// describe sums up the schema that validates the POST on the path of a GET.
func (r routes) describe(get *contract.Operation) CallSchema {
	op := r.operations["POST "+ginPath(get.Path)]
	var out CallSchema
	out.Schema.Method, out.Schema.Path, out.Schema.Description = op.Method, op.Path, op.Summary
	out.Schema.Responses, out.Schema.Body = op.Responses, map[string]CallField{}
	for _, m := range op.Members() {
		out.Schema.Body[m.Name] = CallField{
			Type: m.Type, Required: m.Required, MinLength: m.MinLength, MaxLength: m.MaxLength,
			Description: optional(m.Description), Example: optional(m.Example),
		}
	}
	return out
}
