package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/commands"
)

// secretMembers are the members of an answer that a repeat must not show again.
var secretMembers = []string{"api_key", "signing_secret", "secret"}

// kept are the headers of an answer that a repeat gets again.
var kept = []string{"Content-Type", "ETag", "Location", "X-Event-Position"}

// runOnce runs the handler under an idempotency key, or answers with what an earlier call got.
func (s *Server) runOnce(c *gin.Context, call *call, key string) error {
	var body []byte
	if c.Request.Body != nil {
		var err error
		if body, err = io.ReadAll(c.Request.Body); err != nil {
			return err
		}
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
		if len(body) == 0 {
			c.Request.Body = http.NoBody
		}
	}
	query := c.Request.URL.RawQuery
	if call.op.ID == "requestTool" { // how long its caller waits isn't what it asks for
		query = ""
	}
	digest := sha256.New()
	for _, piece := range [][]byte{
		[]byte(c.Request.Method), []byte(c.Request.URL.Path), []byte(query),
		[]byte(c.GetHeader("If-Match")), body,
	} {
		sum := sha256.Sum256(piece)
		digest.Write(sum[:])
	}
	ticket, err := s.Once.Begin(call.ctx, call.meta(), key, digest.Sum(nil))
	if err != nil {
		return err
	}
	if ticket.Replay != nil {
		replay(c, ticket.Replay)
		return nil
	}
	call.command, call.since = ticket.CommandID, ticket.Since
	recorder := &recorder{ResponseWriter: c.Writer}
	c.Writer = recorder
	answered := false // stays so when the handler panics
	defer func() { s.finish(call, ticket, recorder, answered) }()
	c.Next()
	answered = true
	return nil
}

func replay(c *gin.Context, stored *commands.StoredAnswer) {
	for name, value := range stored.Header {
		c.Header(name, value)
	}
	c.Header("Idempotency-Replayed", "true")
	c.Status(stored.Status)
	c.Writer.WriteHeaderNow()
	_, _ = c.Writer.Write(stored.Body) // the client is gone if it fails
	c.Abort()
}

// finish keeps an answer that counts and releases the key after one that may be tried again. A
// caller who left does not undo what was done.
func (s *Server) finish(call *call, ticket commands.Ticket, r *recorder, answered bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(call.ctx), 5*time.Second)
	defer cancel()
	var err error
	if status := r.Status(); !answered || call.unfinished || status >= http.StatusInternalServerError ||
		status == http.StatusTooManyRequests {
		err = s.Once.Release(ctx, ticket)
	} else {
		stored := commands.StoredAnswer{
			Status: status, Header: map[string]string{}, Body: withoutSecrets(r.body.Bytes()),
		}
		for _, name := range kept {
			if value := r.Header().Get(name); value != "" {
				stored.Header[name] = value
			}
		}
		err = s.Once.Complete(ctx, ticket, stored)
	}
	if err != nil {
		s.Logger.WarnContext(
			ctx, "an idempotency key was left reserved", slog.String("request_id", call.RequestID),
			slog.String("error", err.Error()),
		)
	}
}

func withoutSecrets(body []byte) []byte {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return body
	}
	all := len(members)
	for _, name := range secretMembers {
		delete(members, name)
	}
	if len(members) == all {
		return body
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	return raw
}

// recorder keeps what the handler answers while it answers.
type recorder struct {
	gin.ResponseWriter
	body bytes.Buffer
}

// Write implements io.Writer.
func (r *recorder) Write(b []byte) (int, error) {
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}

// WriteString implements io.StringWriter.
func (r *recorder) WriteString(text string) (int, error) {
	r.body.WriteString(text)
	return r.ResponseWriter.WriteString(text)
}
