package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"agentkey/eventstore/codec"
	"agentkey/eventstore/embedded"
)

type eventStoreCommand struct {
	Serve   eventStoreServe   `cmd:"" help:"Serve a data folder over TCP, for tools, tests and several agentkey serve processes."`
	Archive eventStoreArchive `cmd:"" help:"Move closed months of the embedded store into read-only files. Stop agentkey serve first."`
	Copy    eventStoreCopy    `cmd:"" help:"Copy an event log to another store, such as a cluster. Stop agentkey serve first."`
}

type eventStoreServe struct {
	Listen       string `default:"127.0.0.1:2113" help:"host:port to listen on."`
	Data         string `required:"" help:"The data folder." type:"path"`
	Insecure     bool   `help:"Serve without TLS, on loopback only."`
	TLSCert      string `name:"tls-cert" help:"Certificate, PEM." type:"existingfile"`
	TLSKey       string `name:"tls-key" help:"Its key, PEM." type:"existingfile"`
	User         string `help:"User name that clients must present."`
	PasswordFile string `help:"File with the user's password." type:"existingfile"`
	MaxBytes     int64  `help:"Refuse appends that would make the file larger than this; 0 means no limit."`
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
		return embedded.ServeOptions{}, usageError{
			errors.New("give either --insecure, or all of --tls-cert, --tls-key, --user and --password-file"),
		}
	case c.Insecure && !isLoopback(host):
		return embedded.ServeOptions{}, usageError{
			fmt.Errorf("--insecure works on loopback only, and %s isn't a loopback address: use TLS", host),
		}
	case c.Insecure:
		return embedded.ServeOptions{}, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return embedded.ServeOptions{}, usageError{fmt.Errorf("read the TLS certificate: %w", err)}
	}
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil || len(strings.TrimSpace(string(password))) == 0 {
		return embedded.ServeOptions{}, usageError{errors.Join(errors.New("--password-file is empty"), err)}
	}
	return embedded.ServeOptions{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		},
		Username: c.User, Password: strings.TrimSpace(string(password)),
	}, nil
}

// Run serves until the shell's context ends.
func (c *eventStoreServe) Run(sh *shell) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	logger := newLogger(sh.stderr)
	listener, err := (&net.ListenConfig{}).Listen(sh.ctx, "tcp", c.Listen)
	if err != nil { // before anything is made
		return fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	store, err := embedded.Open(embedded.Options{Dir: c.Data, Logger: logger, MaxBytes: c.MaxBytes})
	if err != nil {
		return errors.Join(err, listener.Close())
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

type eventStoreCopy struct {
	From string `required:"" help:"The data folder of an embedded store, or the URL of a server."`
	To   string `required:"" help:"The destination: the URL of a server, such as esdb://host:2113?tls=true, or a data folder."`
}

// Run copies what the destination lacks and compares the two. It may be broken off and run again.
func (c *eventStoreCopy) Run(sh *shell) (err error) {
	logger := slog.New(slog.NewTextHandler(sh.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	from, err := openEnd(sh.ctx, c.From, logger)
	if err != nil {
		return fmt.Errorf("open the source: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openEnd(sh.ctx, c.To, logger)
	if err != nil {
		return fmt.Errorf("open the destination: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	told := 0
	done, err := codec.Copy(sh.ctx, from.Client, to.Client, func(c codec.Copied) {
		if c.Written/10_000 > told {
			told = c.Written / 10_000
			_, _ = fmt.Fprintf(sh.stderr, "%d events copied\n", c.Written)
		}
	})
	if err != nil {
		return fmt.Errorf("%w (%d events were copied; run the command again to continue)", err, done.Written)
	}
	_, err = fmt.Fprintf(
		sh.stdout,
		"Both logs hold the same %d events; %d were copied in this run. Every process needs the same master keys as "+
			"before and refills its read model.\n",
		done.Events, done.Written,
	)
	return err
}

// openEnd opens a log by URL or by folder. A folder that is being served is refused: its log may
// grow.
func openEnd(ctx context.Context, where string, logger *slog.Logger) (*openLog, error) {
	if strings.HasPrefix(where, "esdb://") || strings.HasPrefix(where, "esdb+discover://") {
		return connect(ctx, where, logger)
	}
	return OpenLog(ctx, Config{DataDir: where}, false, logger)
}
