package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"agentkey/commands"
	"agentkey/domain/installation"
	"agentkey/eventstore/codec"
	"agentkey/projections"
)

type eventStoreArchive struct {
	Through string `required:"" placeholder:"2026-03" help:"The last month (UTC) to archive. It must be over."`
	Data    string `help:"The event store's data folder; by default the one of agentkey serve." type:"path"`
}

// Run checks the whole log and moves what lasts of its beginning into an archive.
func (a *eventStoreArchive) Run(sh *shell) error {
	end, err := a.end(time.Now())
	if err != nil {
		return err
	}
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return err
	}
	if c.DataDir, err = storeFolder(sh, a.Data); err != nil {
		return err
	}
	c.EventStoreURL = "" // the folder was named
	return inOfficeOf(sh, c, false, func(ctx context.Context, o *office) error {
		checked, err := o.mustBeWhole(ctx)
		if err != nil {
			return err
		}
		done, err := o.store.Archive(ctx, end)
		for _, name := range done.Strays {
			_, _ = fmt.Fprintf(
				sh.stderr, "%s isn't recorded in events.db, so nothing reads it. Keep it: it may be the only copy of its "+
					"events, as after events.db was replaced by an older copy. See docs/runbook.md.\n",
				filepath.Join(c.DataDir, name),
			)
		}
		if done.File != "" {
			_, _ = fmt.Fprintf(
				sh.stdout, "Moved %d events, up to position %d, into %s (%d bytes), after the %d events of the log were "+
					"checked. The log needs that file: keep it, and a copy of it.\n", done.Events, done.Last, done.File,
				done.Bytes, checked,
			)
		} else if err == nil {
			_, err = fmt.Fprintf(sh.stdout, "Nothing of the log through %s is left to archive.\n", a.Through)
		}
		return err
	})
}

// end is when the month is over, which it must be.
func (a *eventStoreArchive) end(now time.Time) (time.Time, error) {
	month, err := time.Parse("2006-01", a.Through)
	if err != nil {
		return month, usageError{errors.New("--through must be a month, such as 2026-03")}
	}
	if month.Year() < 1970 {
		return month, usageError{fmt.Errorf("%s is before 1970-01, and no log is that old: choose a later month", a.Through)}
	}
	end := month.AddDate(0, 1, 0)
	if now.Before(end) {
		return end, usageError{fmt.Errorf("%s isn't over: choose an earlier month", a.Through)}
	}
	return end, nil
}

// mustBeWhole reads the whole log, as the check in the background does, and returns how many events
// it has. Every finding must have been confirmed, because an archive can't be repaired. An event of
// another application breaks nothing, and is archived like the others.
func (o *office) mustBeWhole(ctx context.Context) (int, error) {
	head, err := commands.NewInstallationLoop(o.env).Recent(ctx, "")
	if err != nil {
		return 0, err
	}
	if head.State.Restored {
		return 0, errors.New("the log was restored, and nobody has run agentkey confirm-restore; nothing was archived")
	}
	confirmed := map[string]bool{}
	for _, f := range head.State.Findings {
		if f.Holds() {
			return 0, unconfirmed(f.Finding)
		}
		confirmed[fmt.Sprintf("%d@%s", f.Revision, f.Stream)] = true
	}
	var found *codec.ForgedError
	o.inst.Log.Found = func(e *codec.ForgedError) {
		if found == nil && e.Breaks() && !confirmed[fmt.Sprintf("%d@%s", e.Revision, e.Stream)] {
			found = e
		}
	}
	whole := &projections.Integrity{Log: o.inst.Log, Logger: o.logger, Clock: time.Now}
	if err := whole.Once(ctx); err != nil {
		return 0, fmt.Errorf("check the whole log: %w", err)
	}
	if found != nil {
		return 0, unconfirmed(installation.Finding{
			Stream: found.Stream, Revision: int64(found.Revision), Reason: string(found.Fault), //nolint:gosec // revisions fit
		})
	}
	return whole.Status().Events, nil
}

func unconfirmed(f installation.Finding) error {
	return fmt.Errorf(
		"%d@%s is %s, and nobody has confirmed it; nothing was archived. Start agentkey serve, and see docs/runbook.md",
		f.Revision, f.Stream, f.Reason,
	)
}
