package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"agentkey/domain"
	"agentkey/integrations/setupguide"
)

// StreamSetupGuide answers POST /api/admin/tools/setup-guide.
func (s *Server) StreamSetupGuide(
	ctx context.Context, r StreamSetupGuideRequestObject,
) (StreamSetupGuideResponseObject, error) {
	plan, err := s.SetupGuide.Plan(
		setupguide.Product{Name: r.Body.Name, URL: value(r.Body.URL), DocsURL: value(r.Body.DocsURL)},
	)
	if err != nil {
		return nil, err
	}
	return guideStream{server: s, call: callOf(ctx), plan: plan}, nil
}

// guideStream is a guide as it is written.
type guideStream struct {
	server *Server
	call   *call
	plan   setupguide.Plan
}

// VisitStreamSetupGuideResponse writes the events, until the guide ends, the caller leaves or the
// server stops.
func (g guideStream) VisitStreamSetupGuideResponse(w http.ResponseWriter) error {
	ctx, cancel := context.WithCancelCause(g.call.ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.server.Stopping, func() { cancel(errStopping) })()
	return streamEvents(ctx, w, g.server.Clock, pingEvery, func(ctx context.Context, events *eventStream) {
		err := g.plan.Write(
			ctx, g.call.Caller.Organization, func(event any) error { return events.event(nameOf(event), event) },
		)
		if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errStopping) {
			err = errStopping
		}
		if err == nil || errors.Is(err, context.Canceled) || events.gone() {
			return // it is complete, or the reader is gone
		}
		_, document, _ := g.server.problem(g.call, err)
		_ = events.event("error", json.RawMessage(document)) // it was the last
	})
}

var errStopping = &domain.Error{
	Kind: domain.KindUnavailable, Code: "busy", Detail: "The service is being stopped.",
	Hint: "Send the same request again in a moment.",
}

func nameOf(event any) string {
	switch event.(type) {
	case setupguide.Meta:
		return "meta"
	case setupguide.Delta:
		return "delta"
	case setupguide.Done:
		return "done"
	}
	panic(fmt.Sprintf("%T has no name", event))
}
