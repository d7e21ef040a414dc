package main

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
)

// mailbox is a mail server that takes everything: the few lines of SMTP that a client needs.
type mailbox struct {
	address string

	mu    sync.Mutex
	mails []letter
}

// letter is a mail as it came.
type letter struct {
	to      string // all whom the envelope names
	headers mail.Header
	text    string // the first line
	body    string // all of it
}

// header is a header decoded.
func (l letter) header(name string) string {
	text, err := new(mime.WordDecoder).DecodeHeader(l.headers.Get(name))
	if err != nil {
		return err.Error()
	}
	return text
}

// read takes a letter out of its envelope.
func read(to []string, raw string) letter {
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return letter{text: err.Error()}
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	text, _, _ := strings.Cut(string(body), "\n")
	if err != nil {
		return letter{text: err.Error()}
	}
	return letter{to: strings.Join(to, " "), headers: m.Header, text: strings.TrimRight(text, "\r"), body: string(body)}
}

func startMailbox(t testing.TB) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	m := &mailbox{address: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go m.serve(conn)
		}
	}()
	return m
}

func (m *mailbox) all() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]letter{}, m.mails...)
}

func (m *mailbox) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 mailbox")
	var to []string
	for lines.Scan() {
		line := lines.Text()
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "EHLO", "HELO":
			say("250 mailbox")
		case "RCPT":
			to = append(to, line[len("RCPT TO:"):])
			say("250 ok")
		case "DATA":
			say("354 go on")
			var raw strings.Builder
			for lines.Scan() && lines.Text() != "." {
				raw.WriteString(lines.Text() + "\r\n")
			}
			m.mu.Lock()
			m.mails = append(m.mails, read(to, raw.String()))
			m.mu.Unlock()
			to = nil
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
