package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"agentkey/commands"
	"agentkey/eventstore"
)

// markFile holds the newest event that this process has written, as far as it was noted: by it a
// log that lost its end is found out at the next start.
const markFile = "high-water-mark"

// readMark returns the zero Mark when there is no file. One that was cut short, by a machine that
// lost its power, tells nothing either.
func readMark(path string) (eventstore.Mark, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return eventstore.Mark{}, nil
	}
	if err != nil {
		return eventstore.Mark{}, fmt.Errorf("read the high-water mark: %w", err)
	}
	var m eventstore.Mark
	if !json.Valid(raw) {
		return m, nil
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return eventstore.Mark{}, fmt.Errorf("read the high-water mark %s: %w", path, err)
	}
	return m, nil
}

// keepMark writes the newest mark of a fence at every tick and at the end.
func keepMark(ctx context.Context, dir string, fence *commands.Fence, tick <-chan time.Time, logger *slog.Logger) {
	path, kept := filepath.Join(dir, markFile), eventstore.Mark{}
	save := func() {
		m := fence.Mark()
		if m == kept || m.Stream == "" {
			return
		}
		raw, err := json.Marshal(m)
		if err == nil {
			err = writePrivate(path, string(raw)+"\n")
		}
		if err != nil {
			logger.WarnContext(ctx, "keep the high-water mark", slog.String("error", err.Error()))
			return
		}
		kept = m
	}
	for {
		select {
		case <-ctx.Done():
			save()
			return
		case <-tick:
			save()
		}
	}
}
