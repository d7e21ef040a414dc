package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"agentkey/api/contract"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/eventstore/spans"
)

// serve takes every call through the checks, in the order of the contract: route and path, origin, failed
// authentications of the address, authentication, the caller's state, kind and role, media type, size, JSON and
// fields, the tier's limit, idempotency; then the handler.
func (s *Server) serve(c *gin.Context) {
	call := &call{
		op: s.routes.of(c), requestID: s.NewID().String(), address: s.clientAddress(c.Request), userAgent: c.Request.UserAgent(),
		command: s.NewID(), ifMatch: parseIfMatch(c.Request.Header.Values("If-Match")), began: s.Clock(), header: c.Writer.Header(),
	}
	ctx, span := s.begin(c, call.op)
	call.span, call.ctx = span, context.WithValue(ctx, callKey{}, call)
	c.Request = c.Request.WithContext(call.ctx)
	c.Header("X-Request-Id", call.requestID)
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	if call.op != nil && call.op.StrictCORS {
		c.Header("Cache-Control", "no-store, private")
	}
	defer s.record(c, call)
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(r)
			}
			s.refuse(c, fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	allowed := s.admitOrigin(c)
	if s.preflight(c, allowed) {
		return
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
	if err := s.once(c, call); err != nil {
		s.refuse(c, err)
	}
}

// check goes through everything that can be refused before a handler runs.
func (s *Server) check(c *gin.Context, call *call, originAllowed bool) error {
	for _, p := range c.Params {
		if p.Key == "version" && !counted(p.Value) || p.Key != "version" && !canonical(p.Value) {
			return errNoSuchPath
		}
	}
	if call.op.StrictCORS && !originAllowed {
		return originNotAllowed() // a credential does not go to pages of others at all
	}
	if call.op.Caller == "anyone" {
		return nil
	}
	if err := s.authenticate(c, call); err != nil {
		return err
	}
	if err := s.checkInput(c, call); err != nil {
		if lerr := s.count(c, call, s.fallbackTier(call)); lerr != nil {
			return lerr
		}
		s.announce(c, call)
		return err
	}
	if err := s.count(c, call, call.op.Tier); err != nil {
		return err
	}
	return s.awaitPosition(c, call)
}

// authenticate finds the caller and holds him against the call. On a fetch a cached state is enough: the vend
// decides on the log.
func (s *Server) authenticate(c *gin.Context, call *call) error {
	if err := s.checkFailures(call); err != nil {
		return err
	}
	key, err := presented(c.Request)
	if err == nil {
		ctx, span := spans.Step(call.ctx, "authenticate", call.op.Caller)
		switch key.Kind {
		case keys.Agent:
			call.caller, err = s.Callers.Agent(ctx, key, call.op.ID == "fetchCredential")
		case keys.Service:
			call.caller, err = s.Callers.Service(ctx, key)
		}
		spans.End(span, "")
	}
	var refusal *domain.Error
	if errors.As(err, &refusal) && refusal.Kind == domain.KindUnauthenticated {
		s.countFailure(call)
		return err
	}
	if err != nil && call.caller.Actor.ID == "" {
		return err
	}
	s.announce(c, call)
	if err != nil {
		return s.refusedFetch(c, call, refusal, err)
	}
	return authorize(call)
}

// refusedFetch records that a suspended agent asked for a credential. A tool that there is not is none: what is
// refused here is not counted yet, so whoever names a new one each time could fill the log.
func (s *Server) refusedFetch(c *gin.Context, call *call, refusal *domain.Error, err error) error {
	if refusal == nil || call.op.ID != "fetchCredential" {
		return err
	}
	catalog, cerr := s.Tools.Catalogs.Fresh(call.ctx, call.caller.Organization)
	if cerr != nil {
		return cerr
	}
	if _, offered := catalog.State.Tools[c.Param("id")]; !offered {
		return err
	}
	if rerr := s.Refusals.Record(call.ctx, call.meta(), call.caller.Actor.ID, c.Param("id"), refusal.Code); rerr != nil {
		return rerr
	}
	return err
}

// presented reads the key of a call.
func presented(r *http.Request) (keys.Key, error) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		return keys.Key{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_missing", Detail: "This call needs a key.",
			Hint: "Send it as Authorization: Bearer sk_agent_… (agents) or Bearer sk_admin_… (admins).",
		}
	}
	scheme, text, _ := strings.Cut(header[0], " ")
	key, err := keys.Parse(strings.TrimSpace(text))
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || err != nil {
		return keys.Key{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_malformed", Detail: "This is no key of ours, or it is mistyped: the checksum does not match.",
			Hint: "Send the whole key as Authorization: Bearer sk_agent_… or Bearer sk_admin_….",
		}
	}
	return key, nil
}

// permissions says what each role may do.
var permissions = map[domain.Role][]string{
	domain.RoleOwner:    {"read", "approve", "manage"},
	domain.RoleAdmin:    {"read", "approve", "manage"},
	domain.RoleApprover: {"read", "approve"},
	domain.RoleAuditor:  {"read"},
}

func authorize(call *call) error {
	isAgent := call.caller.Actor.Type == domain.ActorAgent
	if isAgent != (call.op.Caller == "agent") {
		hint := "Agents call /api/me and /api/tools."
		if !isAgent {
			hint = "Admins call /api/admin/…; an agent's calls need the agent's own key."
		}
		return &domain.Error{Kind: domain.KindForbidden, Code: "wrong_caller", Detail: "This key is not for this call.", Hint: hint}
	}
	if isAgent {
		return nil
	}
	if slices.Contains(permissions[call.caller.Role], call.op.Permission) {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindForbidden, Code: "role_insufficient", Detail: "The role " + string(call.caller.Role) + " may not do this.",
		Hint: "See your role with GET /api/admin/me, and ask an owner.",
	}
}

// once runs the handler, under an idempotency key when the call has one.
func (s *Server) once(c *gin.Context, call *call) error {
	header := c.Request.Header.Values("Idempotency-Key")
	if len(header) == 0 || !takesIdempotencyKey(call.op) {
		c.Next()
		return nil
	}
	return s.runOnce(c, call, header[0])
}

func takesIdempotencyKey(op *contract.Operation) bool {
	return op.Command && op.Method != http.MethodGet
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

// record writes the one line that each call leaves in the log of the process, and tells whoever counts.
func (s *Server) record(c *gin.Context, call *call) {
	took := s.Clock().Sub(call.began)
	call.end(c.Writer.Status())
	if s.OnAnswer != nil {
		s.OnAnswer(answered(c, call, took))
	}
	attrs := []slog.Attr{
		slog.String("request_id", call.requestID), slog.String("method", c.Request.Method), slog.String("route", c.FullPath()),
		slog.Int("status", c.Writer.Status()), slog.Duration("duration", took),
	}
	if call.caller.Actor.ID != "" {
		attrs = append(attrs, slog.String("actor_type", string(call.caller.Actor.Type)), slog.String("actor_id", call.caller.Actor.ID))
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
