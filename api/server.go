package api

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"agentkey/api/contract"
	"agentkey/api/door"
	"agentkey/api/live"
	"agentkey/audit"
	"agentkey/audit/export"
	"agentkey/audit/formats"
	"agentkey/commands"
	"agentkey/domain"
	"agentkey/integrations/setupguide"
	"agentkey/integrations/templates"
	"agentkey/readmodels"
)

// Server answers the HTTP calls. Its fields are what it needs, filled in where the program is put
// together.
type Server struct {
	Door        *door.Door
	Agents      *commands.Agents
	Grants      *commands.Grants
	Rules       *commands.Rulebook
	Tools       *commands.Tools
	Suggestions *commands.Suggestions
	Notes       *commands.Notes
	Workloads   *commands.Workloads
	Fetch       *commands.Fetch
	Refusals    *commands.Refusals
	Once        *commands.Once
	Models      *readmodels.DB
	Export      *export.Source
	Ledger      *audit.Ledger

	Cosignatures *commands.Cosignatures
	Erasures     *commands.Erasures

	Organizations *commands.Organizations
	People        *commands.People
	SignIns       *commands.SignIns
	Secure        bool  // browsers come over HTTPS, so cookies are bound to it
	Dashboard     fs.FS // static files of a dashboard on the same origin; nil: there is none

	Channels   *commands.Channels
	Deliveries *commands.Deliveries

	// Templates are what adding a tool can start from.
	Templates *templates.Set

	SetupGuide *setupguide.Guide

	// WaitFor returns when the read model has reached a position, or with the context's error.
	WaitFor func(ctx context.Context, position uint64) error
	// Reveal opens what an event holds about the person or machine that made a call.
	Reveal func(ctx context.Context, organization, private string) (Personal, error)
	// RevealName opens the sealed name of a person or a service token; it is zero when it was erased.
	RevealName func(ctx context.Context, organization, person, sealed string) (commands.Known, error)
	// Live tells readers what happens.
	Live *live.Hub
	// Ready says how the process is, as of a second ago at most; see GET /readyz.
	Ready func() Readiness
	// Integrity says what was found in an organization's streams that isn't ours, or is gone.
	Integrity func(ctx context.Context, organization string) (AuditIntegrity, error)
	// Keys are those that sign or have signed; see GET /.well-known/agentkey-keys.json.
	Keys func() (formats.Keys, error)
	// SecurityContacts are URIs, most preferred first; see GET /.well-known/security.txt.
	SecurityContacts []string
	// Full reports whether a call came over a connection beyond their limit; nil: there is no limit.
	Full func(ctx context.Context) bool
	// OnAnswer receives every call once it was answered. It must not block, and may be nil.
	OnAnswer func(Answered)

	Features MetaFeatures // that the operator has configured; see GET /api/admin/meta

	Version string // of this program
	Demo    bool   // everything here is made up, and every answer says so

	// Stopping ends when no more calls are taken. What lasts long ends with it.
	Stopping context.Context //nolint:containedctx // it outlives every call

	// Tracer makes a span of every call but those of anyone; nil: nothing is traced.
	Tracer trace.Tracer

	Clock  func() time.Time
	NewID  func() uuid.UUID
	Logger *slog.Logger

	document document // of OpenAPI
	routes   routes
	exports  chan struct{} // one for each that is being written
}

// Personal is what an event holds about the person or machine that made a call; any of it may be
// absent.
type Personal struct{ Label, Address, UserAgent string }

// Handler returns the whole HTTP face. It fails only when the document and the code disagree.
func (s *Server) Handler() (http.Handler, error) {
	whole, err := contract.Load()
	if err != nil {
		return nil, err
	}
	s.document, s.routes = newDocument(whole.JSON), newRoutes(whole.Operations)
	s.exports = make(chan struct{}, exportsAtOnce)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.ContextWithFallback = true // or the context of a call would never end
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.RemoveExtraSlash = false
	if err := engine.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	engine.Use(s.serve)
	engine.NoRoute(func(c *gin.Context) {
		if !s.serveDashboard(c) {
			s.refuse(c, s.routes.notFound(c))
		}
	})
	engine.NoMethod(func(c *gin.Context) { s.refuse(c, s.routes.methodNotAllowed(c)) })
	RegisterHandlersWithOptions(headToo{engine, s.routes}, StrictHandler{
		Server: s, Failed: func(c *gin.Context, err error) { s.refuse(c, s.forbidden(callOf(c), err)) },
		// What was validated can be bound; where the document takes more than a type does, the input is
		// at fault.
		Malformed: func(c *gin.Context, _ error) { s.refuse(c, domain.Invalid("body", "a value is out of range")) },
	}, GinServerOptions{ErrorHandler: func(c *gin.Context, err error, _ int) {
		// What the document asks of parameters was checked before; this is what its types ask of them.
		s.refuse(c, domain.Invalid("parameters", "a parameter is malformed"))
	}})
	return engine, nil
}

// headToo registers HEAD beside each GET that has no effect. What the generator takes for one step
// of a path is the rest of it where ginPath has it so.
type headToo struct {
	gin.IRouter
	routes routes
}

// GET implements gin.IRoutes.
func (r headToo) GET(path string, handlers ...gin.HandlerFunc) gin.IRoutes {
	path = strings.Replace(path, ":path", "*path", 1)
	if op := r.routes.operations["GET "+path]; op != nil && !op.Command {
		r.HEAD(path, handlers...)
	}
	return r.IRouter.GET(path, handlers...)
}

// errCutOff is the refusal of a body of which a part didn't arrive.
var errCutOff = &domain.Error{
	Kind: domain.KindInvalid, Code: "malformed_json", Detail: "The body ended before it was complete.",
	Hint: "Send the whole body, with the Content-Length that it has.",
}
