package main

import (
	"archive/zip"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"

	"agentkey/audit/formats"
	"agentkey/audit/replay"
	"agentkey/audit/verify"
	"agentkey/commands/words"
)

type auditReplayCommand struct {
	remote

	Bundle  string `arg:"" optional:"" type:"existingfile" help:"A file of agentkey audit export that begins with the first event. Without it, one is downloaded."`
	AsOf    string `required:"" placeholder:"MOMENT" help:"A time (RFC 3339) or a position in the event log."`
	Keys    string `placeholder:"FILE" type:"existingfile" help:"The answer of /.well-known/agentkey-keys.json, kept from another time or got another way. Without it the keys in the bundle are used."`
	Offline bool   `help:"Don't ask the service; it needs a bundle."`
	JSON    bool   `name:"json" help:"Print everything that there was, as JSON."`
}

// errDiffers ends the command when the service says something else than the events.
var errDiffers = errors.New("the service says something else about that moment than the events: keep the bundle, and " +
	"let the operator fill the read model again (agentkey projections rebuild)")

// replayed is what there was at a moment.
type replayed struct {
	AsOf     time.Time         `json:"as_of"`
	Position uint64            `json:"position"`
	Digests  map[string]string `json:"digests"`
	replay.State
}

// Run folds the events of a bundle, and compares.
func (x *auditReplayCommand) Run(sh *shell) error {
	at, err := x.moment()
	if err != nil {
		return err
	}
	file := x.Bundle
	if file == "" {
		if x.Offline {
			return usageError{errors.New("--offline needs a bundle: name a file of agentkey audit export")}
		}
		folder, err := os.MkdirTemp("", "agentkey-audit-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder) //nolint:errcheck // it is a temporary folder
		file = folder + "/audit.zip"
		query := url.Values{"format": {"bundle"}}
		if at.byTime { // an event of that very time is in it
			query.Set("to", at.time.Add(time.Microsecond).Format(time.RFC3339Nano))
		}
		// of a moment that it knows nothing about the service says so; its export would name a time that
		// nobody asked for
		if _, err := x.getText(sh, "/api/admin/agents", url.Values{"as_of": {x.AsOf}, "limit": {"1"}}); err != nil {
			return err
		}
		if _, err := x.download(sh, auditExportPath, query, file); err != nil {
			return err
		}
	}
	was, err := x.fold(sh, file, at)
	if err != nil {
		return err
	}
	if x.Offline {
		return x.tell(sh, was, nil)
	}
	said, err := x.said(sh, was.Position)
	if err != nil {
		return err
	}
	return x.tell(sh, was, &said)
}

// asked is the moment that a caller names.
type asked struct {
	byTime   bool
	time     time.Time
	position uint64
}

func (x *auditReplayCommand) moment() (asked, error) {
	if position, err := strconv.ParseUint(x.AsOf, 10, 64); err == nil {
		return asked{position: position}, nil
	}
	at, err := words.Time(x.AsOf)
	if err != nil {
		return asked{}, usageError{fmt.Errorf(
			"--as-of %s: it must be a time as 2026-04-01T09:00:00Z (RFC 3339), or a position in the event log", x.AsOf,
		)}
	}
	return asked{byTime: true, time: at}, nil
}

// fold checks the bundle and folds its events up to the moment.
func (x *auditReplayCommand) fold(sh *shell, file string, at asked) (was replayed, err error) {
	options := verify.Options{OnFinding: func(f verify.Finding) { _, _ = fmt.Fprintln(sh.stdout, f) }}
	if x.Keys != "" {
		if options.Keys, err = readKeys(x.Keys); err != nil {
			return was, err
		}
	}
	report, err := verifyFile(file, options)
	switch {
	case errors.Is(err, errReceipt):
		return was, usageError{fmt.Errorf("%s is not a bundle of agentkey audit export", file)}
	case err != nil:
		return was, fmt.Errorf("%s: %w", file, err)
	case report.Findings > 0:
		return was, errFindings
	case report.Evidence != nil:
		return was, usageError{fmt.Errorf("%s is an evidence pack: name a file of agentkey audit export", file)}
	case report.Range.First != 0:
		return was, usageError{fmt.Errorf(
			"%s begins with the entry %d, and the past before it can't be computed: export without --from", file,
			report.Range.First,
		)}
	}
	var first, last formats.Line
	err = eachLine(file, func(l formats.Line) error {
		if first.Position == 0 {
			first = l
		}
		last = l
		stored, err := formats.ReadStored(l.Metadata)
		if err != nil {
			return err
		}
		if at.byTime && !stored.Time.After(at.time) || !at.byTime && l.Position <= at.position {
			was.Position, was.AsOf = l.Position, stored.Time
		}
		return nil
	})
	switch {
	case err != nil:
		return was, err
	case was.Position == 0:
		return was, usageError{fmt.Errorf("--as-of %s lies before the first event, at position %d", x.AsOf, first.Position)}
	case !at.byTime && at.position > last.Position:
		return was, usageError{fmt.Errorf(
			"--as-of %s lies beyond the bundle, whose last event has the position %d", x.AsOf, last.Position,
		)}
	}
	if at.byTime {
		was.AsOf = at.time.UTC()
	}
	var history replay.History
	err = eachLine(file, func(l formats.Line) error {
		if l.Position > was.Position {
			return nil
		}
		return history.Apply(l)
	})
	was.State = history.At(was.AsOf)
	was.Digests = was.State.Digests()
	return was, err
}

// eachLine reads the events of a bundle that holds.
func eachLine(file string, each func(formats.Line) error) (err error) {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer archive.Close() //nolint:errcheck // it was only read
	events, err := archive.Open(formats.EventsFile)
	if err != nil {
		return err
	}
	defer events.Close() //nolint:errcheck // it was only read
	r := bufio.NewReaderSize(events, 1<<16)
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l, err := formats.ParseLine(text[:len(text)-1])
		if err != nil {
			return err
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

// said is what the service answers about the moment.
func (x *auditReplayCommand) said(sh *shell, position uint64) (s replay.State, err error) {
	for _, kind := range replay.Kinds() {
		query := url.Values{"as_of": {x.AsOf}, "limit": {"200"}}
		for {
			var page struct {
				Items      json.RawMessage `json:"items"`
				NextCursor string          `json:"next_cursor"`
				Position   uint64          `json:"position"`
			}
			if err := x.getJSON(sh, "/api/admin/"+kind, query, &page); err != nil {
				return s, err
			}
			if page.Position != position {
				return s, fmt.Errorf("as of %s the service has the event at position %d, and the bundle that at position %d: "+
					"is it of this organization, and new enough? Export another one", x.AsOf, page.Position, position)
			}
			if err := s.Add(kind, page.Items); err != nil {
				return s, fmt.Errorf("read the %s of the service: %w", kind, err)
			}
			if page.NextCursor == "" {
				break
			}
			query.Set("cursor", page.NextCursor)
		}
	}
	return s, nil
}

// tell prints what there was, and what the service said of it if it was asked.
func (x *auditReplayCommand) tell(sh *shell, was replayed, said *replay.State) error {
	out := bufio.NewWriter(sh.stdout)
	var differences []string
	if said != nil {
		differences = was.Differences(*said)
	}
	if x.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(was); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(
			out, "After the event at position %d, as of %s:\n", was.Position, was.AsOf.Format(time.RFC3339Nano),
		)
		counts := map[string]int{
			"agents": len(was.Agents), "tools": len(was.Tools), "grants": len(was.Grants), "requests": len(was.Requests),
			"suggestions": len(was.Suggestions),
		}
		for _, kind := range replay.Kinds() {
			_, _ = fmt.Fprintf(out, "%6d %-11s sha256:%s\n", counts[kind], kind, was.Digests[kind])
		}
		if said != nil && len(differences) == 0 {
			_, _ = fmt.Fprintf(out, "The service at %s says the same.\n", x.URL)
		}
	}
	if err := out.Flush(); err != nil || len(differences) == 0 {
		return err
	}
	for _, d := range differences {
		_, _ = fmt.Fprintln(sh.stderr, d)
	}
	return errDiffers
}
