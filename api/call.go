package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"agentkey/api/body"
	"agentkey/api/contract"
	"agentkey/api/door"
	"agentkey/commands/loop"
	"agentkey/domain"
)

// call is one HTTP call as it goes through the checks.
type call struct {
	door.Call

	ctx     context.Context //nolint:containedctx // the request's own; gin's is reused after the call
	op      *contract.Operation
	body    body.Body
	raw     []byte // the body as it came
	command uuid.UUID
	since   uint64
	ifMatch condition
	began   time.Time
	code    string // of the refusal, for the record
	// unfinished says that a part of it may succeed when it is tried again under its idempotency key.
	unfinished bool
	local      bool // it comes from this machine, see door.Door.Local
	header     http.Header
	headOnly   bool       // its caller wants no body
	span       trace.Span // nil: it is not traced
}

// forget overwrites what the call still holds of its body, which may be a credential. What a parser
// made of it are strings, which can't be overwritten.
func (c *call) forget() {
	clear(c.raw)
	clear(c.body.JSON)
}

type callKey struct{}

// callOf returns the call that a context belongs to.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.(*gin.Context); ok {
		ctx = c.Request.Context()
	}
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		c = &call{ctx: ctx}
	}
	return c
}

// meta is who gives the command of this call.
func (c *call) meta() loop.Meta {
	return loop.Meta{
		Organization: c.Caller.Organization, Actor: c.Caller.Actor, CommandID: c.command, RequestID: c.RequestID,
		Address: c.Address, UserAgent: c.UserAgent, Since: c.since, Tools: c.Caller.Tools,
	}
}

// edit is meta for a command on a resource that people edit: it honours If-Match.
func (c *call) edit() loop.Meta {
	m := c.meta()
	m.IfRevision = c.ifMatch.revisions()
	return m
}

// done gives the client the position of its command in the log.
func (c *call) done(position uint64) {
	c.header.Set("X-Event-Position", strconv.FormatUint(position, 10))
}

// tag names the revision of the resource that is answered.
func (c *call) tag(revision int) {
	c.header.Set("ETag", tagOf(revision))
}

// addresses reports whether a parameter of a path can be that of something there is.
func addresses(p gin.Param) bool {
	switch p.Key {
	case "path": // what it names, its handler knows
		return true
	case "version":
		return counted(p.Value)
	}
	return canonical(p.Value)
}

// eventID is the id in a path, which was checked.
func eventID(id string) uuid.UUID { return uuid.MustParse(id) }

// canonical reports whether a path's id is a UUID in the one form in which we write them.
func canonical(id string) bool {
	u, err := uuid.Parse(id)
	return err == nil && u.String() == id
}

// counted reports whether a path's number is one that counts from 1, in the one form in which we
// write it.
func counted(number string) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n > 0 && strconv.Itoa(n) == number
}

var errNoSuchPath = domain.NotFound("path")
