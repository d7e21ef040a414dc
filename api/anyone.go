package api

import (
	"context"
	"errors"
	"net/http"

	"agentkey/readmodels"
)

// GetHealth answers GET /healthz.
func (s *Server) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Status: Alive}, nil
}

// GetReadiness answers GET /readyz.
func (s *Server) GetReadiness(ctx context.Context, _ GetReadinessRequestObject) (GetReadinessResponseObject, error) {
	ready := s.Ready(callOf(ctx).ctx)
	if ready.Status == ReadinessStatusNotReady {
		return GetReadiness503JSONResponse(ready), nil
	}
	return GetReadiness200JSONResponse(ready), nil
}

// document is the OpenAPI document as it is served.
type document []byte

// VisitGetDocumentResponse writes the document.
func (d document) VisitGetDocumentResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(d)
	return err
}

// GetDocument answers GET /openapi.json.
func (s *Server) GetDocument(context.Context, GetDocumentRequestObject) (GetDocumentResponseObject, error) {
	return document(s.document), nil
}

func isNotFound(err error) bool { return errors.Is(err, readmodels.ErrNotFound) }

// list is items, and never null in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
