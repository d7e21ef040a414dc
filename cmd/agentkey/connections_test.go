package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
)

// dialled is a connection to the program that sent a text.
func (p *program) dialled(text string) net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err == nil {
		_, err = io.WriteString(conn, text)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// single is a client that opens a connection for each call.
func (p *program) single(key string) client {
	c := p.with(key)
	c.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return c
}

// TestClientsThatSendNothingKeepNobodyOut holds more connections than are allowed, in each of the
// ways that need no key, and calls.
func TestClientsThatSendNothingKeepNobodyOut(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":         "",
		"half a header":   "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A",
		"an idle one":     "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"no body":         "POST /api/admin/tools HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"no body, no key": "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"nowhere":         "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append(unlimited, "AGENTKEY_MAX_CONNECTIONS=8")...)
			for range 3 * 8 {
				p.dialled(text)
			}
			began := time.Now()
			wait.Until(t, "called", func() bool { return p.single(p.Token).call("GET", "/api/admin/me", nil).Status == 200 })
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// fills reads as many bytes as fit.
func fills(conn net.Conn, into []byte) bool {
	_, err := io.ReadFull(conn, into)
	return err == nil
}

// TestWithEveryConnectionAtWorkItSaysSo holds every connection with a call under way.
func TestWithEveryConnectionAtWorkItSaysSo(t *testing.T) {
	t.Parallel()
	const limit = 4
	p := start(t, append(unlimited, scraped, "AGENTKEY_MAX_CONNECTIONS="+fmt.Sprint(limit))...)
	p.single("").must(200, "GET", "/healthz", nil)
	slow := fmt.Sprintf(
		"POST /api/admin/tools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"+
			"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n", p.Token,
	)
	var held []net.Conn
	wait.Until(t, "each place is taken", func() bool {
		conn := p.dialled(slow)
		const expects = "HTTP/1.1 100 Continue\r\n\r\n" // it reads the body
		if said := make([]byte, len(expects)); fills(conn, said) && string(said) == expects {
			held = append(held, conn)
		} else {
			_ = conn.Close() // it was told to come back, and must not hold a spare one
		}
		return len(held) == limit
	})
	var busy answer
	wait.Until(t, "a spare connection is free", func() (answered bool) {
		var err error
		busy, err = p.single(p.Token).try("GET", "/api/admin/me", nil)
		return err == nil
	})
	if busy.Status != 503 || busy.Code() != "busy" || busy.Header.Get("Retry-After") == "" ||
		!strings.Contains(busy.Text("hint"), "AGENTKEY_MAX_CONNECTIONS") {
		t.Errorf("beyond the limit: %s", busy.Body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := p.single("").must(200, "GET", path, nil); path == "/readyz" && a.Text("status") != "ready" {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	// What sends nothing holds none of the few beyond the limit for long, and more are turned away.
	var spare []net.Conn
	for range 2 * spareConnections {
		spare = append(spare, p.dialled(""))
	}
	for _, conn := range spare {
		if err := conn.SetDeadline(time.Now().Add(4 * spareTime)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Fatalf("it is still open: %v", err)
		}
	}
	_, samples := p.scrape()
	for _, outcome := range []string{"busy", "refused"} {
		if samples[`agentkey_http_connections_full_total{outcome="`+outcome+`"}`] == 0 {
			t.Errorf("%s is not counted", outcome)
		}
	}
	if open := samples["agentkey_http_connections"]; open != limit {
		t.Errorf("%v are open", open)
	}
	for _, conn := range held { // the rest of its body arrives, and it is answered
		if _, err := io.WriteString(conn, "{"+strings.Repeat(" ", 98)+"}"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != 400 {
			t.Fatalf("a call under way: %v %v", answer, err)
		}
		_ = answer.Body.Close()
	}
	wait.Until(t, "it takes calls again", func() bool {
		return p.single(p.Token).call("GET", "/api/admin/me", nil).Status == 200
	})
}

// TestTheBoundCountsEveryKindOfConnection looks at connections with TLS: one of HTTP/2 counts once
// however many calls it has, and one with an open stream is never closed to make room, also when
// others come that end no handshake.
func TestTheBoundCountsEveryKindOfConnection(t *testing.T) {
	t.Parallel()
	const limit = 4
	arrived, proceed := make(chan struct{}, 1), make(chan struct{})
	model := startModel(t, func(w http.ResponseWriter, r *http.Request) {
		modelSays(w, modelFacts, "")
		arrived <- struct{}{}
		select {
		case <-proceed:
			modelSays(w, "1. Open the settings.\n2. Make a key.\n", "stop")
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
		case <-r.Context().Done():
		}
	})
	docs := docsServer(t, map[string]string{"/keys": docsPage})
	cert, key := certificate(t)
	p := newProgram(t, append(
		model.env(), scraped, "AGENTKEY_TLS_CERT="+cert, "AGENTKEY_TLS_KEY="+key,
		"AGENTKEY_MAX_CONNECTIONS="+fmt.Sprint(limit),
	))
	p.launch()
	p.begun()
	secure := func(two bool) client {
		c := p.admin()
		protocols := &http.Protocols{}
		protocols.SetHTTP1(!two)
		protocols.SetHTTP2(two)
		c.http = &http.Client{Transport: &http.Transport{
			Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its bound is asked for
		}}
		return c
	}
	two := secure(true)
	wait.Until(t, "ready", func() bool { return two.call("GET", "/readyz", nil).Status == 200 })
	open := func() float64 {
		_, samples := p.scrape()
		return samples["agentkey_http_connections"]
	}
	// Many calls at once over HTTP/2 are one connection, and a stream on it keeps it.
	streamed := make(chan []guideEvent, 1)
	go func() { streamed <- two.guideAll(object{"name": "Acme", "docs_url": docs + "/keys"}) }()
	<-arrived
	var calls sync.WaitGroup
	for range 4 * limit {
		calls.Go(func() { two.must(200, "GET", "/api/admin/me", nil) })
	}
	calls.Wait()
	if n := open(); n != 1 {
		t.Errorf("%v connections are open for one of HTTP/2", n)
	}
	// Others come and go, with TLS and HTTP/1.1, and with a handshake that never ends.
	for range 3 * limit {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	for range 2 * limit {
		one := secure(false)
		wait.Until(t, "called", func() bool {
			a, err := one.try("GET", "/api/admin/me", nil)
			return err == nil && a.Status == 200
		})
	}
	wait.Until(t, "those beyond the bound end", func() bool { return open() <= limit })
	two.must(200, "GET", "/api/admin/me", nil)
	close(proceed)
	if all := <-streamed; len(all) == 0 || all[len(all)-1].Name != "done" {
		t.Errorf("the stream that was open ended with %v", all)
	}
}
