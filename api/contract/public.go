package contract

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TakesIdempotencyKey reports whether a call may carry a key under which it has one effect.
func (o *Operation) TakesIdempotencyKey() bool {
	return o.Command && o.Caller != "anyone" && o.Method != http.MethodGet
}

// TakesPosition reports whether a call may wait for a position of the read model.
func (o *Operation) TakesPosition() bool { return !o.Command && o.Caller != "anyone" }

// Follows reports whether the answer is a stream of events that a client can come back to.
func (o *Operation) Follows() bool { return o.ID == "streamAdminEvents" || o.ID == "streamMyEvents" }

// requestHeaders are the components that describe what a client sends, and which calls honour it.
// The document that generates the handlers doesn't list them: the API reads them itself.
var requestHeaders = []struct {
	component string
	honoured  func(*Operation) bool
}{
	{"idempotencyKey", (*Operation).TakesIdempotencyKey},
	{"ifNoneMatch", func(o *Operation) bool { return o.Revalidates }},
	{"ifMatch", func(o *Operation) bool { return o.TakesIfMatch }},
	{"lastEventID", (*Operation).Follows},
	{"waitForPosition", (*Operation).TakesPosition},
}

// answerHeaders are the headers of answers, and which answers have them.
var answerHeaders = []struct {
	name string
	on   func(o *Operation, status string) bool
}{
	{"Content-Disposition", filed},
	{"ETag", func(o *Operation, status string) bool { return o.AnswersETag && (success(status) || status == "304") }},
	{"Idempotency-Replayed", func(o *Operation, _ string) bool { return o.TakesIdempotencyKey() }},
	{"Location", func(o *Operation, status string) bool { return o.AnswersETag && status == "201" || status == "302" }},
	{"Retry-After", func(_ *Operation, status string) bool {
		return status == "409" || status == "429" || status == "default"
	}},
	{"WWW-Authenticate", func(_ *Operation, status string) bool { return status == "401" }},
	{"X-Event-Position", func(o *Operation, status string) bool {
		// A refusal may be an event too.
		return o.TakesIdempotencyKey() || (o.Command || o.TakesParameter("as_of")) && (success(status) || status == "302")
	}},
	{"X-Export-Cursor", exported},
	{"X-Export-Entries", counted},
	{"X-RateLimit-Limit", limited},
	{"X-RateLimit-Policy", limited},
	{"X-RateLimit-Remaining", limited},
	{"X-RateLimit-Reset", limited},
	{"X-Request-Id", func(*Operation, string) bool { return true }},
}

func success(status string) bool { return strings.HasPrefix(status, "2") }

func exported(o *Operation, status string) bool { return o.ID == "exportAudit" && success(status) }

// counted is an answer that says how many entries of the audit it has.
func counted(o *Operation, status string) bool {
	return exported(o, status) || o.ID == "getAuditEvidence" && success(status)
}

// filed is an answer that a browser keeps as a file.
func filed(o *Operation, status string) bool {
	return counted(o, status) || strings.HasPrefix(o.ID, "report") && success(status)
}

func limited(o *Operation, _ string) bool { return o.Caller != "anyone" }

// public is the document as clients get it: with the headers of each operation, and without what
// only our generator reads.
func public(text []byte, operations []*Operation) ([]byte, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	declareHeaders(whole, operations)
	declareNeeds(whole, operations)
	declareSessions(whole, operations)
	strip(whole)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err = e.Encode(whole)
	return bytes.TrimSpace(out.Bytes()), err
}

// declareHeaders adds to each operation the headers that it honours and answers with, and its
// refusals by their statuses. A response that operations share becomes several: commands have
// headers that queries don't have, and what anyone may call has no limit to report.
func declareHeaders(whole any, operations []*Operation) {
	shared := inside(whole, "components", "responses")
	declared := map[string]any{}
	for _, op := range operations {
		o := inside(whole, "paths", op.Path, strings.ToLower(op.Method))
		parameters, _ := o["parameters"].([]any)
		for _, h := range requestHeaders {
			if h.honoured(op) {
				parameters = append(slices.Clip(parameters), reference(sharedParameters+h.component))
			}
		}
		if len(parameters) > 0 {
			o["parameters"] = parameters
		}
		responses := inside(o, "responses")
		for status := range op.Refusals() {
			if of := responses["default"]; of != nil && refused[status] != "" {
				responses[strconv.Itoa(status)] = of
			}
		}
		for status, response := range responses {
			ref, _ := inside(response)["$ref"].(string)
			name, named := strings.CutPrefix(ref, sharedResponses)
			if !named {
				inside(response)["headers"] = headersOf(op, status)
				continue
			}
			response := maps.Clone(inside(shared, name))
			response["headers"] = headersOf(op, status)
			if code, err := strconv.Atoi(status); err == nil && code >= http.StatusBadRequest {
				response["description"], name = refused[code], name+status
			}
			switch {
			case op.TakesIdempotencyKey():
				name += "OfCommand"
			case op.Caller == "anyone":
				name += "ToAnyone"
			}
			declared[name] = response
			responses[status] = reference(sharedResponses + name)
		}
	}
	if shared != nil {
		inside(whole, "components")["responses"] = declared
	}
}

// declareNeeds adds to what people read about an operation which permission its caller needs, which
// limit counts it, and with which codes it may be refused.
func declareNeeds(whole any, operations []*Operation) {
	for _, op := range operations {
		needs := told(op.Refusals())
		if op.Tier != "" {
			needs = "Limit: `" + op.Tier + "`. " + needs
		}
		if op.Permission != "" {
			own := ""
			if op.Self {
				own = "; about yourself: `read`"
			}
			needs = "Permission: `" + op.Permission + "`" + own + ". " + needs
		}
		o := inside(whole, "paths", op.Path, strings.ToLower(op.Method))
		text, _ := o["description"].(string)
		o["description"] = strings.TrimSpace(text) + "\n\n" + needs
	}
}

// declareSessions lets a browser call as an admin with the cookie of its session.
func declareSessions(whole any, operations []*Operation) {
	for _, op := range operations {
		if op.Caller == "admin" {
			inside(whole, "paths", op.Path, strings.ToLower(op.Method))["security"] = []any{
				map[string]any{"bearer": []any{}}, map[string]any{"session": []any{}},
			}
		}
	}
}

func headersOf(op *Operation, status string) map[string]any {
	out := map[string]any{}
	for _, h := range answerHeaders {
		if h.on(op, status) {
			out[h.name] = reference("#/components/headers/" + h.name)
		}
	}
	return out
}

func reference(to string) map[string]any { return map[string]any{"$ref": to} }

// inside returns the object at a path inside a JSON value; nil if there is none.
func inside(value any, path ...string) map[string]any {
	of, _ := value.(map[string]any)
	for _, step := range path {
		of, _ = of[step].(map[string]any)
	}
	return of
}

// strip removes what only our generator reads.
func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(name string, _ any) bool { return strings.HasPrefix(name, "x-go-") })
		for _, member := range v {
			strip(member)
		}
	case []any:
		for _, item := range v {
			strip(item)
		}
	}
}
