package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
)

// shown makes a handshake and returns the number of the certificate that came, with the connection.
func shown(t *testing.T, address string) (int64, *tls.Conn) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // its number is what is asked for
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), conn
}

// alive asks over a connection that is open.
func alive(t *testing.T, conn *tls.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 ||
		!strings.Contains(string(text), "alive") {
		t.Errorf("over the open connection: %d %s %v", response.StatusCode, text, err)
	}
}

// TestANewCertificateNeedsNoRestart replaces the files of a process and sends it SIGHUP: new
// handshakes get the new certificate, a pair that is none changes nothing, and a connection lives
// through all of it.
func TestANewCertificateNeedsNoRestart(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	p := newProgram(t, []string{"AGENTKEY_TLS_CERT=" + cert, "AGENTKEY_TLS_KEY=" + key})
	p.command = &exec.Cmd{}
	p.launch()
	address := strings.TrimPrefix(p.await(p.stdout, listens), "https://")
	number, open := shown(t, address)
	if number != 1 {
		t.Fatalf("the first certificate is number %d", number)
	}
	alive(t, open)
	hangup := func() {
		if err := p.command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}

	certify(t, cert, key, 2, time.Now().Add(time.Hour))
	hangup()
	wait.Until(t, "number 2", func() bool { number, _ := shown(t, address); return number == 2 })
	alive(t, open)

	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	wait.Until(t, "told", func() bool { return strings.Contains(p.stderr.String(), "can't be used") })
	if number, _ := shown(t, address); number != 2 {
		t.Errorf("after a pair that is none the certificate is number %d", number)
	}
	alive(t, open)

	certify(t, cert, key, 3, time.Now().Add(time.Hour))
	hangup()
	wait.Until(t, "number 3", func() bool { number, _ := shown(t, address); return number == 3 })
	alive(t, open)
}

// TestANewCertificateIsFoundWithoutASignal ticks by itself.
func TestANewCertificateIsFoundWithoutASignal(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	c := Config{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key}
	said := newLines()
	pair, err := openKeyPair(c, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	listener, _, err := listen(t.Context(), c, pair, newMetrics(&health{}, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }() // it ends with the server
	defer server.Close()
	again := func(want int64, words int) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		tick, ended := make(chan time.Time), make(chan struct{})
		go func() {
			pair.watch(ctx, tick, nil)
			close(ended)
		}()
		tick <- time.Now()
		cancel()
		<-ended // so that it looks at nothing while the test writes the files
		if number, _ := shown(t, listener.Addr().String()); number != want ||
			strings.Count(said.String(), "\n") != words {
			t.Errorf("number %d, not %d:\n%s", number, want, said)
		}
	}
	again(1, 0)
	certify(t, cert, key, 2, time.Now().Add(time.Hour))
	again(2, 1)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	again(2, 2)
	again(2, 2)
	certify(t, cert, key, 3, time.Now().Add(time.Hour))
	again(3, 3)
}
