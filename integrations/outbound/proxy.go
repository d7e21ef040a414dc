package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ParseProxy reads http://user:password@proxy:3128. What is wrong is said without repeating it: it
// may hold a password.
func ParseProxy(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("it must be the URL of an HTTP proxy, such as http://user:password@proxy.example.com:3128")
	}
	u.Path = ""
	return u, nil
}

// proxyFault is what a proxy answers itself, or that it doesn't.
type proxyFault struct{ why string }

func (p *proxyFault) Error() string { return p.why }

func proxyAnswered(status int) *proxyFault {
	why := fmt.Sprintf("the proxy that AGENTKEY_OUTBOUND_PROXY names answered %d", status)
	if status == http.StatusProxyAuthRequired {
		why += "; an operator corrects the user and password there"
	}
	return &proxyFault{why}
}

// proxied goes through the proxy, which is the operator's and may be anywhere.
func (n Network) proxied() http.RoundTripper {
	t := transport()
	t.Proxy = http.ProxyURL(n.Proxy)
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil && ctx.Err() == nil {
			return nil, &proxyFault{"the proxy that AGENTKEY_OUTBOUND_PROXY names can't be reached"}
		}
		return conn, err
	}
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return proxyAnswered(answer.StatusCode)
		}
		return nil
	}
	return asked{t}
}

// asked turns the proxy's wish for a password, where it answers for the host, into an error of its
// own.
type asked struct{ next http.RoundTripper }

func (a asked) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := a.next.RoundTrip(request)
	if err == nil && answer.StatusCode == http.StatusProxyAuthRequired {
		_ = answer.Body.Close()
		return nil, proxyAnswered(answer.StatusCode)
	}
	return answer, err //nolint:wrapcheck // the client wraps it
}

// lookupTime is how long a name may take that perhaps only the proxy can resolve.
const lookupTime = time.Second

// checkProxied decides on a host that a proxy dials for us. It can't look at the address that is
// dialled, so it looks at what the name says and, where it resolves here, leads to.
func (n Network) checkProxied(ctx context.Context, u *url.URL) error {
	host, port := u.Hostname(), portOf(u)
	if addr, err := netip.ParseAddr(host); err == nil {
		return n.Allow.check(host, "tcp4", netip.AddrPortFrom(addr, port).String())
	}
	name, known := hostName(host)
	named, _ := n.Allow.name(host, port)
	switch {
	case !known || endsInNumber(name):
		return &refusal{"its host is neither a name nor an address"}
	case named:
		return nil
	}
	within, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(within, "ip", name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() //nolint:wrapcheck // the caller left
	case err != nil && isLocal(name):
		return &refusal{"it lies in a network that is not public; " + allowing(host)}
	case err != nil && port != 80 && port != 443:
		return &refusal{"its port is neither 443 nor 80; " + allowing(host)}
	} // otherwise the proxy may resolve what we can't
	for _, addr := range addrs {
		if err := n.Allow.check(host, "tcp4", netip.AddrPortFrom(addr, port).String()); err != nil {
			return err
		}
	}
	return nil
}

// locals are the ends of names that mean something only on one's own network.
var locals = []string{
	"localhost",
	"local",
	"internal",
	"intranet",
	"lan",
	"home",
	"corp",
	"private",
	"home.arpa",
	"svc",
}

// isLocal reports whether a name can't be that of a public host.
func isLocal(name string) bool {
	return !strings.Contains(name, ".") ||
		slices.ContainsFunc(locals, func(end string) bool { return strings.HasSuffix(name, "."+end) })
}

// ProxyFor is the proxy for a URL that the operator has set, nil for none: such as the language
// model's or the receiver's of traces. It is often near, and then called directly. Without a proxy
// of ours those of the environment count.
func (n Network) ProxyFor(request *http.Request) (*url.URL, error) {
	if n.Proxy == nil {
		return http.ProxyFromEnvironment(request) //nolint:wrapcheck // its error names the variable
	}
	host := request.URL.Hostname()
	addr, err := netip.ParseAddr(host)
	name, known := hostName(host)
	near := err == nil && !isPublic(addr.WithZone("").Unmap()) || err != nil && known && isLocal(name)
	if near || n.Direct.Covers(request.URL) {
		return nil, nil //nolint:nilnil // as http.Transport wants it
	}
	return n.Proxy, nil
}

// Transport leads to what the operator has set, by ProxyFor. It guards nothing.
func (n Network) Transport() http.RoundTripper {
	t := transport()
	t.Proxy = n.ProxyFor
	return t
}
