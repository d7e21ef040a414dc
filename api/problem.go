package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/api/contract"
	"agentkey/domain"
)

// statuses is the one table from the kind of a refusal to its status.
var statuses = map[domain.Kind]int{
	domain.KindInvalid:         http.StatusBadRequest,
	domain.KindUnauthenticated: http.StatusUnauthorized,
	domain.KindForbidden:       http.StatusForbidden,
	domain.KindNotFound:        http.StatusNotFound,
	domain.KindMethod:          http.StatusMethodNotAllowed,
	domain.KindConflict:        http.StatusConflict,
	domain.KindStale:           http.StatusPreconditionFailed,
	domain.KindUnconditional:   http.StatusPreconditionRequired,
	domain.KindTooLarge:        http.StatusRequestEntityTooLarge,
	domain.KindUnsupported:     http.StatusUnsupportedMediaType,
	domain.KindLimited:         http.StatusTooManyRequests,
	domain.KindUnavailable:     http.StatusServiceUnavailable,
}

// maxDetails limits the answer to a large body that is all mistakes.
const maxDetails = 50

// refuse ends a call with a problem document (RFC 9457). A refusal says what it is; a fault shows
// nothing but the id of the request, and is logged whole.
func (s *Server) refuse(c *gin.Context, err error) {
	call := callOf(c)
	status, body, refusal := s.problem(call, err)
	if c.Writer.Written() {
		return
	}
	c.Writer.Header().Del("ETag") // of what is not answered
	if status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", "Bearer")
	}
	if refusal.RetryAfter > 0 {
		seconds := int64((refusal.RetryAfter + time.Second - 1) / time.Second)
		c.Header("Retry-After", strconv.FormatInt(seconds, 10))
	}
	s.leave(c)
	if html := s.problemFor(c, call, body); html != nil {
		webPage{html, frontPolicy}.announce(c.Writer.Header())
		c.Data(status, htmlType, html)
	} else {
		c.Data(status, "application/problem+json", append(body, '\n')) // as every other answer ends
	}
	c.Abort()
}

// problem is the document that says why a call was refused or failed. A fault is logged here.
func (s *Server) problem(call *call, err error) (status int, document []byte, refusal *domain.Error) {
	if !errors.As(err, &refusal) {
		s.Logger.ErrorContext(
			call.ctx, "fault", slog.String("request_id", call.RequestID), slog.String("error", err.Error()),
		)
		refusal = &domain.Error{
			Code:   "internal",
			Detail: "Something went wrong in the service. Its log has the details under this request id.",
			Hint:   "Send the same request again later. If it fails again, give the operator the request id.",
		}
	}
	refusal = fromRoot(call, refusal)
	status, known := statuses[refusal.Kind]
	if !known {
		status = http.StatusInternalServerError
	}
	say := func(text string) string { return s.routes.say(text, refusal.Next) }
	body := map[string]any{}
	for name, named := range refusal.Extra {
		if ended, is := named.(domain.Decided); is {
			named = s.decided(call, ended)
		}
		body[name] = named
	}
	maps.Copy(body, map[string]any{
		"instance": call.RequestID,
		"type":     "urn:agentkey:error:" + refusal.Code, "title": http.StatusText(status), "status": status,
		"detail": say(refusal.Detail), "code": refusal.Code, "error": say(refusal.Detail), "hint": say(refusal.Hint),
	})
	if fields := refusal.Fields[:min(len(refusal.Fields), maxDetails)]; len(fields) > 0 {
		details := s.details(call, fields, refusal.Next)
		body["details"] = details
		more := where(details[0], len(refusal.Fields))
		body["detail"] = say(refusal.Detail + more)
		body["error"] = body["detail"]
	}
	call.code = refusal.Code
	document, err = json.Marshal(body)
	if err != nil {
		document = []byte("{}") // of strings and numbers: it can't fail
	}
	return status, document, refusal
}

// decided names what was decided about already, with who did and when.
func (s *Server) decided(call *call, ended domain.Decided) Decided {
	out := Decided{ID: ended.ID, Status: DecidedStatus(ended.Status), DecidedAt: optionalTime(ended.At)}
	out.DecidedBy = s.naming(call.Caller.Organization).somebody(call.ctx, value(ended.By))
	return out
}

// fromRoot names the fields of a refusal by their paths from the root of the body.
func fromRoot(call *call, refusal *domain.Error) *domain.Error {
	if call.op == nil || len(refusal.Fields) == 0 {
		return refusal
	}
	return renamed(refusal, call.op.Place)
}

// renamed is a refusal whose fields have other names.
func renamed(refusal *domain.Error, name func(string) string) *domain.Error {
	named := *refusal
	named.Fields = slices.Clone(refusal.Fields)
	for i, f := range named.Fields {
		named.Fields[i].Field = name(f.Field)
	}
	sentence := func(f domain.Field) string { return "The field " + domain.Verbatim(f.Field) + " is" }
	named.Detail = strings.Replace(refusal.Detail, sentence(refusal.Fields[0]), sentence(named.Fields[0]), 1)
	return &named
}

// details lists mistakes, each with its place in the text of the call if that is known.
func (s *Server) details(call *call, fields []domain.Field, next []domain.Next) []map[string]any {
	fields = slices.Clone(fields)
	call.body.Locate(fields, contract.Unknown)
	out := make([]map[string]any, len(fields))
	for i, f := range fields {
		out[i] = map[string]any{"field": f.Field, "message": s.routes.say(f.Message, next)}
		if f.Line > 0 {
			out[i]["line"], out[i]["column"] = f.Line, f.Column
		}
	}
	return out
}

// where says in words where the first of several mistakes is.
func where(first map[string]any, mistakes int) string {
	var out string
	if first["field"] != "body" && first["line"] != nil {
		out = fmt.Sprintf(" It is at line %v, column %v.", first["line"], first["column"])
	}
	switch {
	case mistakes > maxDetails:
		out += fmt.Sprintf(" There are %d mistakes; details lists the first %d.", mistakes, maxDetails)
	case mistakes > 1:
		out += fmt.Sprintf(" There are %d mistakes; details lists them.", mistakes)
	}
	return out
}
