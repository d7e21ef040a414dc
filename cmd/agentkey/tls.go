package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// keyPair is the certificate that new connections get. Its files may be replaced while the program
// runs; connections that are open stay as they are.
type keyPair struct {
	cert, key string // PEM files
	logger    *slog.Logger
	current   atomic.Pointer[tls.Certificate]
	tried     string // what the files held when they were last read, as a hash, or why they could not be read
}

// openKeyPair reads the configured certificate; nil when none is.
func openKeyPair(c Config, logger *slog.Logger) (*keyPair, error) {
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // plain HTTP has none
	}
	k := &keyPair{cert: c.TLSCert, key: c.TLSKey, logger: logger}
	if _, err := k.read(); err != nil {
		return nil, fmt.Errorf("read the TLS certificate: %w", err)
	}
	return k, nil
}

// read takes over what the files hold, if it is new and a pair. It may be half replaced: what is
// read then isn't a pair, and the next time reads the rest.
func (k *keyPair) read() (changed bool, err error) {
	cert, err := os.ReadFile(k.cert)
	if err != nil {
		return k.note(err.Error()), err
	}
	key, err := os.ReadFile(k.key)
	if err != nil {
		return k.note(err.Error()), err
	}
	defer clear(key)
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%d\n%s%s", len(cert), cert, key)
	if !k.note(string(sum.Sum(nil))) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		k.current.Store(&pair)
	}
	return true, err
}

func (k *keyPair) note(tried string) (changed bool) {
	changed = k.tried != tried
	k.tried = tried
	return changed
}

// watch reads the files again at each tick and signal until ctx ends. What can't be used is told
// once, and the certificate before stays.
func (k *keyPair) watch(ctx context.Context, tick <-chan time.Time, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		case <-hangup:
		}
		changed, err := k.read()
		switch {
		case changed && err != nil:
			k.logger.Error(
				"the new TLS certificate can't be used, so the one before stays", slog.String("error", err.Error()),
			)
		case changed:
			leaf := k.current.Load().Leaf
			k.logger.Info(
				"there is a new TLS certificate", slog.String("serial", leaf.SerialNumber.String()),
				slog.Time("not_after", leaf.NotAfter),
			)
		}
	}
}

// follow watches the files by the minute, and whenever the process gets SIGHUP.
func (k *keyPair) follow(ctx context.Context, hangup chan os.Signal) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	defer signal.Stop(hangup)
	k.watch(ctx, ticker.C, hangup)
}

// hangups returns the channel that hears of SIGHUP from now on.
func hangups() chan os.Signal {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return hangup
}

// config is for a listener of HTTP.
func (k *keyPair) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
		MinVersion:     tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}
}

// vacant returns an error when serve couldn't listen where it is to.
func vacant(ctx context.Context, c Config) error {
	listener, err := listenOn(ctx, c)
	if err != nil {
		return err
	}
	scraped, err := listenMetrics(ctx, c)
	if scraped != nil {
		err = scraped.Close()
	}
	return errors.Join(err, listener.Close())
}

func listenOn(ctx context.Context, c Config) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; set AGENTKEY_LISTEN to another address", err)
	}
	return listener, nil
}

// listen opens the address, with TLS when there is a certificate, and bounds its connections.
func listen(
	ctx context.Context, c Config, pair *keyPair, m *metrics,
) (net.Listener, *boundedListener, error) {
	listener, err := listenOn(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	bounded := newBounded(listener, c.MaxConnections, m)
	if pair == nil {
		return bounded, bounded, nil
	}
	return tls.NewListener(bounded, pair.config()), bounded, nil
}
