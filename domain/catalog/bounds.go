package catalog

import (
	"fmt"

	"agentkey/domain"
)

// The bounds of a catalog.
const (
	MaxTools      = 2000
	MaxGuideBytes = 8 << 20 // of all usage guides together, in UTF-8
)

// bounded refuses events that make a catalog larger than it may be.
func (s State) bounded(events []Event) error {
	tools, grown := len(s.Tools), 0
	added := false
	for _, e := range events {
		switch e := e.(type) {
		case ToolAdded:
			tools++
			added = true
		case ToolInstructionsRevised:
			grown += len(e.Instructions) - len(s.Tools[e.ToolID].Instructions)
		default:
		}
	}
	if added && tools > MaxTools {
		return full(
			"tools",
			fmt.Sprintf("the catalog would have %d tools, and it may have %d; remove some first", tools, MaxTools),
		)
	}
	if grown <= 0 {
		return nil
	}
	for _, t := range s.Tools {
		grown += len(t.Instructions)
	}
	if grown > MaxGuideBytes {
		return full("instructions", fmt.Sprintf(
			"all usage guides would have %d bytes together, and they may have %d; shorten or remove some first", grown,
			MaxGuideBytes,
		))
	}
	return nil
}

func full(field, message string) error {
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "validation_failed", Detail: "The catalog is full: " + message + ".",
		Hint:   "Remove a tool with {removeTool} or shorten usage guides with {updateTool}, and send the request again.",
		Next:   []domain.Next{{Op: "removeTool"}, {Op: "updateTool"}},
		Fields: []domain.Field{{Field: field, Message: message}},
	}
}
