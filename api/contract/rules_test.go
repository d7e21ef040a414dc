package contract

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTheServedDocumentKeepsTheRulesOfLinters asserts what make api-lint would report, without a
// linter.
func TestTheServedDocumentKeepsTheRulesOfLinters(t *testing.T) {
	t.Parallel()
	document, _ := served(t)
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if inside(document, "info", "license") == nil || inside(document)["servers"] == nil {
		t.Error("it has no license, or no servers")
	}
	schemes, shapes, ids := inside(document, "components", "securitySchemes"), map[string]string{}, map[string]bool{}
	for _, op := range c.Operations {
		o := inside(document, "paths", op.Path, strings.ToLower(op.Method))
		listed := o["security"]
		if listed == nil {
			listed = inside(document)["security"]
		}
		alternatives, _ := listed.([]any)
		if (len(alternatives) == 0) != (op.Caller == "anyone") {
			t.Errorf("%s has the security %v", op.ID, listed)
		}
		for _, one := range alternatives {
			for name := range inside(one) {
				if schemes[name] == nil {
					t.Errorf("%s has the unknown security %s", op.ID, name)
				}
			}
		}
		shape := op.Method + " " + parameterOfPath.ReplaceAllString(op.Path, "{}")
		if other := shapes[shape]; other != "" {
			t.Errorf("%s and %s have the same path", op.ID, other)
		}
		shapes[shape] = op.ID
		if ids[op.ID] || op.ID == "" {
			t.Errorf("%s has the name of another operation, %q", shape, op.ID)
		}
		ids[op.ID] = true
		answersAsRefused(t, op, inside(o, "responses"))
		takesPath(t, op, o, inside(document, "paths", op.Path), document)
	}
	used := map[string]bool{}
	references(document, used)
	for kind, of := range inside(document, "components") {
		for name := range inside(of) {
			if kind != "securitySchemes" && !used["#/components/"+kind+"/"+name] {
				t.Errorf("nothing uses %s of the %s", name, kind)
			}
		}
	}
}

var parameterOfPath = regexp.MustCompile(`\{[^}]*\}`)

// answersAsRefused expects an answer for each status of a refusal that is the caller's doing, and
// one for all others.
func answersAsRefused(t *testing.T, op *Operation, responses map[string]any) {
	t.Helper()
	refusals := op.Refusals()
	for status := range refusals {
		if status < http.StatusInternalServerError && responses[strconv.Itoa(status)] == nil {
			t.Errorf("%s has no answer %d", op.ID, status)
		}
	}
	for status := range responses {
		if code, err := strconv.Atoi(status); err == nil && code >= 400 && code < 500 && refusals[code] == nil {
			t.Errorf("%s has an answer %d and no refusal", op.ID, code)
		}
	}
	if responses["default"] == nil {
		t.Errorf("%s does not say what any other answer is", op.ID)
	}
	if refusals[http.StatusNotFound] == nil && strings.Contains(op.Path, "{") {
		t.Errorf("%s finds everything", op.ID)
	}
}

// takesPath expects a declaration of each parameter in the path.
func takesPath(t *testing.T, op *Operation, o, item map[string]any, document any) {
	t.Helper()
	declared := map[string]bool{}
	for _, of := range []any{o["parameters"], item["parameters"]} {
		list, _ := of.([]any)
		for _, p := range list {
			ref, _ := inside(p)["$ref"].(string)
			if name, shared := strings.CutPrefix(ref, sharedParameters); shared {
				p = inside(document, "components", "parameters", name)
			}
			if name, _ := inside(p)["name"].(string); inside(p)["in"] == "path" {
				declared["{"+name+"}"] = true
			}
		}
	}
	for _, name := range parameterOfPath.FindAllString(op.Path, -1) {
		if !declared[name] {
			t.Errorf("%s does not declare %s", op.ID, name)
		}
		delete(declared, name)
	}
	if len(declared) > 0 {
		t.Errorf("%s declares %v, which its path lacks", op.ID, declared)
	}
}

// references collects what a value refers to.
func references(value any, into map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		if ref, is := value["$ref"].(string); is {
			into[ref] = true
		}
		for _, member := range value {
			references(member, into)
		}
	case []any:
		for _, item := range value {
			references(item, into)
		}
	}
}
