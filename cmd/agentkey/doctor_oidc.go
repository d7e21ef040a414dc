package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"agentkey/integrations/oidc"
)

func (d *doctor) verifier() *oidc.Verifier {
	return oidc.New(oidc.Config{
		Issuers: d.config.Issuers, Clock: time.Now, Transport: d.config.Outbound.Transport(),
	})
}

// signIn asks each issuer for what it publishes.
func (d *doctor) signIn(ctx context.Context) {
	const what = "sign-in"
	if len(d.config.Issuers) == 0 {
		d.say(isOK, what, "with service tokens only; set AGENTKEY_OIDC_ISSUER to let people sign in at a provider")
		return
	}
	for _, f := range d.verifier().Check(ctx) {
		v := isOK
		if !f.OK {
			v = isFailed
		}
		d.say(v, what, "%s: %s", f.What, f.Text)
	}
}

// maxTokenFile is far more than any token that is taken.
const maxTokenFile = 1 << 20

// token explains what becomes of a token. It comes from a file, not from an argument, which every
// user of the machine can read.
func (d *doctor) token(ctx context.Context, path string) error {
	if path == "-" {
		path = "/dev/stdin"
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer func() { _ = file.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(file, maxTokenFile))
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if len(token) >= len("bearer ") && strings.EqualFold(token[:len("bearer ")], "bearer ") {
		token = strings.TrimSpace(token[len("bearer "):]) // as it is in a header
	}
	switch {
	case token == "":
		return usageError{fmt.Errorf("there is no token in %s", path)}
	case len(d.config.Issuers) == 0:
		return usageError{errors.New("no issuer is configured: set AGENTKEY_OIDC_ISSUER; see docs/sign-in.md")}
	}
	for _, f := range d.verifier().Explain(ctx, token) {
		v := isOK
		if !f.OK {
			v = isFailed
		}
		d.say(v, f.What, "%s", f.Text)
	}
	return nil
}
