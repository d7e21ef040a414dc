package api

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/domain"
)

// decision is meta for a command about something that a human was shown: it honours If-Match.
func (c *call) decision() loop.Meta {
	m := c.meta()
	m.Seen = c.ifMatch.seen()
	return m
}

// shows tags the answer with the digest of its content, which a decision about it names.
func (c *call) shows(digest string) { c.header.Set("ETag", quoted(digest)) }

// quoted is a digest as an ETag (RFC 9110, 8.8.3).
func quoted(digest string) string { return `"` + digest + `"` }

// showsDecided tags an answer that no decision can follow any more.
func (c *call) showsDecided(answer any) {
	raw, _ := json.Marshal(answer) // of strings, numbers and times
	c.shows(domain.Digest(string(raw)))
}

// refreshNames reads what agents are called now, so that an answer names them as their streams do.
func (s *Server) refreshNames(ctx context.Context, agentIDs []string) error {
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(16)
	for _, id := range agentIDs {
		readers.Go(func() error {
			_, err := s.Agents.Loop.Fresh(ctx, id)
			return err
		})
	}
	return readers.Wait()
}
