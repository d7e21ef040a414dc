package api

import (
	"bytes"
	"compress/gzip"
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
	call := callOf(ctx)
	ready := s.Ready()
	if !call.local && !s.Door.IsAdmin(call.ctx, call.Call) {
		ready = Readiness{Status: ready.Status}
	}
	if ready.Status == ReadinessStatusNotReady {
		return GetReadiness503JSONResponse(ready), nil
	}
	return GetReadiness200JSONResponse(ready), nil
}

// document is the OpenAPI document as it is served. It never changes, so it is compressed once.
type document struct{ plain, packed []byte }

func newDocument(plain []byte) document {
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	_, _ = zipper.Write(plain) // a buffer takes everything
	_ = zipper.Close()
	return document{plain, packed.Bytes()}
}

// VisitGetDocumentResponse writes the document.
func (d document) VisitGetDocumentResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	if held, is := w.(*compressor); is {
		held.packed = d.packed
		return nil
	}
	_, err := w.Write(d.plain)
	return err
}

// GetDocument answers GET /openapi.json.
func (s *Server) GetDocument(context.Context, GetDocumentRequestObject) (GetDocumentResponseObject, error) {
	return s.document, nil
}

func isNotFound(err error) bool { return errors.Is(err, readmodels.ErrNotFound) }

// list is items, and never null in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
