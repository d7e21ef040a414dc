// Package templates holds templates of well-known products: which credential to create and where,
// how to use it, and a first usage guide. It decides and changes nothing: a tool made from a
// template is like any other tool and doesn't know its template.
package templates

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed templates.yaml
var file []byte

// Template describes one product.
type Template struct {
	ID          string   `yaml:"id"` // a slug that never changes
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	URL         string   `yaml:"url"`
	Sites       []string `yaml:"sites"`    // registrable domains of the product besides that of its URL
	DocsURL     string   `yaml:"docs_url"` // where the vendor says how a credential is made
	AuthType    string   `yaml:"auth_type"`
	Kind        string   `yaml:"credential_kind"`   // what the vendor calls the credential
	Fields      []string `yaml:"credential_fields"` // the names of its parts; none if it is one string
	Scopes      []Scope  `yaml:"scopes"`            // the narrowest to start with; none if the task decides
	Usage       []Usage  `yaml:"credential_usage"`  // where it goes; all of them are sent
	Guide       string   `yaml:"instructions"`      // the first usage guide of a tool made from this
}

// Scope is a permission of the credential, in the vendor's words.
type Scope struct {
	Name string `yaml:"name"`
	Why  string `yaml:"why"`
}

// Usage is one place in a request where the credential goes. In Value, <credential> stands for the
// credential and <credential.part> for one of its parts.
type Usage struct {
	In    string `yaml:"in"`   // header, query, basic or other
	Name  string `yaml:"name"` // of the header or parameter
	Value string `yaml:"value"`
}

// Set is all templates. It never changes.
type Set struct {
	sorted []Template
	byID   map[string]int
	byName map[string]int
	bySite map[string][]int
	names  []string // folded, as sorted
}

// Load reads the embedded templates. fold prepares a name for comparison, and site returns the
// registrable domain of a URL or "".
func Load(fold, site func(string) string) (*Set, error) { return parse(file, fold, site) }

func parse(text []byte, fold, site func(string) string) (*Set, error) {
	var all []Template
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	slices.SortStableFunc(all, func(a, b Template) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	s := &Set{sorted: all, byID: map[string]int{}, byName: map[string]int{}, bySite: map[string][]int{}}
	for i, t := range all {
		name, home := fold(t.Name), site(t.URL)
		_, idTaken := s.byID[t.ID]
		_, nameTaken := s.byName[name]
		if t.ID == "" || name == "" || home == "" || idTaken || nameTaken {
			return nil, fmt.Errorf(
				"read the templates: %q (%s) lacks an id, a name or a site, or has another's", t.ID, t.Name,
			)
		}
		s.byID[t.ID], s.byName[name], s.names = i, i, append(s.names, name)
		for _, at := range append([]string{home}, t.Sites...) {
			s.bySite[at] = append(s.bySite[at], i)
		}
	}
	return s, nil
}

// All returns every template, by name. The caller must not change them.
func (s *Set) All() []Template { return s.sorted }

// ByID finds a template by its id.
func (s *Set) ByID(id string) (Template, bool) {
	i, found := s.byID[id]
	if !found {
		return Template{}, false
	}
	return s.sorted[i], true
}

// Match finds the template of a tool or a suggestion by its registrable site, otherwise by its
// folded name; either may be "". Names distinguish products that share a site, and a name that none
// of them has matches nothing.
func (s *Set) Match(foldedName, site string) (Template, bool) {
	there := s.bySite[site]
	if len(there) == 1 {
		return s.sorted[there[0]], true
	}
	i, found := s.byName[foldedName]
	if !found || len(there) > 0 && !slices.Contains(there, i) {
		return Template{}, false
	}
	return s.sorted[i], true
}
