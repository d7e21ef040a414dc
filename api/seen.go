package api

import (
	"context"
	"encoding/json"
	"strings"

	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/domain"
)

// seenIn reads If-Match as the digests of what a human was shown: nil where it is absent or *,
// empty where no tag in it is ours. A weak tag counts, because compressing proxies make it of a
// strong one.
func seenIn(headers []string) domain.Seen {
	header := strings.TrimSpace(strings.Join(headers, ","))
	if header == "" || header == "*" {
		return nil
	}
	seen := domain.Seen{}
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if quoted := strings.Trim(tag, `"`); tag == `"`+quoted+`"` {
			seen = append(seen, quoted)
		}
	}
	return seen
}

// decision is meta for a command about something that a human was shown: it honours If-Match.
func (c *call) decision() loop.Meta {
	m := c.meta()
	m.Seen = c.seen
	return m
}

// shows tags the answer with the digest of its content, which a decision about it names.
func (c *call) shows(digest string) { c.header.Set("ETag", `"`+digest+`"`) }

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
