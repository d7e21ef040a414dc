package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"agentkey/domain"
	"agentkey/readmodels"
)

// GetHealth answers GET /healthz.
func (s *Server) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Status: HealthStatusAlive, Demo: s.Demo}, nil
}

// GetReadiness answers GET /readyz.
func (s *Server) GetReadiness(ctx context.Context, _ GetReadinessRequestObject) (GetReadinessResponseObject, error) {
	call := callOf(ctx)
	ready := s.Ready()
	if !call.local && !s.Door.IsAdmin(call.ctx, call.Call) {
		ready = Readiness{Status: ready.Status}
	}
	ready.Demo = s.Demo
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
	if held, is := w.(*withheld); is {
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

// contactsFor is how long a contact is good after the day on which somebody read it. What the
// operator has configured is true now; a copy that somebody kept should not live forever.
const contactsFor = 30

// securityText is the answer to GET /.well-known/security.txt.
type securityText string

// VisitGetSecurityContactResponse writes the file. RFC 9116 wants the character set named.
func (t securityText) VisitGetSecurityContactResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(w, string(t))
	return err
}

// GetSecurityContact answers GET /.well-known/security.txt.
func (s *Server) GetSecurityContact(
	context.Context, GetSecurityContactRequestObject,
) (GetSecurityContactResponseObject, error) {
	if len(s.SecurityContacts) == 0 {
		return nil, &domain.Error{
			Kind: domain.KindNotFound, Code: "not_found",
			Detail: "The operator of this installation has configured no contact for security.",
			Hint:   "Ask the people who gave you access to it. An operator sets AGENTKEY_SECURITY_CONTACT.",
		}
	}
	var out strings.Builder
	for _, contact := range s.SecurityContacts {
		out.WriteString("Contact: " + contact + "\n")
	}
	year, month, day := s.Clock().UTC().Date()
	expires := time.Date(year, month, day+contactsFor, 0, 0, 0, 0, time.UTC)
	out.WriteString("Expires: " + expires.Format(time.RFC3339) + "\n")
	return securityText(out.String()), nil
}

func isNotFound(err error) bool { return errors.Is(err, readmodels.ErrNotFound) }

// list is items, and never null in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
