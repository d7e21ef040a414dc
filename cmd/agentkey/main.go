// Command agentkey is a credential broker for AI agents: the server, the event store on its own, and the tools
// of whoever runs them. It is the only place that knows every package; it decides nothing.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	syscall.Umask(0o077) // whatever SQLite makes beside its files is nobody else's either
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2 // wrong arguments or configuration; nothing was opened
)

type commandLine struct {
	Config string `placeholder:"FILE" help:"Configuration file, for what the environment does not set. AGENTKEY_CONFIG names it too."`

	Serve        serveCommand        `cmd:"" help:"Start the service. Configured by AGENTKEY_… variables; with none it needs nothing else."`
	Settings     settingsCommand     `cmd:"" help:"Print everything that can be set, as Markdown."`
	Doctor       doctorCommand       `cmd:"" help:"Look at everything that serve needs, and say what is wrong."`
	EventStore   eventStoreCommand   `cmd:"" name:"eventstore" help:"The embedded event store on its own."`
	Organization organizationCommand `cmd:"" help:"Organizations."`
	Token        tokenCommand        `cmd:"" help:"Service tokens."`
	Keys         keysCommand         `cmd:"" help:"Master keys."`
	Admin        adminCommand        `cmd:"" help:"When the admin token was lost."`
	Projections  projectionsCommand  `cmd:"" help:"Read models."`
	Backup       backupCommand       `cmd:"" help:"Copy the embedded event log into a file, also while it is being served."`
	Restore      restoreCommand      `cmd:"" help:"Put a backup in the place of an event log that is gone."`

	ConfirmRestore confirmRestoreCommand `cmd:"" help:"Let credentials be vended again after the event log was restored."`
}

// shell is what a subcommand gets from the world around it.
type shell struct {
	ctx     context.Context //nolint:containedctx // a command runs for exactly as long as its shell
	environ []string
	stdout  io.Writer
	stderr  io.Writer
}

// run is the whole program but for the process around it; tests call it too.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var line commandLine
	exited := -1
	parser, err := kong.New(&line, kong.Name("agentkey"), kong.UsageOnError(),
		kong.Description("Credential governance for AI agents: nothing by default, a human approves once, every fetch is in the log."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }))
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
	if err := parsed.Run(&shell{ctx: ctx, environ: environ, stdout: stdout, stderr: stderr}); err != nil {
		_, _ = fmt.Fprintln(stderr, "agentkey:", err)
		if isUsage(err) {
			return exitUsage
		}
		return exitFault
	}
	return exitOK
}
