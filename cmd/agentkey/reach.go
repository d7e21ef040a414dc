package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// server is a server that a setting names. Its methods say in one sentence why it can't be used,
// and what to do.
type server struct {
	address string // host:port
	setting string
	tls     *tls.Config // nil: the connection is plain

	trust, plain, encrypt string // how to trust an authority, to do without TLS, to use TLS
}

// fault is a sentence about why a server can't be used.
type fault struct {
	text string
	err  error
}

// Error implements error.
func (f *fault) Error() string { return f.text }

// Unwrap implements errors.Unwrap.
func (f *fault) Unwrap() error { return f.err }

// stepTime bounds each step of reaching a server.
const stepTime = 800 * time.Millisecond

// reach takes the steps of a connection one after the other: the name, the port, the handshake. It
// returns nil where the server is there and speaks what it should.
func (s server) reach(ctx context.Context) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return s.explain(err)
	}
	defer func() { _ = conn.Close() }() // it was only to see
	if s.tls != nil {
		return s.explain(handshake(ctx, conn, s.tls))
	}
	// A server that awaits TLS answers a plain client with silence, so it is greeted as it wishes.
	err = handshake(ctx, conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only to see whether it speaks TLS
	if err == nil || isAlert(err) {
		return &fault{text: fmt.Sprintf("%s expects TLS: %s", s.address, s.encrypt), err: err}
	}
	return nil
}

func (s server) dial(ctx context.Context) (net.Conn, error) {
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if net.ParseIP(host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, err
		}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}

func handshake(ctx context.Context, conn net.Conn, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return tls.Client(conn, config).HandshakeContext(ctx)
}

// isAlert reports whether a server that speaks TLS refused a handshake.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// explain turns an error of the network into a fault. What it doesn't know it returns as it is.
func (s server) explain(err error) error {
	if err == nil {
		return nil
	}
	host, _, _ := net.SplitHostPort(s.address)
	say := func(format string, args ...any) error { return &fault{text: fmt.Sprintf(format, args...), err: err} }
	var (
		dns       *net.DNSError
		header    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		network   net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return say("the host name %s doesn't exist: check it in %s, and check the DNS of this machine", host, s.setting)
	case errors.As(err, &dns):
		return say("the host name %s can't be looked up: check the DNS of this machine (%v)", host, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return say("nothing listens on %s: check that the server runs, and check the port in %s", s.address, s.setting)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return say("there is no route to %s: check the address in %s and this machine's network", s.address, s.setting)
	case errors.As(err, &header):
		return say(
			"%s doesn't speak TLS: check the port in %s; if the server is meant to be without TLS, %s", s.address, s.setting,
			s.plain,
		)
	case errors.As(err, &authority):
		return say(
			"the certificate of %s is signed by an authority that isn't trusted here%s: %s", s.address,
			issuer(authority.Cert), s.trust,
		)
	case errors.As(err, &name):
		return say(
			"the certificate of %s is for %s and not for %s: write one of these names in %s, or replace the certificate",
			s.address, holders(name.Certificate), host, s.setting,
		)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return say(
			"the certificate of %s is valid from %s to %s, which isn't now: replace it, or check the clocks", s.address,
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339),
		)
	case isAlert(err):
		return say("%s refuses the TLS handshake (%v): check in its log what it expects of clients", s.address, err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &network) && network.Timeout():
		return say(
			"%s doesn't answer: check that the server isn't paused or overloaded, and that no firewall or network policy "+
				"is in between", s.address,
		)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return say(
			"%s closes the connection: check in its log why, and check that %s names the right port", s.address, s.setting,
		)
	}
	return err
}

func issuer(c *x509.Certificate) string {
	if c == nil || c.Issuer.String() == "" {
		return ""
	}
	return " (" + c.Issuer.String() + ")"
}

// holders are the names of a certificate's holder.
func holders(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no host at all"
	}
	return strings.Join(all, ", ")
}
