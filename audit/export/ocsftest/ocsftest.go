// Package ocsftest checks events against what the published schema of OCSF requires: the attributes
// that there must be and those that there can be, their types, their enumerations and constraints.
// It knows only the classes and objects that the export of the audit uses.
package ocsftest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
)

// Schema is the part of the schema that is known here; see audit/export/testdata/ocsf.json.
type Schema struct {
	Version    string
	Types      map[string]dataType
	Dictionary map[string]attribute
	BaseEvent  shape `json:"base_event"`
	Classes    map[string]shape
	Objects    map[string]shape
}

type dataType struct {
	Is  string
	Max int
}

type attribute struct {
	Type    string
	Array   bool
	Enum    map[string]string
	Sibling string // that has the enumeration's caption
}

// shape is a class or an object.
type shape struct {
	Name             string
	Category         int
	Extends          string
	Open             bool // any attribute can be there
	Required, Others []string
	AtLeastOne       []string `json:"at_least_one"`
	Profiles         []string
	OfProfile        map[string][]string `json:"of_profile"`
	Types            map[string]string
	Enums            map[string]map[string]string
}

// Read reads a schema from a file.
func Read(file string) (*Schema, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the test names it
	if err != nil {
		return nil, err
	}
	var s Schema
	return &s, json.Unmarshal(text, &s)
}

// Faults says what is wrong with a line of JSON as an event.
func (s *Schema) Faults(line []byte) []string {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var event map[string]any
	if err := d.Decode(&event); err != nil || d.More() {
		return []string{fmt.Sprintf("it isn't one JSON object: %v", err)}
	}
	uid := fmt.Sprint(event["class_uid"])
	class, known := s.Classes[uid]
	if !known {
		return []string{"class_uid: there is no class " + uid}
	}
	c := &check{schema: s}
	metadata, _ := event["metadata"].(map[string]any)
	class.Required = slices.Concat(class.Required, s.BaseEvent.Required)
	class.Others = slices.Concat(class.Others, s.BaseEvent.Others)
	profiles, _ := metadata["profiles"].([]any)
	for _, p := range profiles {
		profile := fmt.Sprint(p)
		if !slices.Contains(class.Profiles, profile) {
			c.fault("metadata.profiles", "the class has no profile "+profile)
		}
		class.Others = slices.Concat(class.Others, class.OfProfile[profile])
	}
	c.object("", class, event)
	activity, _ := strconv.Atoi(fmt.Sprint(event["activity_id"]))
	number, _ := strconv.Atoi(uid)
	c.same("type_uid", event["type_uid"], number*100+activity)
	c.same("category_uid", event["category_uid"], class.Category)
	c.same("class_name", event["class_name"], class.Name)
	c.same("metadata.version", metadata["version"], s.Version)
	return c.faults
}

type check struct {
	schema *Schema
	faults []string
}

func (c *check) fault(path, what string) { c.faults = append(c.faults, path+": "+what) }

func (c *check) same(path string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.fault(path, fmt.Sprintf("it is %v, not %v", got, want))
	}
}

// whole is a shape with what it inherits. A constraint replaces the inherited one.
func (c *check) whole(o shape) shape {
	if o.Extends == "" {
		return o
	}
	base := c.whole(c.schema.Objects[o.Extends])
	o.Required = slices.Concat(o.Required, base.Required)
	o.Others = slices.Concat(o.Others, base.Others)
	if o.AtLeastOne == nil {
		o.AtLeastOne = base.AtLeastOne
	}
	if o.Enums == nil {
		o.Enums = base.Enums
	}
	return o
}

func (c *check) object(path string, o shape, value map[string]any) {
	o = c.whole(o)
	if o.Open {
		return
	}
	for _, name := range o.Required {
		if _, there := value[name]; !there {
			c.fault(path+name, "it is required")
		}
	}
	there := func(name string) bool { _, is := value[name]; return is }
	if o.AtLeastOne != nil && !slices.ContainsFunc(o.AtLeastOne, there) {
		c.fault(path, fmt.Sprintf("one of %v is required", o.AtLeastOne))
	}
	for _, name := range slices.Sorted(maps.Keys(value)) {
		a, described := c.schema.Dictionary[name]
		if !slices.Contains(o.Required, name) && !slices.Contains(o.Others, name) || !described {
			c.fault(path+name, "there is no such attribute")
			continue
		}
		if t := o.Types[name]; t != "" {
			a.Type = t
		}
		a.Enum = maps.Clone(a.Enum)
		if a.Enum != nil {
			maps.Copy(a.Enum, o.Enums[name])
		}
		c.enumeration(path+name, a, value[name], value[a.Sibling])
		if !a.Array {
			c.value(path+name, a.Type, value[name])
			continue
		}
		items, is := value[name].([]any)
		if !is || len(items) == 0 {
			c.fault(path+name, "it isn't a list of something")
		}
		for _, item := range items {
			c.value(path+name, a.Type, item)
		}
	}
}

// enumeration also compares the sibling, which has the caption. Of "other" it is the source's word.
func (c *check) enumeration(path string, a attribute, value, sibling any) {
	if a.Enum == nil {
		return
	}
	key := fmt.Sprint(value)
	caption, known := a.Enum[key]
	switch {
	case !known:
		c.fault(path, "the enumeration has no "+key)
	case key == "99" && (sibling == nil || sibling == ""):
		c.fault(path, a.Sibling+" must say what it is")
	case key != "99" && sibling != nil && sibling != caption:
		c.fault(path, fmt.Sprintf("%s is %v, not %s", a.Sibling, sibling, caption))
	}
}

func (c *check) value(path, typ string, value any) {
	t, simple := c.schema.Types[typ]
	if !simple {
		o, described := c.schema.Objects[typ]
		members, is := value.(map[string]any)
		if !described || !is {
			c.fault(path, fmt.Sprintf("it isn't %s: %v", typ, value))
			return
		}
		c.object(path+".", o, members)
		return
	}
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	good := isText && text != ""
	switch t.Is {
	case "ip":
		_, err := netip.ParseAddr(text)
		good = good && err == nil
	case "integer":
		_, err := number.Int64()
		good = isNumber && err == nil
	}
	if !good || t.Max > 0 && len(text) > t.Max {
		c.fault(path, fmt.Sprintf("it isn't %s: %v", typ, value))
	}
}
