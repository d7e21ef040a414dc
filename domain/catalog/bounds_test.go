package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"agentkey/domain/catalog"
)

// full is a catalog of some tools whose usage guides have some bytes each.
func full(tools, bytes int) catalog.State {
	s := catalog.State{Tools: map[string]catalog.Tool{}}
	for i := range tools {
		s.Tools[fmt.Sprint(i)] = catalog.Tool{
			FoldedName: fmt.Sprint("tool ", i), Mode: catalog.PerAgent, Instructions: strings.Repeat("x", bytes),
		}
	}
	return s
}

func TestACatalogKeepsItsBounds(t *testing.T) {
	half := strings.Repeat("x", catalog.MaxGuideBytes/2)
	more := half + "x"
	for _, tt := range []struct {
		name    string
		state   catalog.State
		command catalog.Command
		want    string // in the refusal; "": it is not refused
	}{
		{"the last tool", full(catalog.MaxTools-1, 1), addition(""), ""},
		{"one tool more", full(catalog.MaxTools, 1), addition(""), "the catalog would have 2001 tools, and it may have 2000"},
		{"the last bytes", full(1, len(half)), addition(half), ""},
		{"one byte more", full(1, len(half)), addition(more), "would have 8388609 bytes together, and they may have 8388608"},
		{"a longer guide", full(2, len(half)), catalog.UpdateTool{ToolID: "0", Instructions: &more}, "8388609 bytes"},
		{"a shorter guide", full(3, len(half)), catalog.UpdateTool{ToolID: "0", Instructions: new("x")}, ""},
		{
			"an import", full(catalog.MaxTools, 1),
			catalog.ImportCatalog{Tools: []catalog.FileTool{{NewID: "new", FoldedName: "new", Mode: catalog.PerAgent}}},
			"the catalog would have 2001 tools",
		},
	} {
		_, err := catalog.Decide(tt.state, tt.command)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func addition(guide string) catalog.AddTool {
	return catalog.AddTool{ToolID: "new", FoldedName: "new", Mode: catalog.PerAgent, Instructions: guide}
}
