// Package outbound is the only HTTP client for addresses that users name: documentation pages,
// webhooks. It looks at the address that is really dialled, so neither a name that resolves
// elsewhere later nor a redirect leads it into the network of this process. Its errors hold
// neither a resolved address nor the URL, which may be a secret. It isn't a client for what the
// operator configures.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is what every error matches that says: this is never called, however often it is
// tried.
var ErrRefused = errors.New("the address is not one that may be called")

// ErrTimeout is what a call ends with that took longer than its client or its context lets it.
var ErrTimeout = fmt.Errorf("it did not answer in time: %w", context.DeadlineExceeded)

// refusal is the reason, for the caller that named the address.
type refusal struct{ why string }

func (r *refusal) Error() string { return ErrRefused.Error() + ": " + r.why }
func (r *refusal) Unwrap() error { return ErrRefused }

// Network is what the operator has set about the way out.
type Network struct {
	Allow  Rules    // hosts that may be called although they are not public, on any port
	Proxy  *url.URL // an HTTP proxy through which everything goes; nil: none
	Direct Rules    // hosts to which the proxy does not lead
}

// Options are what callers differ in.
type Options struct {
	Network
	Timeout   time.Duration // of a whole call, its redirects and its body included
	Redirects int           // that are followed, each checked like the first address; with 0 a redirect is refused
}

// Client calls what its options allow. It takes no proxy from the environment, which would dial for
// us.
type Client struct{ http http.Client }

// New returns a client. It may be used by many at once.
func New(o Options) *Client {
	return &Client{http: http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: redirects(o.Redirects),
		Transport:     guard{network: o.Network, direct: o.direct(), proxied: o.proxied()},
	}}
}

func transport() *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
	}
}

// direct dials what the address that a name leads to lets it.
func (n Network) direct() http.RoundTripper {
	t := transport()
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, &refusal{"it has no address"}
		}
		if label, final := strings.CutSuffix(host, "."); final && !strings.Contains(label, ".") {
			address = net.JoinHostPort(label, port) // a top-level domain is not a host, but this machine is
		}
		dialer := &net.Dialer{
			Timeout: 10 * time.Second,
			ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
				return n.Allow.check(host, network, address)
			},
		}
		return dialer.DialContext(ctx, network, address)
	}
	return t
}

// Do is http.Client's, but that its errors, those of reading the body included, hold nothing of the
// way there. An answer of any status is an answer; its body must be closed.
func (c *Client) Do(request *http.Request) (*http.Response, error) {
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "AgentKey")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, plain(err)
	}
	answer.Body = body{answer.Body}
	return answer, nil
}

// guard looks at the URL of each call, also of one that a redirect led to.
type guard struct {
	network         Network
	direct, proxied http.RoundTripper
}

func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	next, err := g.direct, CheckURL(request.URL)
	if err == nil && g.network.Proxy != nil && !g.network.Direct.Covers(request.URL) {
		next, err = g.proxied, g.network.checkProxied(request.Context(), request.URL)
	}
	if err != nil {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	return next.RoundTrip(request)
}

// CheckURL refuses what no address could make right. It resolves nothing.
func CheckURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return &refusal{"it is neither https nor http"}
	case u.Hostname() == "":
		return &refusal{"it names no host"}
	case u.User != nil:
		return &refusal{"it contains a user name or password"}
	}
	return nil
}

func redirects(most int) func(*http.Request, []*http.Request) error {
	return func(request *http.Request, before []*http.Request) error {
		if most == 0 {
			return &refusal{"it redirects elsewhere"}
		}
		if len(before) > most {
			return &refusal{"it redirects more than " + strconv.Itoa(most) + " times"}
		}
		request.Header.Del("Referer") // it would show the next host the previous URL
		return nil
	}
}

// body hides the addresses in what reading fails with.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = plain(err)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// plain says what failed, without the addresses and names that net and net/http write into their
// errors.
func plain(err error) error {
	var refused *refusal
	var proxy *proxyFault
	var name *net.DNSError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &proxy):
		return proxy
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ErrTimeout
	case errors.As(err, &name):
		return errors.New("its host name can't be resolved")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nothing answers there")
	case errors.As(err, &certificate):
		return errors.New("its certificate is not valid for it")
	}
	return errors.New("the connection failed")
}
