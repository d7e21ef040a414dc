package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// link is the official client with its connection. When that ends or hangs, it is left for a new
// link.
type link struct {
	inner     *esdb.Client
	connected atomic.Bool     // to a node; else it looks for one
	suspected atomic.Bool     // a probe is under way
	tried     atomic.Bool     // for a while, so that a node that refuses is not asked without a pause
	uses      sync.WaitGroup  // calls and subscriptions
	left      context.Context //nolint:containedctx // ends what is under way when the link is left
	leave     context.CancelFunc
}

// errHangs is why everything on a link ends that was left.
var errHangs = fmt.Errorf("%w: the node doesn't answer any more, a node is looked for", ErrUnavailable)

// newLink connects at its first call.
func (c *Client) newLink() (*link, error) {
	l := &link{}
	conf := c.conf
	conf.Logger = func(level esdb.LogLevel, format string, args ...any) {
		c.observe(l, format)
		if c.logger != nil {
			c.logger.Debug(
				"event log client", slog.String("client_level", level),
				slog.String("text", fmt.Sprintf(format, args...)),
			)
		}
	}
	var err error
	if l.inner, err = esdb.NewClient(&conf); err != nil {
		return nil, err
	}
	time.AfterFunc(retryTime, func() { l.tried.Store(true) })
	l.left, l.leave = context.WithCancel(context.Background())
	return l, nil
}

// observe learns from the client's log, the only place where it says so, when it leaves a
// connection and when it has another.
func (c *Client) observe(l *link, format string) {
	begins := func(texts ...string) bool {
		for _, text := range texts {
			if strings.HasPrefix(format, text) {
				return true
			}
		}
		return false
	}
	switch {
	case begins("starting a new discovery", "Connecting to leader"):
		l.connected.Store(false)
		c.generation.Add(1)
	case begins("retrieved supported features", "selected node", "successfully connected to leader"):
		l.connected.Store(true)
	}
}

func (c *Client) current() *link {
	c.switching.RLock()
	defer c.switching.RUnlock()
	return c.present
}

// take returns the present link for one use more.
func (c *Client) take() *link {
	c.switching.RLock()
	defer c.switching.RUnlock()
	c.present.uses.Add(1)
	return c.present
}

// retryTime is how long a link is kept at least, and the pause between two looks at a node that is
// away.
const retryTime = 200 * time.Millisecond

// use counts one use more of a link, unless it was left.
func (c *Client) use(l *link) bool {
	c.switching.RLock()
	defer c.switching.RUnlock()
	if c.present != l {
		return false
	}
	l.uses.Add(1)
	return true
}

// probeTime is how long a node may take for the simplest answer while a call to it waits.
const probeTime = time.Second

// suspect probes a node that owes an answer, and leaves it when the probe isn't answered either.
// gRPC would find it out by its keep-alive after twenty seconds. While the client looks for a node
// anyway there is nothing to leave.
func (c *Client) suspect(l *link) {
	if !c.leaves || !l.connected.Load() || !l.suspected.CompareAndSwap(false, true) {
		return
	}
	// The call that suspects may have ended meanwhile, so the probe is counted as a call of its own.
	if !c.begin() {
		return
	}
	if !c.use(l) {
		c.calls.Done()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	answered := make(chan struct{})
	go func() {
		defer c.calls.Done()
		defer l.uses.Done()
		s, err := l.inner.ReadAll(
			metadata.AppendToOutgoingContext(ctx, "requires-leader", "true"),
			esdb.ReadAllOptions{Direction: esdb.Backwards, From: esdb.End{}}, 1,
		)
		if err == nil {
			_, err = drain(s)
		}
		if err == nil || ctx.Err() == nil {
			close(answered) // or the connection has ended, and the client looks for another
		}
	}()
	go func() {
		defer l.suspected.Store(false)
		defer cancel()
		select {
		case <-answered:
		case <-ctx.Done():
			c.abandon(l)
		}
	}()
}

// ended looks for another node at once when a connection has ended. Left alone, the client does so
// only after a failed append; reads fail until gRPC has tried the same node again, after longer and
// longer pauses.
func (c *Client) ended(l *link, err error) {
	var client *esdb.Error
	if errors.As(err, &client) && client.Code() == esdb.ErrorUnavailable || status.Code(err) == codes.Unavailable {
		c.abandon(l)
	}
}

// abandon puts a new link in the place of one that hangs or has ended, and ends what is under way
// on that one. A link that looks for a node, or is hardly older than its first try, stays.
//
// The client asks the seeds in random order, so one that hangs costs it the timeout of a gossip now
// and then. Leaving that one out would be worse: a client never leaves its seeds, and would look
// forever if the others went down and that one came back.
func (c *Client) abandon(l *link) {
	c.switching.Lock()
	defer c.switching.Unlock()
	if c.present != l || !l.connected.Load() || !l.tried.Load() {
		return
	}
	next, err := c.newLink()
	if err != nil {
		return // as it was; the next call suspects it again
	}
	c.present = next
	c.generation.Add(1)
	l.leave()
	go func() {
		// The client panics when it is closed during a failing call.
		l.uses.Wait()
		_ = l.inner.Close() // nobody uses it any more
	}()
	if c.logger != nil {
		c.logger.Info("the connection to the event log hangs or has ended; a node is looked for")
	}
}
