// Command agentkey is a credential broker for AI agents: the server, the event store on its own,
// and the tools of its operators. It is the only place that knows every package; it decides
// nothing.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
	_ "time/tzdata" // allowed hours of tools name time zones, and a small image has no database of them

	"github.com/alecthomas/kong"

	"agentkey/cmd/agentkey/people"
)

func main() {
	if err := keepMemoryPrivate(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "agentkey: memory dumps are not prevented:", err)
	}
	syscall.Umask(0o077) // files that SQLite makes beside its own are private too
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2 // wrong arguments or configuration; nothing was opened

	exitUnreachable = 3 // a service that a command for people calls doesn't answer
)

type commandLine struct {
	Version kong.VersionFlag `help:"Print the version and the commit."`
	Config  string           `placeholder:"FILE" help:"Configuration file. Environment variables take precedence. AGENTKEY_CONFIG also names it."`

	Serve        serveCommand        `cmd:"" help:"Start the service. It is configured by AGENTKEY_… variables and needs nothing else by default."`
	Demo         demoCommand         `cmd:"" help:"Make a demo with made-up people, agents and history, and serve it. It uses nothing of a real installation."`
	Settings     settingsCommand     `cmd:"" help:"Print all settings as Markdown."`
	Doctor       doctorCommand       `cmd:"" help:"Check everything that serve needs and report problems."`
	EventStore   eventStoreCommand   `cmd:"" name:"eventstore" help:"Run or copy the embedded event store."`
	Organization organizationCommand `cmd:"" help:"Manage organizations."`
	Token        tokenCommand        `cmd:"" help:"Manage service tokens."`
	Keys         keysCommand         `cmd:"" help:"Replace master keys and signing keys."`
	Admin        adminCommand        `cmd:"" help:"Recover a lost admin token."`
	Privacy      privacyCommand      `cmd:"" help:"Erase personal data."`
	Projections  projectionsCommand  `cmd:"" help:"Rebuild read models."`
	Audit        auditCommand        `cmd:"" help:"Export the audit, and check what was exported."`
	Backup       backupCommand       `cmd:"" help:"Back up the embedded event log to a file. It works while serve is running."`
	Restore      restoreCommand      `cmd:"" help:"Restore an event log from a backup."`

	ConfirmRestore confirmRestoreCommand `cmd:"" help:"Resume vending credentials after a restore."`

	People people.Commands `embed:"" group:"For people, on a running service"`
}

// shell is what a subcommand gets from the world around it.
type shell struct {
	ctx     context.Context //nolint:containedctx // a command runs for exactly as long as its shell
	environ []string
	stdout  io.Writer
	stderr  io.Writer
}

// run is the whole program but for the process around it; tests call it too.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var line commandLine
	exited := -1
	version, commit := build()
	parser, err := kong.New(&line, kong.Name("agentkey"), kong.UsageOnError(),
		kong.Description(
			"Credential governance for AI agents: no access by default, one human approval, every fetch logged.",
		),
		kong.Vars{"version": "agentkey " + version + " " + commit}, kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "agentkey:", err)
		return exitFault
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "agentkey:", err)
		return exitUsage
	}
	if line.Config != "" {
		environ = append(slices.Clone(environ), configVariable+"="+line.Config)
	}
	err = parsed.Run(&shell{ctx: ctx, environ: environ, stdout: stdout, stderr: stderr}, &people.Shell{
		Ctx: ctx, Environ: environ, Stdin: stdin, Stdout: stdout, Stderr: stderr, Version: version, Now: time.Now,
	})
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "agentkey:", err)
		switch {
		case isUsage(err):
			return exitUsage
		case people.Unreachable(err):
			return exitUnreachable
		}
		return exitFault
	}
	return exitOK
}
