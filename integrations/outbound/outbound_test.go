package outbound

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server serves on an address of loopback and counts what reaches it.
func server(t *testing.T, address string, handler http.HandlerFunc) (base string, calls *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	calls = new(atomic.Int64)
	s := httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { calls.Add(1); handler(w, r) }),
	)
	_ = s.Listener.Close()
	s.Listener = listener
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, calls
}

func get(t *testing.T, c *Client, target string) (status int, text string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(raw), err
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func TestNothingOfThisMachineIsReachedUnlessItIsAllowed(t *testing.T) {
	base, calls := server(t, "127.0.0.1", hello)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	// A proxy from the environment would dial without our check.
	t.Setenv("HTTP_PROXY", base)
	strict := New(Options{Timeout: 5 * time.Second, Redirects: 5})
	for _, host := range []string{
		"127.0.0.1", "localhost", "LocalHost", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[fe80::1%25lo]",
		"[::1%25lo]", "[::ffff:127.0.0.1%25lo]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", "127.1",
		"2130706433", "0x7f000001", "0177.0.0.1",
	} {
		_, _, err := get(t, strict, "http://"+host+":"+port+"/")
		if err == nil {
			t.Errorf("%s was called", host)
			continue
		}
		for _, told := range []string{"127.0.0.1", "::1", port, "dial", "lookup", "http://"} {
			if strings.Contains(err.Error(), told) {
				t.Errorf("%s: the error tells %q: %v", host, told, err)
			}
		}
		// What is left are names to us, and whether a resolver takes them for an address is its own
		// affair.
		isAddress := strings.HasPrefix(host, "[") || strings.EqualFold(host, "localhost") || host == "127.0.0.1" ||
			host == "0.0.0.0"
		if isAddress && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if calls.Load() != 0 {
		t.Fatalf("%d calls arrived", calls.Load())
	}
	allowed := New(Options{Network: Network{Allow: allowed(ranges("127.0.0.0/8"))}, Timeout: 5 * time.Second})
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "localhost"} {
		if status, text, err := get(t, allowed, "http://"+host+":"+port+"/"); status != 200 || text != "hello" {
			t.Errorf("%s: %d %q %v", host, status, text, err)
		}
	}
}

func TestURLsThatNoAddressMakesRightAreRefused(t *testing.T) {
	c := New(Options{Network: Network{Allow: allowed(ranges("0.0.0.0/0", "::/0"))}, Timeout: 5 * time.Second})
	for _, target := range []string{
		"ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:70/", "http://user:canary@127.0.0.1/",
		"http://:80/", "http:///x", "//x", "",
	} {
		if _, _, err := get(t, c, target); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestARedirectIsFollowedOnlyWhereItsTargetMayBeCalled(t *testing.T) {
	inside, calls := server(t, "127.0.0.2", hello)
	var referer atomic.Value
	base, _ := server(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		referer.Store(r.Header.Get("Referer"))
		switch left := strings.TrimPrefix(r.URL.Path, "/hops/"); {
		case r.URL.Path == "/inside":
			http.Redirect(w, r, inside, http.StatusFound)
		case r.URL.Path == "/inside-kept":
			http.Redirect(w, r, inside, http.StatusTemporaryRedirect)
		case r.URL.Path == "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case r.URL.Path == "/password":
			http.Redirect(w, r, "http://user:pass@"+r.Host+"/hops/", http.StatusFound)
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusMovedPermanently)
		case left != "":
			http.Redirect(w, r, "/hops/"+left[1:], http.StatusSeeOther)
		default:
			hello(w, r)
		}
	})
	five := New(Options{Network: Network{Allow: allowed(ranges("127.0.0.1/32"))}, Timeout: 5 * time.Second, Redirects: 5})
	if _, text, err := get(t, five, base+"/hops/xxxxx?secret=1"); text != "hello" || err != nil ||
		referer.Load() != "" {
		t.Errorf("five redirects: %q %v, and the last host was told %q", text, err, referer.Load())
	}
	for _, path := range []string{"/hops/xxxxxx", "/inside", "/inside-kept", "/file", "/password", "/loop"} {
		if _, _, err := get(t, five, base+path); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := get(
		t, New(Options{Network: Network{Allow: allowed(ranges("127.0.0.0/8"))}, Timeout: 5 * time.Second}), base+"/inside",
	); !errors.Is(err, ErrRefused) {
		t.Errorf("a redirect was followed: %v", err)
	}
	if calls.Load() != 0 {
		t.Errorf("%d calls arrived where none may", calls.Load())
	}
}

func TestWhatFailsTellsNoAddress(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + free.Addr().String()
	_ = free.Close()
	left := make(chan struct{})
	base, _ := server(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		case "/drip":
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			<-r.Context().Done()
			close(left)
		}
	})
	secure := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // we refuse its certificate
	secure.StartTLS()
	t.Cleanup(secure.Close)
	c := New(Options{Network: Network{Allow: allowed(ranges("127.0.0.0/8"))}, Timeout: 30 * time.Second})
	hurried := New(Options{Network: Network{Allow: allowed(ranges("127.0.0.0/8"))}, Timeout: 200 * time.Millisecond})
	for target, want := range map[string]string{
		closed + "/canary": "nothing answers there", base + "/cut": "the connection failed", base + "/drip": "in time",
		base + "/silent":       "in time",
		secure.URL + "/canary": "certificate", "http://nowhere.invalid/canary": "host name can't be resolved",
	} {
		by := c
		if want == "in time" {
			by = hurried
		}
		_, _, err := get(t, by, target)
		u, _ := url.Parse(target)
		if err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), u.Port()) && u.Port() != "" || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", target, err)
		}
		if want == "in time" && !errors.Is(err, ErrTimeout) {
			t.Errorf("%s: %v is not ErrTimeout", target, err)
		}
	}
	<-left
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, base, nil)
	answer, err := c.Do(request)
	if err == nil {
		_ = answer.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left got %v", err)
	}
}
