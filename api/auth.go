package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/api/door"
	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
)

// The cookies of a browser: that of its session, and what it keeps while it signs in. Over HTTPS
// their names bind them to this host (RFC 6265bis, 4.1.3.2).
const (
	sessionCookie = "agentkey"
	loginCookie   = "agentkey-login-" // and part of the state, so that two tabs may sign in at once
)

// mostLogins is how many sign-ins a browser has under way. One more takes the others away, because
// no server takes any number of cookies.
const mostLogins = 5

// loginCookieOf is the name of the cookie of the sign-in that has a state.
func loginCookieOf(state string) string { return loginCookie + state[:min(8, len(state))] }

func (s *Server) cookieName(name string) string {
	if s.Secure {
		return "__Host-" + name
	}
	return name
}

// cookie is the value of a cookie of ours, "" for none.
func (s *Server) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// keep sets a cookie of ours until a moment; an empty value takes it away.
func (s *Server) keep(call *call, name, value string, until time.Time) {
	age := int(until.Sub(s.Clock()).Seconds())
	if value == "" {
		age = -1
	}
	call.header.Add("Set-Cookie", (&http.Cookie{ //nolint:gosec // on loopback there is plain HTTP
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: s.Secure,
		SameSite: http.SameSiteLaxMode,
	}).String())
}

// sameOrigin reports whether a call with a cookie can't be the doing of a page of another origin:
// it changes nothing, or the browser says that the page is of this one (Fetch Metadata; browsers
// without it send Origin).
func sameOrigin(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	_, host, found := strings.Cut(r.Header.Get("Origin"), "://")
	return found && strings.EqualFold(host, r.Host)
}

// BeginSession answers POST /auth/session.
func (s *Server) BeginSession(
	ctx context.Context, r BeginSessionRequestObject,
) (BeginSessionResponseObject, error) {
	call := callOf(ctx)
	entering := call.Call
	entering.Operation = door.Operation{Caller: "admin", Permission: "read", Tier: "admin"}
	entering.Authorization = []string{"Bearer " + r.Body.Token}
	if err := s.Door.Admit(call.ctx, &entering); err != nil {
		return nil, s.endedKey(call.ctx, &entering, call.strangers(), err)
	}
	if err := s.Door.Count(call.ctx, &entering); err != nil {
		return nil, err
	}
	begun, err := s.Organizations.BeginSession(call.ctx, call.strangers(), entering.Caller)
	if err != nil {
		return nil, err
	}
	s.signedIn(call, begun)
	return BeginSession204Response{}, nil
}

// strangers is who gives the command of a call whose caller is found on the way.
func (c *call) strangers() loop.Meta {
	return loop.Meta{CommandID: c.command, RequestID: c.RequestID, Address: c.Address, UserAgent: c.UserAgent}
}

func (s *Server) signedIn(call *call, begun commands.BegunSession) {
	s.keep(call, sessionCookie, begun.Text, begun.Session.ExpiresAt)
	call.done(begun.Position)
}

// Logout answers POST /auth/logout.
func (s *Server) Logout(ctx context.Context, _ LogoutRequestObject) (LogoutResponseObject, error) {
	call := callOf(ctx)
	if !call.SameOrigin && (call.Cookie != "" || ofPage(requestOf(ctx))) {
		return nil, door.ForeignPage()
	}
	leaving := call.Call
	leaving.Operation, leaving.Authorization = door.Operation{Caller: "admin", Permission: "read"}, nil
	leaving.Organization = ""
	var err error = organization.SessionOver()
	if call.Cookie != "" {
		err = s.Door.Admit(call.ctx, &leaving)
	}
	if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Kind == domain.KindUnauthenticated {
		head, err := s.Organizations.Loop.Cached(call.ctx, s.Organizations.First) // nobody has a session to end
		if err != nil {
			return nil, err
		}
		s.keep(call, sessionCookie, "", time.Time{})
		call.done(head.Position)
		return Logout204Response{}, nil
	}
	if err != nil {
		return nil, err
	}
	m := call.strangers()
	m.Organization, m.Actor = leaving.Caller.Organization, leaving.Caller.Actor
	done, err := s.Organizations.EndSession(call.ctx, m, leaving.Caller.SessionID, leaving.Caller.Giver())
	if err != nil {
		return nil, err
	}
	s.keep(call, sessionCookie, "", time.Time{})
	call.done(done.Position)
	return Logout204Response{}, nil
}

// ofPage reports whether a browser's page made a call.
func ofPage(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != ""
}

// sentOn answers with the address that the browser goes to.
type sentOn string

func (to sentOn) send(w http.ResponseWriter) error {
	w.Header().Set("Location", string(to))
	w.WriteHeader(http.StatusFound)
	return nil
}

// VisitLoginResponse sends the browser to the provider.
func (to sentOn) VisitLoginResponse(w http.ResponseWriter) error { return to.send(w) }

// VisitFinishLoginResponse sends the browser to where it wanted to go.
func (to sentOn) VisitFinishLoginResponse(w http.ResponseWriter) error { return to.send(w) }

// VisitFollowLinkResponse sends the browser to the first page.
func (to sentOn) VisitFollowLinkResponse(w http.ResponseWriter) error { return to.send(w) }

// callback is where a provider sends the browser back to.
func (s *Server) callback(r *http.Request) string {
	scheme := "http://"
	if s.Secure {
		scheme = "https://"
	}
	return scheme + r.Host + "/auth/callback"
}

// Login answers GET /auth/login.
func (s *Server) Login(ctx context.Context, r LoginRequestObject) (LoginResponseObject, error) {
	call := callOf(ctx)
	to, state, kept, err := s.SignIns.Begin(call.ctx, commands.SignIn{
		Issuer: value(r.Params.Issuer), Organization: value(r.Params.Organization), ReturnTo: value(r.Params.ReturnTo),
		Callback: s.callback(requestOf(ctx)),
	})
	if err != nil {
		return nil, err
	}
	var others []string
	for _, c := range requestOf(ctx).Cookies() {
		if name, is := strings.CutPrefix(c.Name, s.cookieName(loginCookie)); is {
			others = append(others, loginCookie+name)
		}
	}
	if len(others) >= mostLogins {
		for _, name := range others {
			s.keep(call, name, "", time.Time{})
		}
	}
	s.keep(call, loginCookieOf(state), kept, s.Clock().Add(commands.SignInTime))
	return sentOn(to), nil
}

// FinishLogin answers GET /auth/callback.
func (s *Server) FinishLogin(ctx context.Context, _ FinishLoginRequestObject) (FinishLoginResponseObject, error) {
	call, r := callOf(ctx), requestOf(ctx)
	returned := r.URL.Query()
	name := loginCookieOf(returned.Get("state"))
	kept := s.cookie(r, name)
	ask := func(ctx context.Context) error { return s.Door.MayAsk(ctx, &call.Call) }
	begun, to, err := s.SignIns.Finish(call.ctx, call.strangers(), kept, returned, ask)
	if err != nil {
		return nil, s.Door.Failed(call.ctx, &call.Call, err)
	}
	s.keep(call, name, "", time.Time{})
	s.signedIn(call, begun)
	return sentOn(to), nil
}

// ahead reports whether a browser loads or draws a page before somebody goes there, or a preview of
// it.
func ahead(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		purpose := strings.ToLower(r.Header.Get(name))
		if strings.Contains(purpose, "prefetch") || strings.Contains(purpose, "prerender") ||
			strings.Contains(purpose, "preview") {
			return true
		}
	}
	return false
}

// FollowLink answers GET /auth/link.
func (s *Server) FollowLink(ctx context.Context, r FollowLinkRequestObject) (FollowLinkResponseObject, error) {
	call := callOf(ctx)
	if ahead(requestOf(ctx)) {
		return nil, &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy",
			Detail: "A sign-in link works once, so it isn't followed before somebody opens it.", Hint: "Open the link.",
		}
	}
	begun, err := s.Organizations.FollowLink(call.ctx, call.strangers(), r.Params.Code)
	if err != nil {
		return nil, s.Door.Failed(call.ctx, &call.Call, err)
	}
	s.signedIn(call, begun)
	return sentOn("/"), nil
}

// requestOf is the request that a handler answers.
func requestOf(ctx context.Context) *http.Request {
	return ctx.(*gin.Context).Request //nolint:forcetypeassert // the generated code calls handlers with nothing else
}
