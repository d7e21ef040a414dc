package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"agentkey/audit/formats"
	"agentkey/audit/witness"
)

type auditWitnessCommand struct {
	remote

	State string        `arg:"" help:"The file that holds the witness's private key and the last checkpoint that it signed. Created at the first start." type:"path"`
	Name  string        `help:"The name of a new witness: one word, such as audit.example.com/w1."`
	Keys  string        `placeholder:"FILE" type:"existingfile" help:"The answer of /.well-known/agentkey-keys.json, got another way. Without it the service is asked once, at the first start, and believed."`
	Every time.Duration `default:"1m" help:"How often the service is asked."`
	Once  bool          `help:"Ask once and end, for cron or a systemd timer."`

	told int64 // entries that it last said it signed
}

// Run watches a service until it is stopped or shows another history.
func (c *auditWitnessCommand) Run(sh *shell) (err error) {
	if c.Every < time.Second {
		return usageError{errors.New("--every is at least 1s")}
	}
	w, err := witness.Open(c.State)
	if errors.Is(err, fs.ErrNotExist) {
		if c.Name == "" {
			return usageError{errors.New("a new witness needs a --name, such as audit.example.com/w1")}
		}
		w, err = witness.Create(c.State, c.Name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	self := w.Public()
	if c.Name != "" && c.Name != self.Name {
		return usageError{fmt.Errorf("%s is the witness %s: leave out --name, or name another file", c.State, self.Name)}
	}
	if c.Keys != "" && w.Keys() != nil {
		return usageError{fmt.Errorf("%s trusts the keys of its first start: leave out --keys", c.State)}
	}
	_, err = fmt.Fprintf(sh.stdout, "The service registers this witness with AGENTKEY_WITNESSES=%s\n", self)
	if err != nil {
		return err
	}
	for {
		err := c.look(sh, w)
		if err != nil && (c.Once || errors.Is(err, witness.ErrFork) || isUsage(err)) {
			return err
		}
		if err != nil && sh.ctx.Err() == nil {
			_, _ = fmt.Fprintf(sh.stderr, "agentkey: %v\nagentkey: the next try is in %s\n", err, c.Every)
		}
		if c.Once {
			return nil
		}
		select {
		case <-sh.ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}

// look asks for the newest checkpoint, checks and signs it, and hands the signature in.
func (c *auditWitnessCommand) look(sh *shell, w *witness.Witness) error {
	note, err := c.getText(sh, "/api/admin/audit/checkpoint", nil)
	if err != nil {
		return err
	}
	keys := w.Keys()
	if keys == nil {
		if keys, err = c.firstKeys(sh); err != nil {
			return err
		}
	}
	signed, size, err := w.See(note, keys, time.Now(), func(from, to int64) (formats.Consistency, error) {
		return c.consistency(sh, from, to)
	})
	if err != nil {
		return err
	}
	if err := c.handIn(sh, signed); err != nil {
		return fmt.Errorf("the checkpoint over %d entries is signed, but can't be handed in: %w Its operator sets "+
			"AGENTKEY_WITNESSES=%s and starts the service again", size, err, w.Public())
	}
	if size == c.told {
		return nil
	}
	c.told = size
	_, err = fmt.Fprintf(sh.stdout, "Signed: the history only grew, to %d entries.\n", size)
	return err
}

func (c *auditWitnessCommand) firstKeys(sh *shell) ([]formats.Key, error) {
	if c.Keys != "" {
		return readKeys(c.Keys)
	}
	var keys formats.Keys
	if err := c.getJSON(sh, "/.well-known/agentkey-keys.json", nil, &keys); err != nil {
		return nil, err
	}
	return keys.Keys, nil
}

func (c *auditWitnessCommand) handIn(sh *shell, note []byte) error {
	body, err := json.Marshal(map[string]string{"note": string(note)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(sh.ctx, time.Minute)
	defer cancel()
	a, err := c.send(ctx, sh, http.MethodPost, "/api/admin/audit/cosignatures", nil, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return a.Body.Close()
}

// readKeys reads a file that has the answer of /.well-known/agentkey-keys.json.
func readKeys(file string) ([]formats.Key, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the caller names it
	if err != nil {
		return nil, err
	}
	var keys formats.Keys
	if err := json.Unmarshal(text, &keys); err != nil || len(keys.Keys) == 0 {
		return nil, usageError{fmt.Errorf("%s isn't the answer of /.well-known/agentkey-keys.json", file)}
	}
	return keys.Keys, nil
}
