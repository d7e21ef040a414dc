// Package eventstore is the way to the event log: the official EventStoreDB client behind one
// concrete wrapper that cures its defects. It knows streams, revisions and bytes; what an event
// means, who signed it and what follows from it are not its business. There is no second
// implementation and no interface over it.
package eventstore

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/metadata"
)

// Config says where the log is.
type Config struct {
	URL      string         // esdb://… or esdb+discover://…; ignored when Socket is set
	Socket   string         // path of the embedded store's unix socket
	RootCAs  *x509.CertPool // of the server's certificate; nil: those of the URL or the host
	Username string         // over TLS only: without it the client would drop both silently, so Open refuses
	Password string
	Logger   *slog.Logger  // what the client says, at debug level; nil: nothing
	Timeout  time.Duration // of one attempt of one call; 0: 3 s
}

// maxCalls bounds the calls under way, those that wait for an outage to end included.
const maxCalls = 1024

// Client is a connection to the log. It connects at the first call and again after an outage, for
// as long as the caller's context lets it. All methods are safe for concurrent use.
type Client struct {
	conf       esdb.Configuration
	logger     *slog.Logger
	leaves     bool // a node that hangs
	timeout    time.Duration
	slots      chan struct{}
	generation atomic.Uint64
	calls      sync.WaitGroup
	closing    sync.RWMutex
	closed     bool
	switching  sync.RWMutex
	present    *link
}

// Open reads the configuration; it does not connect.
func Open(cfg Config) (*Client, error) {
	url := cfg.URL
	if cfg.Socket != "" {
		url = "esdb://127.0.0.1?tls=false"
	}
	conf, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	if cfg.Socket != "" {
		path, err := filepath.Abs(cfg.Socket)
		if err != nil {
			return nil, fmt.Errorf("find the event log's socket: %w", err)
		}
		conf.Address = (&neturl.URL{Scheme: "unix", Path: path}).String()
	}
	if cfg.Username != "" {
		conf.Username, conf.Password = cfg.Username, cfg.Password
	}
	if conf.Username != "" && conf.DisableTLS {
		return nil, errors.New(
			"the event log's user and password would be dropped without TLS: remove them or use tls=true",
		)
	}
	if cfg.RootCAs != nil {
		conf.RootCAs = cfg.RootCAs
	}
	c := &Client{
		timeout: cmp.Or(cfg.Timeout, 3*time.Second), slots: make(chan struct{}, maxCalls), logger: cfg.Logger,
		leaves: cfg.Socket == "", // the embedded store has no second node
	}
	// A discovery that gives up kills the client for good, so it never does. A node that doesn't
	// answer within a second is passed over, and one that is back is found soon.
	conf.MaxDiscoverAttempts, conf.GossipTimeout = math.MaxInt32, 1
	conf.DiscoveryInterval = int(retryTime.Milliseconds())
	conf.DefaultDeadline = &c.timeout
	c.conf = *conf
	if c.present, err = c.newLink(); err != nil {
		return nil, fmt.Errorf("open the event log: %w", err)
	}
	return c, nil
}

// ParseURL reads the URL of an event log. Its error says what is wrong, and holds neither user nor
// password.
func ParseURL(text string) (*esdb.Configuration, error) {
	if err := filesOf(text); err != nil {
		return nil, err
	}
	conf, err := esdb.ParseConnectionString(text)
	if err != nil { // its text may quote the URL
		return nil, errors.New("the URL of the event log is not valid; it looks like esdb://host:2113?tls=true")
	}
	return conf, nil
}

// filesOf looks at the files that a URL names, of which the client says nothing.
func filesOf(text string) error {
	_, query, _ := strings.Cut(text, "?")
	values, err := neturl.ParseQuery(query)
	if err != nil {
		return nil //nolint:nilerr // the client refuses it too
	}
	for key, paths := range values {
		if !slices.ContainsFunc([]string{"tlsCAFile", "userCertFile", "userKeyFile"}, func(name string) bool {
			return strings.EqualFold(name, key)
		}) {
			continue
		}
		pem, err := os.ReadFile(paths[0])
		var path *fs.PathError
		switch {
		case errors.As(err, &path):
			return fmt.Errorf(
				"the file %q that %s names in the URL of the event log can't be read: %w; check the path", paths[0], key,
				path.Err,
			)
		case err != nil:
			return err
		case strings.EqualFold(key, "tlsCAFile") && !x509.NewCertPool().AppendCertsFromPEM(pem):
			return fmt.Errorf(
				"the file %q that %s names in the URL of the event log holds no certificate: it must be in PEM format",
				paths[0], key,
			)
		}
	}
	return nil
}

// Generation changes whenever the client leaves its connection for another. Equal before and after
// two calls, it says that both went to the same node.
func (c *Client) Generation() uint64 { return c.generation.Load() }

// Close waits for the calls under way, then ends the connection. Calls after it fail with
// ErrUnavailable.
func (c *Client) Close() error {
	c.closing.Lock()
	already := c.closed
	c.closed = true
	c.closing.Unlock()
	if already {
		return nil
	}
	// The client panics when it is closed during a failing call. A call that hangs in an outage holds
	// its slot until the log is back; then the process is better left to end with the connection open.
	idle := make(chan struct{})
	go func() {
		c.calls.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return c.current().inner.Close()
	case <-time.After(c.timeout):
		return nil
	}
}

// begin counts a call under way, unless the client was closed.
func (c *Client) begin() bool {
	c.closing.RLock()
	defer c.closing.RUnlock()
	if c.closed {
		return false
	}
	c.calls.Add(1)
	return true
}

// call runs fn beside its caller, because the client ignores contexts while it connects, and bounds
// it by the caller's context and by the timeout of one attempt. fn must write only to what it
// returns.
func call[T any](ctx context.Context, c *Client, fn func(context.Context, *link) (T, error)) (T, error) {
	var none T
	if !c.begin() {
		return none, fmt.Errorf("%w: the client is closed", ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	type outcome struct {
		value T
		err   error
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		cancel()
		c.calls.Done()
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	// The client puts this header where it never reaches the wire.
	outgoing := metadata.AppendToOutgoingContext(ctx, "requires-leader", "true")
	done := make(chan outcome, 1)
	l := c.take()
	go func() {
		defer l.uses.Done()
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o.err = fmt.Errorf("%w: the client panicked: %v", ErrUnavailable, r)
			}
			done <- o
			<-c.slots
			c.calls.Done()
		}()
		o.value, o.err = fn(outgoing, l)
	}()
	defer cancel()
	slow := time.NewTimer(c.timeout / 2)
	defer slow.Stop()
	for {
		select {
		case o := <-done:
			c.ended(l, o.err)
			return o.value, classify(o.err)
		case <-slow.C:
			c.suspect(l) //nolint:contextcheck // the probe is shared by all who wait for the node
		case <-l.left.Done():
			return none, errHangs
		case <-ctx.Done():
			return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}
