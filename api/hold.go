package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/api/live"
	"agentkey/readmodels"
)

// onceAndWait runs a request for a tool as once does, and then holds the answer back, if its caller
// says so, until the request is decided. The idempotency key has its answer before the wait, so a
// repeat neither waits for the first call nor asks again: it gets that answer, and waits like the
// first.
func (s *Server) onceAndWait(c *gin.Context, call *call) error {
	seconds, _ := strconv.Atoi(c.Query("wait")) // the document says that it is a number
	if seconds == 0 {
		return s.once(c, call)
	}
	plain := c.Writer
	defer func() { c.Writer = plain }()
	answer := &withheld{ResponseWriter: plain}
	c.Writer = answer
	if err := s.once(c, call); err != nil {
		return err
	}
	var said RequestedAccess
	if plain.Status() == http.StatusCreated && json.Unmarshal(answer.body.Bytes(), &said) == nil &&
		said.Status == AccessRequestStatusPending {
		socket := http.NewResponseController(plain)
		_ = socket.SetReadDeadline(time.Time{}) // who reads on notices that the caller left
		said = s.decidedWithin(call, c.Param("id"), said, time.Duration(seconds)*time.Second)
		_ = socket.SetWriteDeadline(s.Clock().Add(openTime)) // a connection has one
		answer.body.Reset()
		if err := json.NewEncoder(&answer.body).Encode(said); err != nil {
			return err
		}
	}
	_, _ = plain.Write(answer.body.Bytes()) // the client is gone if it fails
	return nil
}

// decidedWithin waits until a request is no longer pending, its time is up, its caller leaves or
// the server stops, and says how it stands then. What can't be read then stays as it was said.
func (s *Server) decidedWithin(call *call, toolID string, said RequestedAccess, within time.Duration) RequestedAccess {
	ctx, cancel := context.WithTimeout(call.ctx, within)
	defer cancel()
	defer context.AfterFunc(s.Stopping, cancel)()
	organization, me := call.Caller.Organization, call.Caller.Actor.ID
	about := live.Wants{Only: func(one *readmodels.Happening) bool {
		return one.ToolID == toolID && (one.AgentID == me || strings.HasPrefix(one.Action, "tool."))
	}}
	for waited := false; ; waited = ctx.Err() != nil {
		reader, _ := s.Live.Read(organization, about) // before it looks, so that it misses nothing
		now, err := s.standing(call, toolID, said)
		if err == nil {
			said = now
		}
		if !waited && said.Status == AccessRequestStatusPending {
			select {
			case <-reader.C:
			case <-ctx.Done():
			}
		}
		s.Live.Leave(organization, reader)
		if waited || said.Status != AccessRequestStatusPending {
			return said
		}
	}
}

// standing says how a request stands, as its streams have it.
func (s *Server) standing(call *call, toolID string, said RequestedAccess) (RequestedAccess, error) {
	newest, is, err := s.Grants.Get(call.ctx, call.meta(), said.RequestID)
	if err != nil {
		return said, err
	}
	out := requestedAccess(toolID, said.RequestID, newest.Grant())
	if open := newest.Grant().Open(); !is || !open && out.Status == AccessRequestStatusPending ||
		open && (newest.Withdrawn() || newest.Tool.Name == "") {
		out = RequestedAccess{RequestID: said.RequestID, Status: AccessRequestStatusWithdrawn}
		out.Message = "The request has ended without a decision. GET /api/tools/" + toolID + " says what you may do now."
	}
	if out.Status != AccessRequestStatusPending {
		call.done(newest.Position)
	}
	return out, nil
}
