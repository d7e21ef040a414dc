package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"agentkey/commands"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/embedded"
	"agentkey/readmodels"
)

type doctorCommand struct {
	TokenFile string `placeholder:"FILE" help:"Explain what becomes of the identity provider's token in this file, or - for standard input, and check nothing else."`
}

// lookTime is how long one look may take.
const lookTime = 10 * time.Second

// verdict is what came of one look.
type verdict string

const (
	isOK      verdict = "ok"
	isWarning verdict = "warning" // it works, but will not always
	isFailed  verdict = "failed"
)

// doctor looks at everything that serve needs, whether it runs or not. It changes nothing and
// writes no event.
type doctor struct {
	shell  *shell
	config Config
	failed int

	log   *openLog // nil: there is none yet, or it can't be reached
	where string   // it is, in words
	begun bool
	inst  *commands.Installation // nil: it has not begun, or can't be joined

	say func(v verdict, what, format string, args ...any)
}

// Run prints a line for each look. It fails when a check did; a warning isn't a failure.
func (cmd doctorCommand) Run(sh *shell) (err error) {
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return err
	}
	d := &doctor{shell: sh, config: c}
	d.say = func(v verdict, what, format string, args ...any) {
		if v == isFailed {
			d.failed++
		}
		text := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "; ")
		_, _ = fmt.Fprintf(sh.stdout, "%-8s %-13s %s\n", v, what, text)
	}
	if cmd.TokenFile != "" {
		ctx, cancel := context.WithTimeout(sh.ctx, lookTime)
		defer cancel()
		return errors.Join(d.token(ctx, cmd.TokenFile), d.verdict())
	}
	d.say(isOK, "configuration", "valid")
	eventLog := d.eventLog
	if d.where, err = d.openLog(); err != nil {
		why := err
		d.log, eventLog = nil, func(context.Context) { d.say(isFailed, "event log", "%v", why) }
	}
	defer func() {
		if d.log != nil {
			err = errors.Join(err, d.log.Close())
		}
	}()
	for _, look := range []func(context.Context){
		d.dataFolder, d.disk, eventLog, d.clock, d.masterKeys, d.copies, d.restored, d.readModel, d.redis, d.certificate,
		d.address, d.metricsAddress, d.proxy, d.mail, d.model, d.signIn,
	} {
		ctx, cancel := context.WithTimeout(sh.ctx, lookTime)
		look(ctx)
		cancel()
	}
	return d.verdict()
}

// verdict is what the whole program answers with.
func (d *doctor) verdict() error {
	if d.failed > 0 {
		return fmt.Errorf("%d of these failed", d.failed)
	}
	return nil
}

// existing returns the nearest folder above a path, or the path, that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

const mayUse = 0b111 // R_OK, W_OK and X_OK of access(2)

func (d *doctor) dataFolder(context.Context) {
	const what = "data folder"
	dir := d.config.DataDir
	there := existing(dir)
	info, err := os.Stat(there)
	switch {
	case err != nil:
		d.say(isFailed, what, "%v", err)
		return
	case !info.IsDir():
		d.say(isFailed, what, "%s is a file: choose a folder with AGENTKEY_DATA_DIR", there)
		return
	case syscall.Access(there, mayUse) != nil:
		d.say(
			isFailed, what,
			"this user can't write to %s: change its owner, or choose another folder with AGENTKEY_DATA_DIR", there,
		)
		return
	case there != dir:
		d.say(isOK, what, "%s doesn't exist yet; serve creates it", dir)
		return
	}
	open := []string{}
	if info.Mode().Perm()&0o077 != 0 {
		open = append(open, "chmod 0700 "+dir)
	}
	for _, name := range []string{masterKeyFile, firstTokenFile} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, "chmod 0600 "+path)
		}
	}
	if len(open) > 0 {
		d.say(isWarning, what, "other users can read %s: %s", dir, strings.Join(open, " && "))
		return
	}
	d.say(isOK, what, "%s, mode %04o", dir, info.Mode().Perm())
}

func (d *doctor) disk(context.Context) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(existing(d.config.DataDir), &disk); err != nil {
		d.say(isFailed, "disk", "%v", err)
		return
	}
	block := uint64(disk.Bsize) //nolint:gosec // it is not below 0
	v, text := full(disk.Bavail*block, disk.Blocks*block)
	d.say(v, "disk", "%s", text)
}

// full judges a file system by the bytes that it has left for us.
func full(free, size uint64) (verdict, string) {
	used := 100 - int(float64(free)/float64(max(size, 1))*100)
	text := fmt.Sprintf("%d %% full, %d MiB left", used, free>>20)
	switch {
	case free < 16<<20:
		return isFailed, text + ": appends are refused or soon will be; free some space"
	case used >= 80:
		return isWarning, text + ": free some space before appends are refused"
	}
	return isOK, text
}

// openLog finds the event log, for all looks that need it; nothing is made where none is. Without
// an error and with no log there is none yet.
func (d *doctor) openLog() (where string, err error) {
	c, logger := d.config, slog.New(slog.DiscardHandler)
	if c.EventStoreURL != "" {
		where = "the EventStoreDB of AGENTKEY_EVENTSTORE_URL"
		if u, err := url.Parse(c.EventStoreURL); err == nil {
			where = "the EventStoreDB at " + u.Host
		}
		client, err := eventstore.Open(eventstore.Config{URL: c.EventStoreURL, Logger: logger})
		if err == nil {
			d.log = &openLog{Client: client}
		}
		return where, err
	}
	if _, served := embedded.FindSocket(c.DataDir); served {
		where = "the store in the data folder, served by process " + embedded.Holder(c.DataDir)
	} else if embedded.Exists(c.DataDir) {
		where = "the store in the data folder, which no process serves now"
	} else {
		return "", nil
	}
	d.log, err = OpenLog(d.shell.ctx, c, true, logger)
	return where, err
}

func (d *doctor) eventLog(ctx context.Context) {
	const what = "event log"
	if d.log == nil {
		d.say(isOK, what, "none yet; serve creates one in the data folder")
		return
	}
	var head uint64
	var err error
	if d.config.EventStoreURL != "" {
		err = examineLog(ctx, d.config.EventStoreURL)
	}
	if err == nil {
		head, err = d.log.Client.Head(ctx)
	}
	if err != nil {
		d.say(isFailed, what, "%v", err)
		_ = d.log.Close() // it could not be reached
		d.log = nil
		return
	}
	first, found, err := d.log.Client.First(ctx)
	switch {
	case err != nil:
		d.say(isFailed, what, "%s can't be read: %v", d.where, err)
	case !found:
		d.say(isOK, what, "%s; it is empty; serve begins an installation in it", d.where)
	default:
		d.begun = true
		days := int(time.Since(first.Created).Hours() / 24)
		d.say(
			isOK, what, "%s; begun %s (%d days ago), head at position %d", d.where,
			first.Created.UTC().Format(time.RFC3339), days, head,
		)
	}
}

// clock finds a clock that is behind the log's: nothing was written in the future. One that is
// ahead shows with the next event that is written.
func (d *doctor) clock(ctx context.Context) {
	if d.log == nil || !d.begun {
		return
	}
	newest, found, err := d.log.Client.Newest(ctx, func(eventstore.Recorded) bool { return true })
	if err != nil || !found {
		d.say(isFailed, "clock", "the newest event can't be read: %v", err)
		return
	}
	if off := time.Until(newest.Created); off > maxClockOff {
		d.say(isFailed, "clock", "%s", describeClock(-off))
		return
	}
	d.say(
		isOK, "clock", "it isn't behind the log's clock; GET /readyz reports whether it is ahead after the next event",
	)
}

func (d *doctor) masterKeys(ctx context.Context) {
	const what = "master keys"
	if d.log == nil && (d.config.EventStoreURL != "" || embedded.Exists(d.config.DataDir)) {
		d.say(isWarning, what, "not checked, because the event log isn't available")
		return
	}
	begun := false
	if d.log != nil {
		var err error
		if begun, err = commands.Exists(ctx, d.log.Client); err != nil {
			d.say(isFailed, what, "the installation can't be read: %v", err)
			return
		}
	}
	_, absent := os.Stat(filepath.Join(d.config.DataDir, masterKeyFile))
	if !begun && len(d.config.MasterKeys) == 0 && absent != nil {
		d.say(isOK, what, "none configured; serve creates one in the data folder when it begins the log")
		return
	}
	keys, err := ring(d.config, true)
	if err == nil && begun {
		d.inst, err = commands.Beginning{Client: d.log.Client, Ring: keys, Clock: time.Now, NewID: newID}.Join(ctx)
	}
	if err != nil {
		d.say(isFailed, what, "%v", err)
		return
	}
	ids := []string{}
	for _, k := range keys.Public() {
		ids = append(ids, k.ID)
	}
	d.say(isOK, what, "configured, the current one first: %s", strings.Join(ids, ", "))
}

// copies looks for both copies of each secret of the installation.
func (d *doctor) copies(ctx context.Context) {
	if d.inst == nil {
		return
	}
	const what = "own secrets"
	one, both, err := d.inst.LostCopies(ctx)
	switch {
	case err != nil:
		d.say(isFailed, what, "%v", err)
	case len(both) > 0:
		d.say(isFailed, what, "gone or damaged, so that what they hold can't be used: %s. Restore the log from a backup; "+
			"see docs/runbook.md", strings.Join(append(both, one...), ", "))
	case len(one) > 0:
		d.say(isWarning, what, "gone or damaged: %s. The other copy of each is in use. Find out who removed it; "+
			"agentkey keys sign makes new keys that sign, each in two copies again", strings.Join(one, ", "))
	default:
		d.say(isOK, what, "both copies of each open")
	}
}

// restored reports what serve found out about the log; it doesn't look further.
func (d *doctor) restored(ctx context.Context) {
	if d.log != nil && d.inst == nil {
		begun, err := commands.Exists(ctx, d.log.Client)
		if err == nil && !begun {
			err = maybeBegun(ctx, d.config)
		}
		if err != nil {
			d.say(isFailed, "history", "%v", err)
		}
	}
	if d.inst == nil {
		return
	}
	head, err := commands.NewInstallationLoop(d.inst.Env(time.Now, nil, nil)).Fresh(ctx, "")
	switch {
	case err != nil:
		d.say(isFailed, "history", "the installation can't be read: %v", err)
	case head.State.Restored:
		d.say(
			isFailed, "history",
			"the log was restored from a backup or lost its end, so no credential is vended: review who has access, "+
				"then run agentkey confirm-restore",
		)
	case head.State.Unconfirmed() > 0:
		d.say(
			isFailed, "history",
			"%d events don't belong to the log, or are gone from it: GET /api/admin/audit/integrity names them, and "+
				"docs/runbook.md says what to do", head.State.Unconfirmed(),
		)
	default:
		d.say(isOK, "history", "no restore waits for confirmation")
	}
}

func (d *doctor) readModel(ctx context.Context) {
	const what = "read model"
	var reached readmodels.Checkpoint
	var owner string
	var err error
	where, next := "the file "+filepath.Join(
		d.config.DataDir, readModelFile,
	), "restart serve, which fills a new one from the log"
	if d.config.DatabaseURL != "" {
		where, next = "the database of AGENTKEY_DATABASE_URL", "queries answer 503 until it is repaired"
		reached, owner, err = readmodels.ReadModel.ExaminePostgres(ctx, d.config.database())
		err = explainPostgres(d.config.DatabaseURL, err)
	} else {
		reached, err = readmodels.ReadModel.ExamineEmbedded(ctx, filepath.Join(d.config.DataDir, readModelFile))
	}
	is, known := d.origin(ctx)
	switch {
	case owner != "" && known && owner != is.String():
		d.say(isFailed, what, "%s: %v", where, &readmodels.OccupiedError{By: owner})
	case errors.Is(err, readmodels.ErrNoTables):
		d.say(isOK, what, "%s: %v; serve creates them and fills them from the log", where, err)
	case err != nil:
		d.say(isFailed, what, "%s can't be used: %v; %s", where, err, next)
	case reached.StoreID == "":
		d.say(isOK, what, "%s is empty; serve fills it from the log", where)
	case known && reached.Origin() != is:
		d.say(isWarning, what, "%s was filled from another log; serve fills it again", where)
	default:
		d.say(isOK, what, "%s, filled up to position %d", where, reached.Position)
	}
}

// origin is what tells this installation from others, as far as that can be told now.
func (d *doctor) origin(ctx context.Context) (is readmodels.Origin, known bool) {
	if d.inst == nil {
		return is, false
	}
	first, err := d.log.Client.ReadForward(ctx, codec.Installation.Stream(""), 0, 1)
	if err != nil || len(first) == 0 {
		return is, false
	}
	return readmodels.Origin{
		StoreID: d.inst.Begun.StoreID, Created: first[0].Created.Truncate(time.Microsecond).UTC(),
	}, true
}
