package outbound

import (
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/integrations/outbound/outboundtest"
)

const patience = 10 * time.Second

// proxy is an HTTP proxy that leads every call to one server, whatever host it names, as one does
// that resolves names which we can't.
type proxy struct {
	url *url.URL

	mu    sync.Mutex
	asked []string // method and host
	auth  []string
}

func startProxy(t *testing.T, leadsTo string, answer int) *proxy {
	t.Helper()
	p := &proxy{}
	target, err := url.Parse(leadsTo)
	if err != nil {
		t.Fatal(err)
	}
	base, _ := server(t, "127.0.0.3", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked, p.auth = append(p.asked, r.Method+" "+r.Host), append(p.auth, r.Header.Get("Proxy-Authorization"))
		p.mu.Unlock()
		switch {
		case answer != 0:
			w.WriteHeader(answer)
		case r.Method == http.MethodConnect:
			outboundtest.Tunnel(r.Context(), w, target.Host)
		case r.URL.Path == "/inside":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		default:
			hello(w, r)
		}
	})
	if p.url, err = ParseProxy(strings.Replace(base, "http://", "http://user:canary@", 1)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proxy) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func TestAProxyLeadsWhereNamesDontResolve(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // its certificate is for another name
	secure.StartTLS()
	t.Cleanup(secure.Close)
	p := startProxy(t, secure.URL, 0)
	c := New(Options{Network: Network{Proxy: p.url}, Timeout: patience, Redirects: 5})
	if status, text, err := get(t, c, "http://hooks.example.invalid/x"); status != 200 || text != "hello" {
		t.Errorf("plain: %d %q %v", status, text, err)
	}
	// The tunnel reaches the server, whose certificate is not that of the host.
	if _, _, err := get(t, c, "https://hooks.example.invalid/x"); err == nil ||
		!strings.Contains(err.Error(), "certificate") {
		t.Errorf("through a tunnel: %v", err)
	}
	want := []string{"GET hooks.example.invalid", "CONNECT hooks.example.invalid:443"}
	if got := p.got(); !slices.Equal(got, want) {
		t.Errorf("the proxy was asked %q", got)
	}
	if p.auth[1] != "Basic "+base64.StdEncoding.EncodeToString([]byte("user:canary")) {
		t.Errorf("it was shown %q", p.auth)
	}
}

func TestAProxyIsAskedForNothingThatIsNotAllowed(t *testing.T) {
	inside, calls := server(t, "127.0.0.1", hello)
	p := startProxy(t, inside, 0)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inside, "http://"))
	c := New(Options{Network: Network{Proxy: p.url}, Timeout: patience, Redirects: 5})
	for _, target := range []string{
		inside, "http://localhost", "http://LOCALHOST.", "http://alertmanager", "http://a.internal", "http://[::1]",
		"http://[::ffff:127.0.0.1]",
		"http://169.254.169.254", "http://127.1", "http://2130706433", "http://0x7f000001", "http://0177.0.0.1",
		"http://1.2.3.4.5",
		"http://hooks.example.invalid:" + port, "https://hooks.example.invalid:8443", "https://8.8.8.8:8443",
		"ftp://hooks.example.invalid",
	} {
		if _, _, err := get(t, c, target); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if got := p.got(); len(got) != 0 || calls.Load() != 0 {
		t.Errorf("the proxy was asked %q", got)
	}
	if _, _, err := get(t, c, "http://hooks.example.invalid/inside"); !errors.Is(err, ErrRefused) {
		t.Errorf("a redirect: %v", err)
	}
	c = New(
		Options{Network: Network{Proxy: p.url, Allow: rules(t, "alertmanager:9093", "127.0.0.0/8")}, Timeout: patience},
	)
	for _, target := range []string{"http://alertmanager:9093/x", inside, "http://localhost:" + port} {
		if status, _, err := get(t, c, target); status != 200 {
			t.Errorf("%s: %d %v", target, status, err)
		}
	}
	if got := p.got(); len(got) != 4 || calls.Load() != 0 {
		t.Errorf("the proxy was asked %q, and the server %d times", got, calls.Load())
	}
	c = New(
		Options{
			Network: Network{Proxy: p.url, Allow: rules(t, "localhost"), Direct: rules(t, "localhost")},
			Timeout: patience,
		},
	)
	if status, _, err := get(t, c, "http://localhost:"+port); status != 200 || len(p.got()) != 4 || calls.Load() != 1 {
		t.Errorf("directly: %d %v, and the proxy was asked %q", status, err, p.got())
	}
}

func TestWhatAProxyRefusesIsSaidToBeItsWord(t *testing.T) {
	for status, want := range map[int]string{
		403: "answered 403", 407: "answered 407; an operator corrects the user and password", 502: "answered 502",
	} {
		p := startProxy(t, "http://127.0.0.1:1", status)
		c := New(Options{Network: Network{Proxy: p.url}, Timeout: patience})
		_, _, err := get(t, c, "https://hooks.example.invalid/x")
		if err == nil || !strings.Contains(err.Error(), "AGENTKEY_OUTBOUND_PROXY names "+want) ||
			errors.Is(err, ErrRefused) ||
			strings.Contains(err.Error(), "canary") {
			t.Errorf("%d: %v", status, err)
		}
	}
	p := startProxy(t, "http://127.0.0.1:1", 407)
	c := New(Options{Network: Network{Proxy: p.url}, Timeout: patience})
	if _, _, err := get(t, c, "http://hooks.example.invalid/x"); err == nil ||
		!strings.Contains(err.Error(), "answered 407") {
		t.Errorf("plain: %v", err)
	}
	gone, err := ParseProxy("http://user:canary@127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"http://hooks.example.invalid", "https://hooks.example.invalid"} {
		_, _, err = get(t, New(Options{Network: Network{Proxy: gone}, Timeout: patience}), target)
		if err == nil || !strings.Contains(err.Error(), "AGENTKEY_OUTBOUND_PROXY names can't be reached") ||
			strings.Contains(err.Error(), "canary") {
			t.Errorf("one that is not there: %v", err)
		}
	}
}

func TestAProxyIsAURL(t *testing.T) {
	for text, right := range map[string]bool{
		"http://proxy:3128": true, "https://user:canary@proxy.example.com/": true, "http://[::1]:3128": true,
		"proxy:3128": false, "": false, "socks5://proxy": false, "http://": false, "http://canary@proxy/path": false,
		"http://proxy?canary": false, "http://[canary": false,
	} {
		if _, err := ParseProxy(text); (err == nil) != right || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatTheOperatorNamesIsCalledDirectlyWhenItIsNear(t *testing.T) {
	p, err := ParseProxy("http://proxy:3128")
	if err != nil {
		t.Fatal(err)
	}
	n := Network{Proxy: p, Direct: rules(t, "collector.example.com")}
	for target, proxied := range map[string]bool{
		"https://api.example.com/v1": true, "http://8.8.8.8:4318": true, "http://collector.example.com:4318": false,
		"http://ollama:11434/v1": false,
		"http://127.0.0.1:4318":  false, "http://localhost:1": false, "http://10.0.0.1": false,
		"http://[fd00::1]": false, "http://otel.monitoring.svc.cluster.local": false,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := n.ProxyFor(request); err != nil || (got != nil) != proxied {
			t.Errorf("%s: %v %v", target, got, err)
		}
	}
}
