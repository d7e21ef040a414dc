package api

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// events serves a stream by a function, from a server whose limits of time are shorter than the
// stream.
func events(t *testing.T, every time.Duration, do func(context.Context, *eventStream)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if err := streamEvents(r.Context(), w, time.Now, every, do); err != nil {
			t.Error(err)
		}
	}))
	s.Config.ReadTimeout, s.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func open(t *testing.T, url string) *bufio.Reader {
	t.Helper()
	answer, err := http.Post(url, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	return bufio.NewReader(answer.Body)
}

func TestAStreamLivesLongerThanAnAnswerMay(t *testing.T) {
	pinged := make(chan struct{})
	body := open(t, events(t, 50*time.Millisecond, func(ctx context.Context, s *eventStream) {
		_ = s.event("meta", map[string]string{"text": "a\nb <c>\u2028"})
		select {
		case <-pinged: // long after both limits
		case <-ctx.Done():
			t.Error("it ended before it was done")
		}
		_ = s.event("done", struct{}{})
	}))
	var all strings.Builder
	for pings := 0; ; {
		line, err := body.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			break
		}
		if line == ": ping\n" {
			if pings++; pings == 10 {
				close(pinged)
			}
		}
	}
	rest := strings.ReplaceAll(all.String(), ": ping\n\n", "")
	if want := "event: meta\ndata: {\"text\":\"a\\nb \\u003cc\\u003e\\u2028\"}\n\nevent: done\ndata: " +
		"{}\n\n"; rest != want {
		t.Errorf("it is %q", rest)
	}
}

func TestAStreamEndsWhenItsReaderLeaves(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	url := events(t, time.Hour, func(ctx context.Context, s *eventStream) {
		close(began)
		<-ctx.Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	<-began
	cancel()
	<-ended
}

// TestAReaderThatStallsIsLeft writes to a caller that reads nothing, until what lies between them
// is full. The clock stands before now, so that the time for an event is over as soon as it can't
// be written at once.
func TestAReaderThatStallsIsLeft(t *testing.T) {
	ended := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		began := time.Now()
		_ = streamEvents(r.Context(), w, func() time.Time { return began.Add(300*time.Millisecond - writeWithin) }, time.Hour,
			func(ctx context.Context, s *eventStream) {
				text := strings.Repeat("x", 1<<20)
				var err error
				for err == nil {
					err = s.event("delta", text)
				}
				if !s.gone() {
					t.Error("it does not know that it failed")
				}
				ended <- err
			})
	}))
	t.Cleanup(s.Close)
	connection, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("it was written without an end")
	}
}
