package reactions

import (
	"context"
	"fmt"
	"strings"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/eventstore/codec"
)

// Notifications queues messages to people about what waits for a human decision. It looks at no
// event of deliveries, so that no notification causes another, and begins at the end of the log, so
// that the past causes none. A request that a rule decides waits for nobody: where the process that
// took it didn't decide it, it is decided here, and no message is sent.
func Notifications(deliveries *commands.Deliveries, grants *commands.Grants) Reaction {
	const types = `^(grant\.requested|suggestion\.made|suggestion\.backed|instruction_suggestion\.made)\.`
	return Reaction{Name: "notifications", Types: types, Handle: func(ctx context.Context, cause codec.Verified) (bool,
		error,
	) {
		_, id, _ := strings.Cut(cause.Stream, "-")
		about := delivery.About{Stream: cause.Stream, Revision: cause.Revision}
		var topic domain.Topic
		switch e := cause.Event.(type) {
		case agent.GrantRequested:
			ruled, acted, err := grants.Rule(ctx, cause.Signed.Organization, id, e)
			if err != nil || ruled {
				return acted, err
			}
			topic, about.AgentID, about.ToolID, about.RequestID = domain.AccessRequested, id, e.ToolID, e.RequestID
		case catalog.SuggestionMade:
			topic, about.AgentID, about.SuggestionID = domain.ToolSuggested, e.AgentID, e.SuggestionID
		case catalog.SuggestionBacked:
			if !e.Reopens {
				return false, nil
			}
			topic, about.AgentID, about.SuggestionID = domain.ToolSuggested, e.AgentID, e.SuggestionID
		case guide.NoteMade:
			topic, about.AgentID, about.ToolID, about.SuggestionID = domain.NoteSuggested, e.AgentID, e.ToolID, e.NoteID
		default:
			return false, fmt.Errorf("%w: %s", codec.ErrUnknownEvent, cause.Type)
		}
		return deliveries.Queue(ctx, cause.Signed.Organization, cause.ID, cause.Signed.Time, topic, about)
	}}
}
