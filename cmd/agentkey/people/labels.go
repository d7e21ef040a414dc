package people

import (
	"maps"
	"slices"
	"strings"

	agentkey "agentkey/clients/go"
)

// tagged narrows a list by labels.
type tagged struct {
	Tag []string `sep:"none" placeholder:"KEY[:VALUE]" help:"Only those with this label. Repeat it for those with all of several."`
}

func (t tagged) tags() *[]string {
	if len(t.Tag) == 0 {
		return nil
	}
	return &t.Tag
}

// labelling gives something new its labels.
type labelling struct {
	Label map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"A label to sort by, such as team=platform. Repeat it for more."`
}

func (l labelling) labels() *agentkey.Labels {
	if len(l.Label) == 0 {
		return nil
	}
	return new(agentkey.Labels(l.Label))
}

// labelsOf are labels in the order of their keys.
func labelsOf(labels *agentkey.Labels) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(value(labels))) {
		all = append(all, strings.TrimSuffix(key+":"+(*labels)[key], ":"))
	}
	return clean(strings.Join(all, ", "))
}
