package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"agentkey/eventstore/embedded"
)

type eventStoreCommand struct {
	Serve eventStoreServe `cmd:"" help:"Serve a data folder over TCP, for tools, tests and several serve processes."`
}

type eventStoreServe struct {
	Listen       string `default:"127.0.0.1:2113" help:"host:port to listen on."`
	Data         string `required:"" help:"The data folder." type:"path"`
	Insecure     bool   `help:"Without TLS; on loopback only."`
	TLSCert      string `name:"tls-cert" help:"Certificate, PEM." type:"existingfile"`
	TLSKey       string `name:"tls-key" help:"Its key, PEM." type:"existingfile"`
	User         string `help:"User name that clients must give."`
	PasswordFile string `help:"File with the user's password." type:"existingfile"`
	MaxBytes     int64  `help:"Refuse appends that would make the file larger than this; 0: as far as the disk."`
}

// options turns the flags into who may come in.
func (c *eventStoreServe) options() (embedded.ServeOptions, error) {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return embedded.ServeOptions{}, usageError{errors.New("--listen must be host:port, such as 127.0.0.1:2113")}
	}
	secure := c.TLSCert != "" && c.TLSKey != "" && c.User != "" && c.PasswordFile != ""
	some := c.TLSCert != "" || c.TLSKey != "" || c.User != "" || c.PasswordFile != ""
	switch {
	case c.Insecure && some, c.Insecure == secure:
		return embedded.ServeOptions{}, usageError{errors.New("give either --insecure, or all of --tls-cert, --tls-key, --user and --password-file")}
	case c.Insecure && !isLoopback(host):
		return embedded.ServeOptions{}, usageError{fmt.Errorf("--insecure listens on loopback only, and %s is none: use TLS", host)}
	case c.Insecure:
		return embedded.ServeOptions{}, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return embedded.ServeOptions{}, usageError{fmt.Errorf("read the TLS certificate: %w", err)}
	}
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil || len(strings.TrimSpace(string(password))) == 0 {
		return embedded.ServeOptions{}, usageError{errors.Join(errors.New("--password-file holds no password"), err)}
	}
	return embedded.ServeOptions{
		TLS:      &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}},
		Username: c.User, Password: strings.TrimSpace(string(password)),
	}, nil
}

// Run serves until the shell's context ends.
func (c *eventStoreServe) Run(sh *shell) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(sh.stderr, nil))
	store, err := embedded.Open(embedded.Options{Dir: c.Data, Logger: logger, MaxBytes: c.MaxBytes})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(sh.ctx, "tcp", c.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), store.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- store.Serve(listener, options) }()
	_, _ = fmt.Fprintf(sh.stdout, "The event store listens on %s\n", listener.Addr())
	select {
	case <-sh.ctx.Done():
		return errors.Join(store.Close(), <-ended)
	case err := <-ended:
		return errors.Join(err, store.Close())
	}
}
