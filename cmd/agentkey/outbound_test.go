package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
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

// TestARefusedReceiverNamesTheSettingThatDecides adds channels that an operator has not allowed,
// and then the same with the setting that the refusals name.
func TestARefusedReceiverNamesTheSettingThatDecides(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	port := hook.URL[strings.LastIndexByte(hook.URL, ':')+1:]
	p := start(t, unlimited...)
	admin := p.admin()
	channel := func(kind, url string) object {
		return object{"kind": kind, "name": "Alerts", "url": url, "topics": []string{"access_requested"}}
	}
	for _, c := range []struct{ kind, url, add string }{
		{"webhook", "http://alertmanager:9093/hook", "alertmanager"},
		{"webhook", "http://localhost:" + port, "localhost"},
		{"webhook", "http://10.0.0.5:9093/hook", "10.0.0.5"},
		{"slack", "https://mattermost.corp.example/hooks/x", "mattermost.corp.example"},
	} {
		a := admin.refused(400, "validation_failed", "POST", channelsPath, channel(c.kind, c.url))
		if !namesField(a, "url") ||
			!strings.Contains(a.Text("detail"), "an operator adds "+c.add+" to AGENTKEY_OUTBOUND_ALLOW") {
			t.Errorf("%s: %s", c.url, a.Body)
		}
	}
	secure := admin.must(201, "POST", channelsPath, channel("webhook", "https://localhost:"+port)).Text("id")
	a := admin.must(200, "POST", channelsPath+"/"+secure+"/test", nil)
	if !strings.Contains(
		a.Text("problem"),
		"not public; to allow it, an operator adds localhost to AGENTKEY_OUTBOUND_ALLOW",
	) {
		t.Errorf("the test: %s", a.Body)
	}
	for _, allow := range []string{"localhost", "LOCALHOST.:" + port, "example.com, localhost"} {
		q := start(t, append([]string{"AGENTKEY_OUTBOUND_ALLOW=" + allow}, unlimited...)...)
		admin := q.admin()
		for _, kind := range []string{"webhook", "slack", "discord"} {
			id := admin.must(201, "POST", channelsPath, channel(kind, "http://LocalHost:"+port+"/hook")).Text("id")
			if a := admin.must(200, "POST", channelsPath+"/"+id+"/test", nil); a.At("delivered") != true {
				t.Errorf("with %s, %s: %s", allow, kind, a.Body)
			}
		}
		a := admin.refused(400, "validation_failed", "POST", channelsPath, channel("webhook", "http://127.0.0.1:"+port))
		if !namesField(a, "url") {
			t.Errorf("an address that is not named: %s", a.Body)
		}
	}
	if n := len(hook.all()); n != 9 {
		t.Errorf("%d calls arrived", n)
	}
}

// wayOut is an HTTP proxy that leads to one server, whatever it is asked for.
type wayOut struct {
	URL string

	mu    sync.Mutex
	asked []string
}

func (w *wayOut) got() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

func startWayOut(t *testing.T, tunnelTo string, plain http.Handler) *wayOut {
	t.Helper()
	w := &wayOut{}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:canary-proxy"))
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.Method+" "+r.Host)
		w.mu.Unlock()
		switch {
		case r.Header.Get("Proxy-Authorization") != want:
			out.WriteHeader(http.StatusProxyAuthRequired)
		case r.Method == http.MethodConnect:
			outboundtest.Tunnel(t.Context(), out, tunnelTo)
		default:
			plain.ServeHTTP(out, r)
		}
	}))
	t.Cleanup(s.Close)
	w.URL = strings.Replace(s.URL, "http://", "http://user:canary-proxy@", 1)
	return w
}

// certificateFor makes a certificate for names, and returns the path of its PEM file.
func certificateFor(t *testing.T, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// TestTheOnlyWayOutIsAProxy runs where no public name resolves: Slack, a webhook, a page of
// documentation and a language model are reached through the proxy, an allowed host as well, and
// one on the own network without it. The proxy's password is written nowhere.
func TestTheOnlyWayOutIsAProxy(t *testing.T) {
	t.Parallel()
	pair, ca := certificateFor(t, "hooks.slack.com", "hooks.example.invalid")
	var mu sync.Mutex
	var posted []string
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		posted = append(posted, r.Host+r.URL.Path)
	}))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	inside := startHook(t, nil)
	way := startWayOut(
		t,
		strings.TrimPrefix(secure.URL, "https://"),
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Host {
			case "docs.example.invalid":
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, "Log in, open Settings, create a key.")
			case "model.example.invalid":
				w.Header().Set("Content-Type", "text/event-stream")
				modelSays(w, modelFacts+"1. Log in\n", "stop")
				_, _ = io.WriteString(w, "data: [DONE]\n\n")
			}
		}),
	)
	p := startProcess(t, append([]string{
		"AGENTKEY_OUTBOUND_PROXY=" + way.URL, "AGENTKEY_OUTBOUND_ALLOW=127.0.0.0/8,alertmanager",
		"AGENTKEY_OUTBOUND_DIRECT=127.0.0.1",
		"AGENTKEY_AI_BASE_URL=http://model.example.invalid/v1", "AGENTKEY_AI_MODEL=test-model", "SSL_CERT_FILE=" + ca,
	}, unlimited...)...)
	admin := p.admin()
	for kind, to := range map[string]string{
		"slack": "https://hooks.slack.com/services/T/B/x", "webhook": "https://hooks.example.invalid/in",
	} {
		id := admin.mustChannel(kind, to).Text("id")
		if a := admin.must(200, "POST", channelsPath+"/"+id+"/test", nil); a.At("delivered") != true {
			t.Errorf("%s: %s", kind, a.Body)
		}
	}
	for _, to := range []string{"http://alertmanager:9093/hook", inside.URL} {
		id := admin.mustChannel("webhook", to).Text("id")
		if a := admin.must(200, "POST", channelsPath+"/"+id+"/test", nil); a.At("delivered") != true {
			t.Errorf("%s: %s", to, a.Body)
		}
	}
	id := admin.mustChannel("webhook", "https://intranet").Text("id")
	if a := admin.must(200, "POST", channelsPath+"/"+id+"/test", nil); a.At("delivered") != false ||
		!strings.Contains(a.Text("problem"), "AGENTKEY_OUTBOUND_ALLOW") {
		t.Errorf("what is not allowed: %s", a.Body)
	}
	guide := admin.must(
		200,
		"POST",
		"/api/admin/tools/setup-guide",
		object{"name": "Zork", "docs_url": "http://docs.example.invalid/keys"},
	)
	if !strings.Contains(string(guide.Body), "Log in") {
		t.Errorf("the guide: %s", guide.Body)
	}
	want := []string{
		"CONNECT hooks.example.invalid:443", "CONNECT hooks.slack.com:443", "GET docs.example.invalid",
		"POST alertmanager:9093", "POST model.example.invalid",
	}
	got := way.got()
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the proxy was asked for %q", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if slices.Sort(posted); !slices.Equal(
		posted,
		[]string{"hooks.example.invalid/in", "hooks.slack.com/services/T/B/x"},
	) ||
		len(inside.all()) != 1 {
		t.Errorf("posted %q, and inside %d", posted, len(inside.all()))
	}
	p.stop()
	if strings.Contains(p.stderr.String()+p.stdout.String(), "canary-proxy") {
		t.Error("the proxy's password is logged")
	}
}

func TestMistakesInTheWayOutAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, said string }{
		{"AGENTKEY_OUTBOUND_ALLOW", "10.0.0.0/8,http://alertmanager", `"http://alertmanager": name a network`},
		{"AGENTKEY_OUTBOUND_ALLOW", "alertmanager:x", "its port must be a number"},
		{"AGENTKEY_OUTBOUND_PROXY", "socks5://user:canary@proxy", "it must be the URL of an HTTP proxy"},
		{"AGENTKEY_OUTBOUND_DIRECT", "10.0.0.0/8", "it has no effect without AGENTKEY_OUTBOUND_PROXY"},
		{"AGENTKEY_DASHBOARD_URL", "https://user:canary@keys.example.com", "it must be a URL such as"},
	} {
		_, err := LoadConfig([]string{c.name + "=" + c.value})
		if err == nil || !strings.Contains(err.Error(), c.name+": "+c.said) && !strings.Contains(err.Error(), c.said) ||
			strings.Contains(err.Error(), "canary") {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
	c, err := LoadConfig(
		[]string{
			"AGENTKEY_OUTBOUND_ALLOW=alertmanager, 10.0.0.0/8",
			"AGENTKEY_OUTBOUND_PROXY_FILE=" + write(t, "proxy", "http://user:canary@proxy:3128\n"),
		},
	)
	if err != nil || c.Outbound.Proxy.Host != "proxy:3128" || len(c.Outbound.Allow) != 2 ||
		!c.Outbound.Allow.Covers(&url.URL{Scheme: "http", Host: "alertmanager:9093"}) {
		t.Errorf("%+v %v", c.Outbound, err)
	}
}
