package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/api/door"
	"agentkey/commands/loop"
	"agentkey/domain"
)

// serve takes every call through the checks, in the order of the contract: route and path, origin,
// failed authentications of the address, authentication, the caller's state, kind and role, media
// type, size, JSON and fields, the tier's limit, idempotency; then the handler.
func (s *Server) serve(c *gin.Context) {
	call := &call{
		op: s.routes.of(c), command: s.NewID(), ifMatch: condition{any: true},
		began: s.Clock(), header: c.Writer.Header(), headOnly: c.Request.Method == http.MethodHead,
		Call: door.Call{
			Authorization: c.Request.Header.Values("Authorization"),
			Address:       s.Door.Address(c.Request.RemoteAddr, c.Request.Header.Values("X-Forwarded-For")),
			Organization:  c.GetHeader("X-Organization"),
			RequestID:     s.NewID().String(), UserAgent: c.Request.UserAgent(),
		},
	}
	call.Cookie, call.SameOrigin = s.cookie(c.Request, sessionCookie), sameOrigin(c.Request)
	call.local = s.Door.Local(c.Request.RemoteAddr, c.Request.Header)
	if call.op != nil {
		call.Operation = door.Operation{
			Caller: call.op.Caller, Tier: call.op.Tier, Permission: call.op.Permission,
			Vends: call.op.ID == "fetchCredential",
		}
		if call.op.Self {
			call.Operation.Own = c.Param("id")
		}
		if call.op.TakesIfMatch {
			call.ifMatch = parseIfMatch(c.Request.Header.Values("If-Match"))
		}
	}
	ctx, span := s.begin(c, call.op)
	call.span, call.ctx = span, context.WithValue(ctx, callKey{}, call)
	c.Request = c.Request.WithContext(call.ctx)
	c.Header("X-Request-Id", call.RequestID)
	if s.Demo {
		c.Header("X-Agentkey-Demo", "true")
	}
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	if call.op != nil && call.op.StrictCORS {
		c.Header("Cache-Control", "no-store, private")
	}
	defer call.forget()
	defer s.record(c, call)
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(r)
			}
			discard(c)
			s.refuse(c, fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	s.hurry(c, call)
	allowed := s.admitOrigin(c)
	if s.preflight(c, allowed) {
		return
	}
	if s.Full != nil && s.Full(call.ctx) {
		c.Header("Connection", "close")
		if call.op == nil || call.op.ID != "getHealth" && call.op.ID != "getReadiness" {
			s.refuse(c, errFull)
			return
		}
	}
	if s.routes.shadowed(c) {
		s.refuse(c, s.routes.methodNotAllowed(c))
		return
	}
	if call.op == nil { // gin answers with 404 or 405
		c.Next()
		return
	}
	if err := s.check(c, call, allowed); err != nil {
		s.refuse(c, err)
		return
	}
	if call.op.Compress {
		compressing(c)
	}
	if err := s.answer(c, call); err != nil {
		s.refuse(c, err)
	}
	send(c)
}

// answer runs the handler, unless its caller has the answer already.
func (s *Server) answer(c *gin.Context, call *call) error {
	if call.op.Revalidates {
		if answered, err := s.revalidate(c, call); answered || err != nil {
			return err
		}
	}
	if call.op.ID == "requestTool" {
		return s.onceAndWait(c, call)
	}
	return s.once(c, call)
}

const (
	// unreadTime is how long the rest of a body may take that nobody reads.
	unreadTime = 2 * time.Second
	// openTime is how long the answer to a call without a key may take to send.
	openTime = 10 * time.Second
)

// hurry bounds how long a client without a key can hold a connection by being slow.
func (s *Server) hurry(c *gin.Context, call *call) {
	if call.op != nil && call.op.Caller != "anyone" {
		return
	}
	s.leave(c)
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(s.Clock().Add(openTime)) // a connection has one
}

// leave bounds how long the server waits for the rest of a body, which it reads to keep the
// connection.
func (s *Server) leave(c *gin.Context) {
	if c.Request.ContentLength != 0 {
		_ = http.NewResponseController(c.Writer).SetReadDeadline(s.Clock().Add(unreadTime)) // a connection has one
	}
}

// errFull is the refusal of what comes over a connection beyond the limit.
var errFull = &domain.Error{
	Kind: domain.KindUnavailable, Code: "busy", Detail: "Every connection that this process may hold is in use.",
	Hint:       "Send the same request again after {wait}. An operator can raise AGENTKEY_MAX_CONNECTIONS.",
	RetryAfter: time.Second,
}

// check goes through everything that can be refused before a handler runs.
func (s *Server) check(c *gin.Context, call *call, originAllowed bool) error {
	for _, p := range c.Params {
		if !addresses(p) {
			return errNoSuchPath
		}
	}
	if call.op.StrictCORS && !originAllowed {
		return door.OriginNotAllowed() // a credential does not go to pages of others at all
	}
	if call.op.Caller == "anyone" {
		if call.op.TakesInput() {
			return s.checkInput(c, call)
		}
		return nil
	}
	defer setLimitHeaders(call)
	if err := s.Door.Admit(call.ctx, &call.Call); err != nil {
		err = s.endedKey(call.ctx, &call.Call, call.meta(), err)
		return s.refusedFetch(c, call, s.forbidden(call, err))
	}
	if err := s.checkInput(c, call); err != nil {
		if lerr := s.Door.CountRefused(call.ctx, &call.Call); lerr != nil {
			return lerr
		}
		return err
	}
	if err := s.Door.Count(call.ctx, &call.Call); err != nil {
		return err
	}
	return s.awaitPosition(c, call)
}

// endedKey records that a key or a token was presented after its end, and returns why it is
// refused.
func (s *Server) endedKey(ctx context.Context, c *door.Call, m loop.Meta, err error) error {
	if !c.EndedKey {
		return err
	}
	m.Organization, m.Actor = c.Caller.Organization, c.Caller.Actor
	if rerr := s.Refusals.EndedKey(ctx, m, c.Caller); rerr != nil {
		return rerr
	}
	return err
}

// forbidden records that a caller may not do what they called, and returns why.
func (s *Server) forbidden(call *call, err error) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok || refusal.Code != "role_insufficient" || call.op == nil || call.Caller.Actor.ID == "" {
		return err
	}
	if rerr := s.Refusals.Forbidden(call.ctx, call.meta(), call.Caller, call.op.ID); rerr != nil {
		return rerr
	}
	return err
}

// refusedFetch records that a suspended agent asked for a credential.
func (s *Server) refusedFetch(c *gin.Context, call *call, err error) error {
	refusal, ok := errors.AsType[*domain.Error](err)
	if !ok || refusal.Code != "agent_suspended" || call.op.ID != "fetchCredential" {
		return err
	}
	if rerr := s.Fetch.Refused(
		call.ctx, call.meta(), call.Caller.Actor.ID, call.Caller.Proof, c.Param("id"), refusal.Code,
	); rerr != nil {
		return rerr
	}
	return err
}

// setLimitHeaders says how the limit of the call's tier stands.
func setLimitHeaders(call *call) {
	d := call.Standing
	if d == nil {
		return
	}
	call.header.Set("X-RateLimit-Limit", strconv.Itoa(d.Limit))
	call.header.Set("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	call.header.Set("X-RateLimit-Reset", strconv.FormatInt(d.Reset.UnixMilli(), 10))
	call.header.Set("X-RateLimit-Policy", strconv.Itoa(d.Limit)+";w="+strconv.Itoa(int(d.Window.Seconds())))
}

// once runs the handler, under an idempotency key when the call has one.
func (s *Server) once(c *gin.Context, call *call) error {
	header := c.Request.Header.Values("Idempotency-Key")
	if len(header) == 0 || !call.op.TakesIdempotencyKey() {
		c.Next()
		return nil
	}
	return s.runOnce(c, call, header[0])
}

func validIdempotencyKey(key string) bool {
	if len(key) < 1 || len(key) > 128 {
		return false
	}
	for _, b := range []byte(key) {
		if b < 0x21 || b > 0x7e {
			return false
		}
	}
	return true
}

// record writes the one line that each call leaves in the log of the process, and reports it to the
// metrics.
func (s *Server) record(c *gin.Context, call *call) {
	took := s.Clock().Sub(call.began)
	call.end(c.Writer.Status())
	if s.OnAnswer != nil {
		s.OnAnswer(answered(c, call, took))
	}
	attrs := []slog.Attr{
		slog.String("request_id", call.RequestID), slog.String("method", c.Request.Method),
		slog.String("route", c.FullPath()), slog.Int("status", c.Writer.Status()), slog.Duration("duration", took),
	}
	if call.Caller.Actor.ID != "" {
		attrs = append(
			attrs, slog.String("actor_type", string(call.Caller.Actor.Type)),
			slog.String("actor_id", call.Caller.Actor.ID),
		)
	}
	if call.code != "" {
		attrs = append(attrs, slog.String("code", call.code))
	}
	if call.span != nil {
		attrs = append(attrs, slog.String("trace_id", call.span.SpanContext().TraceID().String()))
	}
	level := slog.LevelInfo
	if call.op != nil && call.op.Caller == "anyone" {
		level = slog.LevelDebug
	}
	s.Logger.LogAttrs(call.ctx, level, "request", attrs...)
}
