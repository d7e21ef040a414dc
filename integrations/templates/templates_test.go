package templates_test

import (
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"agentkey/commands/names"
	"agentkey/integrations/templates"
)

func load(t *testing.T) *templates.Set {
	t.Helper()
	set, err := templates.Load(names.FoldProduct, names.Site)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var (
	slug        = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	fieldName   = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	token       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	mention     = regexp.MustCompile(`<credential(?:\.([a-z_]+))?>`)
	placeholder = regexp.MustCompile(`TODO|FIXME|XXX|(?i:lorem|example\.|your_|changeme)`)
)

// TestTheTemplatesAreComplete checks what POST /api/admin/tools and the readers of templates rely
// on.
func TestTheTemplatesAreComplete(t *testing.T) {
	all := load(t).All()
	if len(all) < 50 {
		t.Errorf("there are only %d templates", len(all))
	}
	for _, tt := range all {
		t.Run(tt.ID, func(t *testing.T) {
			if !slug.MatchString(tt.ID) {
				t.Error("the id isn't a slug")
			}
			for what, text := range texts(tt) {
				length := utf8.RuneCountInString(text.value)
				if text.value != strings.TrimSpace(text.value) || length < text.least || length > text.most {
					t.Errorf("the %s has %d characters or white space around it: %q", what, length, text.value)
				}
				forbidden := func(r rune) bool { return unseen(r) && (r != '\n' || what != "instructions") }
				if strings.ContainsFunc(text.value, forbidden) {
					t.Errorf("the %s has control characters: %q", what, text.value)
				}
				if found := placeholder.FindString(text.value); found != "" {
					t.Errorf("the %s has %q in it", what, found)
				}
			}
			checkAddress(t, "url", tt.URL)
			checkAddress(t, "docs_url", tt.DocsURL)
			for _, site := range tt.Sites {
				if names.Site("https://"+site) != site || site == names.Site(tt.URL) {
					t.Errorf("%s isn't another site", site)
				}
			}
			if !slices.Contains([]string{"api_key", "oauth_token", "bot_token", "other"}, tt.AuthType) {
				t.Errorf("the auth type is %q", tt.AuthType)
			}
			checkUsage(t, tt)
		})
	}
}

type text struct {
	value       string
	least, most int
}

// texts are all texts of a template, each with its permitted lengths.
func texts(tt templates.Template) map[string]text {
	all := map[string]text{
		"name": {tt.Name, 2, 120}, "description": {tt.Description, 5, 500},
		"url": {tt.URL, 10, 500}, "docs_url": {tt.DocsURL, 10, 500},
		"instructions": {tt.Guide, 100, 4000}, "credential_kind": {tt.Kind, 5, 200},
	}
	for _, s := range tt.Scopes {
		all["scope "+s.Name], all["reason of "+s.Name] = text{s.Name, 2, 100}, text{s.Why, 5, 300}
	}
	for _, u := range tt.Usage {
		all["usage in "+u.In+" "+u.Name] = text{u.Value, 10, 300}
	}
	return all
}

// unseen reports characters that change how a text is shown or are not shown.
func unseen(r rune) bool {
	return unicode.IsControl(r) || r == utf8.RuneError || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

func checkAddress(t *testing.T, what, raw string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" || u.RawQuery != "" ||
		names.Site(raw) == "" || strings.ContainsFunc(raw, unicode.IsSpace) {
		t.Errorf("the %s is %q (%v)", what, raw, err)
	}
}

// checkUsage compares where the credential goes with its parts, and the guide with both.
func checkUsage(t *testing.T, tt templates.Template) {
	t.Helper()
	if len(tt.Usage) == 0 {
		t.Error("nothing says where the credential goes")
	}
	parts := func(text string) []string {
		found := map[string]bool{}
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	guide := strings.Join(strings.Fields(tt.Guide), " ")
	values := ""
	for _, u := range tt.Usage {
		values += " " + u.Value
		shown := ""
		switch u.In {
		case "header":
			shown = u.Name + ": " + u.Value
		case "query":
			shown = u.Name + "=" + u.Value
		case "basic":
			shown = "Basic authentication"
			if strings.Count(u.Value, ":") != 1 {
				t.Errorf("%q isn't a user and a password", u.Value)
			}
		case "other":
		default:
			t.Errorf("there is no place %q", u.In)
		}
		if !strings.Contains(guide, shown) {
			t.Errorf("the guide does not show %q", shown)
		}
		if named := u.In == "header" || u.In == "query"; named != token.MatchString(u.Name) ||
			!mention.MatchString(u.Value) {
			t.Errorf("the usage in %s has the name %q and the value %q", u.In, u.Name, u.Value)
		}
	}
	all := parts(values + " " + tt.Guide)
	if len(tt.Fields) == 0 {
		if !slices.Equal(all, []string{""}) {
			t.Errorf("it is one string, and used as %q", all)
		}
		return
	}
	for _, f := range tt.Fields {
		if !fieldName.MatchString(f) {
			t.Errorf("a part is called %q", f)
		}
	}
	if fields := slices.Sorted(slices.Values(tt.Fields)); len(fields) < 2 || !slices.Equal(all, fields) {
		t.Errorf("its parts are %q, and used are %q", fields, all)
	}
}

// TestTheTemplatesAreInOrder requires answers sorted by name, and a file sorted by id, whose diffs
// are easy to read.
func TestTheTemplatesAreInOrder(t *testing.T) {
	set := load(t)
	if !slices.IsSortedFunc(set.All(), func(a, b templates.Template) int {
		return strings.Compare(names.FoldProduct(a.Name), names.FoldProduct(b.Name))
	}) {
		t.Error("they are not by name")
	}
	file, err := os.ReadFile("templates.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range regexp.MustCompile(`(?m)^- id: (\S+)$`).FindAllStringSubmatch(string(file), -1) {
		ids = append(ids, m[1])
	}
	if !slices.IsSorted(ids) || len(ids) != len(set.All()) {
		t.Errorf("the file is not by id: %v", ids)
	}
	for _, id := range ids {
		if found, ok := set.ByID(id); !ok || found.ID != id {
			t.Errorf("%s is not found by its id", id)
		}
	}
	if _, ok := set.ByID("no-such-product"); ok {
		t.Error("an id of nothing is found")
	}
}

// TestEachTemplateMatchesItself finds each template by its name, and by its name and each of its
// sites.
func TestEachTemplateMatchesItself(t *testing.T) {
	set := load(t)
	for _, tt := range set.All() {
		for _, site := range append([]string{"", names.Site(tt.URL)}, tt.Sites...) {
			if found, ok := set.Match(names.FoldProduct(tt.Name), site); !ok || found.ID != tt.ID {
				t.Errorf("%s at %q is found as %q", tt.Name, site, found.ID)
			}
		}
	}
}

func TestAToolIsMatchedBySiteThenByName(t *testing.T) {
	set := load(t)
	for _, tt := range []struct{ name, url, want string }{
		{"github", "", "github"},
		{"GITHUB", "https://github.example.com", "github"}, // a site that no template has
		{"Our code", "https://api.GitHub.com/v3", "github"},
		{"Our code", "https://github.io", ""},
		{"Notes", "https://www.notion.so/acme", "notion"},
		{"Slack", "https://linear.app", "linear"}, // the site is the better witness
		{"Jira", "https://acme.atlassian.net", "jira"},
		{"confluence", "https://www.atlassian.com", "confluence"},
		{"Bitbucket", "https://www.atlassian.com", ""}, // none of those that share the site
		{"GitHub", "https://acme.atlassian.net", ""},
		{"Trello", "https://trello.com", "trello"},
		{"Acme", "https://acme.test", ""},
		{"Acme", "", ""},
		{"", "", ""},
	} {
		found, ok := set.Match(names.FoldProduct(tt.name), names.Site(tt.url))
		if found.ID != tt.want || ok != (tt.want != "") {
			t.Errorf("%q at %q is found as %q, not %q", tt.name, tt.url, found.ID, tt.want)
		}
	}
}

func TestAFileWithAMistakeIsRefused(t *testing.T) {
	const good = "- {id: a, name: A, url: 'https://a.com'}\n"
	shared := []byte(good + "- {id: b, name: B, url: 'https://a.com'}\n")
	if _, err := templates.Parse(shared, names.FoldProduct, names.Site); err != nil {
		t.Errorf("two products of one site: %v", err)
	}
	for what, text := range map[string]string{
		"an unknown field":      "- {id: a, name: A, url: 'https://a.com', docs: x}\n",
		"an id twice":           good + "- {id: a, name: B, url: 'https://b.com'}\n",
		"a name twice":          good + "- {id: b, name: ' a ', url: 'https://b.com'}\n",
		"no id":                 "- {name: A, url: 'https://a.com'}\n",
		"no name":               "- {id: a, url: 'https://a.com'}\n",
		"no site":               "- {id: a, name: A, url: 'https://127.0.0.1'}\n",
		"no list":               "id: a\n",
		"nothing":               "",
		"a field that is twice": "- {id: a, id: b, name: A, url: 'https://a.com'}\n",
	} {
		if set, err := templates.Parse([]byte(text), names.FoldProduct, names.Site); err == nil {
			t.Errorf("%s is accepted: %v", what, set.All())
		}
	}
}
