package deployments_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// source parses the files of the command, without its tests.
func source(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob("../cmd/agentkey/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, file)
	}
	return out
}

// literal returns the composite literal of a package-level variable of the command.
func literal(t *testing.T, name string) *ast.CompositeLit {
	t.Helper()
	for _, file := range source(t) {
		for _, decl := range file.Decls {
			general, is := decl.(*ast.GenDecl)
			if !is || general.Tok != token.VAR {
				continue
			}
			for _, spec := range general.Specs {
				value := spec.(*ast.ValueSpec)
				if value.Names[0].Name == name && len(value.Values) == 1 {
					of := value.Values[0]
					if joined, is := of.(*ast.CallExpr); is { // with others that have a name of their own
						of = joined.Args[0]
					}
					if lit, is := of.(*ast.CompositeLit); is {
						return lit
					}
				}
			}
		}
	}
	t.Fatalf("the command has no variable %s", name)
	return nil
}

func text(t *testing.T, e ast.Expr) string {
	t.Helper()
	out, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// known are the variables that the program reads, including those that name a file, and those that
// agents set.
func known(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{"AGENTKEY_CONFIG": true}
	for _, e := range slices.Concat(literal(t, "settings").Elts, literal(t, "oidcSettings").Elts) {
		name, secret := "", false
		for _, field := range e.(*ast.CompositeLit).Elts {
			pair := field.(*ast.KeyValueExpr)
			switch pair.Key.(*ast.Ident).Name {
			case "name":
				name = text(t, pair.Value)
			case "secret":
				secret = true
			}
		}
		out[name] = true
		if secret {
			out[name+"_FILE"] = true
		}
	}
	for _, e := range literal(t, "clientVariables").Elts {
		out[text(t, e)] = true
	}
	if len(out) < 20 {
		t.Fatalf("the program knows only %d variables", len(out))
	}
	return out
}

func TestTheProgramKnowsEveryVariableThatIsNamed(t *testing.T) {
	knows := known(t)
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(documents, files(t)...) {
		if strings.HasSuffix(path, ".go") {
			continue
		}
		for _, name := range regexp.MustCompile(`\bAGENTKEY_[A-Z][A-Z_]*`).FindAllString(string(read(t, path)), -1) {
			found++
			if !knows[name] {
				t.Errorf("%s names %s, which the program refuses", path, name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d variables are named", found)
	}
}

// exported are the metrics of the program with their labels.
var exported = map[string][]string{
	"agentkey_http_requests_total":           {"method", "route", "status"},
	"agentkey_http_request_duration_seconds": {"method", "route"},
	"agentkey_http_connections":              {},
	"agentkey_http_connections_full_total":   {"outcome"},
	"agentkey_fetches_total":                 {"outcome"},
	"agentkey_append_duration_seconds":       {"category"},
	"agentkey_append_commands":               {},
	"agentkey_append_errors_total":           {"category", "reason"},
	"agentkey_projection_lag_seconds":        {"projection"},
	"agentkey_projection_up":                 {"projection"},
	"agentkey_limiter_alone":                 {},
	"agentkey_event_log_up":                  {},
	"agentkey_foreign_events_total":          {},
	"agentkey_log_integrity_findings":        {},
	"agentkey_log_integrity_checked_events":  {},
	"agentkey_ledger_conflicts":              {},

	"agentkey_log_integrity_completed_timestamp_seconds": {},

	"agentkey_ready":                  {},
	"agentkey_reactions_total":        {"reaction"},
	"agentkey_data_folder_free_bytes": {},
	"agentkey_data_folder_size_bytes": {},
}

func TestTheMetricsAreThoseOfTheProgram(t *testing.T) {
	there := map[string]bool{}
	for _, file := range source(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, is := n.(*ast.BasicLit); is && lit.Kind == token.STRING &&
				strings.HasPrefix(lit.Value, `"agentkey_`) {
				there[text(t, lit)] = true
			}
			return true
		})
	}
	want, got := slices.Sorted(maps.Keys(exported)), slices.Sorted(maps.Keys(there))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names in the source of the command (-want +got):\n%s", diff)
	}
}

// foreign are metrics of other programs, named as in their documentation, and those of Go's own
// collectors on the dashboard.
var foreign = map[string][]string{
	"up":                            {},
	"eventstore_sys_disk_bytes":     {"disk", "kind"},
	"go_goroutines":                 {},
	"process_resident_memory_bytes": {},
	"process_cpu_seconds_total":     {},
	"process_open_fds":              {},
}

// metric returns the labels of a series, and whether it exists.
func metric(name string) ([]string, bool) {
	if labels, is := foreign[name]; is {
		return append([]string{"job", "instance"}, labels...), true
	}
	base, bucket := strings.CutSuffix(name, "_bucket")
	for _, suffix := range []string{"_sum", "_count"} {
		base = strings.TrimSuffix(base, suffix)
	}
	labels, is := exported[base]
	histogram := strings.HasSuffix(base, "_duration_seconds") || base == "agentkey_append_commands"
	if !is || histogram != (base != name) {
		return nil, false // a histogram has no series of its own name
	}
	if bucket {
		labels = append(slices.Clone(labels), "le")
	}
	return append([]string{"job", "instance"}, labels...), true
}

var (
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	grouping  = regexp.MustCompile(`\bby \(([^)]*)\)`)
	selection = regexp.MustCompile(`([a-z_]+)(\{[^}]*\})?(\()?`)
	matcher   = regexp.MustCompile(`(\w+) *(?:=~|!~|!=|=)`)
)

// query compares the names and labels of a PromQL expression with those that exist. promtool checks
// the grammar.
func query(t *testing.T, where, expr string) {
	t.Helper()
	plain := quoted.ReplaceAllString(expr, `""`)
	plain = regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(plain, "")
	var groups []string
	for _, by := range grouping.FindAllStringSubmatch(plain, -1) {
		groups = append(groups, strings.FieldsFunc(by[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	metrics := 0
	for _, found := range selection.FindAllStringSubmatch(grouping.ReplaceAllString(plain, ""), -1) {
		name, braces, call := found[1], found[2], found[3] != ""
		if call || name == "sum" || name == "max" { // an aggregation's parenthesis may stand after its grouping
			continue
		}
		metrics++
		labels, is := metric(name)
		if !is {
			t.Errorf("%s: there is no series %s in %s", where, name, expr)
			continue
		}
		named := slices.Clone(groups)
		for _, m := range matcher.FindAllStringSubmatch(braces, -1) {
			named = append(named, m[1])
		}
		for _, label := range named {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: %s has no label %s in %s", where, name, label, expr)
			}
		}
	}
	if metrics == 0 {
		t.Errorf("%s queries no metric: %s", where, expr)
	}
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ Type, UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct{ RefID, Expr string }
}

func TestTheDashboardQueriesMetricsThatExist(t *testing.T) {
	var dashboard struct {
		UID    string
		Panels []panel
	}
	if err := json.Unmarshal(read(t, "grafana/dashboards/agentkey.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := ""
	ids := map[int]bool{}
	for i, p := range dashboard.Panels {
		queries := len(p.Targets) > 0 && p.Datasource.UID == "prometheus"
		if ids[p.ID] || p.Title == "" || (p.Type != "alertlist" && !queries) {
			t.Errorf("panel %d %q has a duplicate id, no title, no query, or no data source", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, other := range dashboard.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if a.X+a.W > 24 || (a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H) {
				t.Errorf("%q overlaps %q or is off the page", p.Title, other.Title)
			}
		}
		for _, target := range p.Targets {
			query(t, p.Title, target.Expr)
			shown += target.Expr + "\n"
		}
	}
	for name := range exported {
		if !strings.Contains(shown, name) {
			t.Errorf("the dashboard doesn't show %s", name)
		}
	}
}

func TestAlertsWatchMetricsThatExist(t *testing.T) {
	type rule struct {
		Alert, Expr, For    string
		Labels, Annotations map[string]string
	}
	alerts := decode[struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}](t, "prometheus/alerts.yaml")
	names := map[string]string{}
	for _, group := range alerts.Groups {
		for _, r := range group.Rules {
			known := slices.Contains([]string{"page", "ticket"}, r.Labels["severity"])
			if names[r.Alert] != "" || r.For == "" || r.Annotations["summary"] == "" || !known {
				t.Errorf("%s is defined twice, or has no duration, summary or severity", r.Alert)
			}
			names[r.Alert] = r.Expr
			query(t, r.Alert, r.Expr)
		}
	}
	if disk := names["DiskFilling"]; !strings.HasSuffix(disk, "> 0.8") {
		t.Errorf("the alert for a filling disk is %s", disk)
	}
}
