package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/seal"
	"agentkey/projections"
	"agentkey/projections/reactions"
)

// operator acts through the commands of this program: anyone who can read the data folder. Its
// label, which events hold sealed, is the operating system's user and host.
func operator() domain.Actor {
	who := commands.Operator
	who.Label = whoRuns()
	return who
}

// office is the installation as the operator's commands see it, through the running server's socket
// or the store opened by themselves.
type office struct {
	config Config
	client *eventstore.Client
	inst   *commands.Installation
	env    *loop.Env
	logger *slog.Logger
	store  *embedded.Store // nil: another process has it, or the log is elsewhere

	privacy *seal.Privacy
}

// inOffice joins an installation that has begun, does something with it, and leaves.
func inOffice(sh *shell, do func(context.Context, *office) error) error {
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return err
	}
	return inOfficeOf(sh, c, true, do)
}

// inOfficeOf is inOffice on a configuration. Unless it may share a folder with the process that
// serves it, that one must have stopped.
func inOfficeOf(sh *shell, c Config, share bool, do func(context.Context, *office) error) (err error) {
	logger := slog.New(slog.NewTextHandler(sh.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if c.EventStoreURL == "" && !embedded.Exists(c.DataDir) { // and none is made
		return noInstallation(c)
	}
	log, err := OpenLog(sh.ctx, c, share, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	begun, err := commands.Exists(sh.ctx, log.Client)
	if err != nil {
		return fmt.Errorf("read the event log: %w", err)
	}
	if !begun {
		return noInstallation(c)
	}
	inst, err := beginning(sh.ctx, c, log.Client, nil)
	if err != nil {
		return err
	}
	privacy := seal.NewPrivacy(inst.Secrets, time.Now)
	return do(
		sh.ctx,
		&office{
			config: c, client: log.Client, inst: inst, env: inst.Env(time.Now, sealer(privacy), nil), logger: logger,
			store: log.store, privacy: privacy,
		},
	)
}

func noInstallation(c Config) error {
	where := c.DataDir
	if c.EventStoreURL != "" {
		where = "the event log of AGENTKEY_EVENTSTORE_URL"
	}
	return fmt.Errorf(
		"there is no installation in %s: name its data folder in AGENTKEY_DATA_DIR, or begin one with agentkey serve", where,
	)
}

func (o *office) meta(organization string) loop.Meta {
	return loop.Meta{Organization: organization, Actor: operator(), CommandID: newID()}
}

type organizationCommand struct {
	Create struct {
		Name string `arg:"" help:"The organization's name."`
	} `cmd:"" help:"Create an organization and print its id."`
}

// Run creates an organization.
func (c *organizationCommand) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		id, err := o.organizations().Create(ctx, o.meta(""), c.Create.Name)
		if err == nil {
			_, err = fmt.Fprintln(sh.stdout, id)
		}
		return misused(err)
	})
}

func (o *office) organizations() *commands.Organizations {
	return &commands.Organizations{
		Loop: commands.NewOrganizationLoop(o.env), Privacy: o.privacy, First: o.inst.Begun.OrganizationID,
	}
}

// misused turns a refusal of what was typed into a usage error.
func misused(err error) error {
	if refusal, refused := errors.AsType[*domain.Error](err); refused && refusal.Kind == domain.KindInvalid {
		return usageError{errors.New(refusal.Detail)}
	}
	return err
}

type keysCommand struct {
	Add       keysAdd       `cmd:"" help:"Register another master key with the installation."`
	Roll      keysRoll      `cmd:"" help:"Rewrap every secret with the current master key, which is the first one."`
	Destroyed keysDestroyed `cmd:"" help:"Record that no copy of a former master key is left: what only that key wrapped is noise from then on."`
	Sign      keysSign      `cmd:"" help:"Replace the keys that sign the event log. It takes about a minute."`
}

type keysAdd struct {
	KeyFile string `help:"File with the new key, 32 bytes in base64. Without it, a key is created." type:"existingfile"`
}

// Run adds a master key.
func (c *keysAdd) Run(sh *shell) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	key, err := seal.ParseMasterKey(text)
	if err != nil {
		return usageError{err}
	}
	return inOffice(sh, func(ctx context.Context, o *office) error {
		err := o.masterKeys().Add(ctx, o.meta(o.inst.Begun.OrganizationID), key.Public())
		if err != nil {
			return err
		}
		if len(o.config.MasterKeys) > 0 {
			if c.KeyFile == "" {
				_, err = fmt.Fprintln(sh.stdout, text)
			}
			if err == nil {
				_, err = fmt.Fprintf(
					sh.stderr,
					"Registered the master key %s. Configure it after the current key on every process, then put it "+
						"first on every process, then run: agentkey keys roll\n",
					key.ID(),
				)
			}
			return err
		}
		path := filepath.Join(o.config.DataDir, masterKeyFile)
		old, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
		if err != nil {
			return fmt.Errorf("read the master key: %w", err)
		}
		lines := append(strings.Fields(string(old)), text)
		if err := writePrivate(path, strings.Join(lines, "\n")+"\n"); err != nil {
			return err
		}
		_, err = fmt.Fprintf(
			sh.stderr,
			"Registered the master key %s, now the last line of %s. Restart agentkey serve, move the key to the "+
				"first line, restart again, then run: agentkey keys roll\n",
			key.ID(), path,
		)
		return err
	})
}

func (c *keysAdd) text() (string, error) {
	if c.KeyFile == "" {
		return seal.NewMasterKeyText()
	}
	raw, err := os.ReadFile(c.KeyFile)
	return strings.TrimSpace(string(raw)), err
}

type keysRoll struct{}

// Run rewraps every secret.
func (keysRoll) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		// What ended before this key came must not get it: a report calls a secret destroyed once all
		// keys are that there were when it ended.
		reactor := reactions.Reactor{
			Log: o.inst.Log, Organization: o.inst.Begun.OrganizationID, Clock: time.Now, NewID: newID, Logger: o.logger,
		}
		if err := reactor.Hurry(ctx, reactions.EndedSecrets(o.inst.Secrets)); err != nil {
			return fmt.Errorf("remove the secrets that have ended: %w", err)
		}
		changed, err := o.masterKeys().Roll(ctx, o.meta(o.inst.Begun.OrganizationID))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(
			sh.stdout, "Rewrapped %d secrets with the master key %s; no secret uses another key.\n", changed,
			o.inst.Secrets.Ring().Current().ID(),
		)
		return err
	})
}

type keysDestroyed struct {
	ID string `arg:"" help:"The id of the key, as it is in the audit (master_key.added) and in backups."`
}

// Run records that a master key is gone.
func (c *keysDestroyed) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		err := o.masterKeys().Destroyed(ctx, o.meta(o.inst.Begun.OrganizationID), c.ID)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(
			sh.stdout, "Recorded that no copy of the master key %s is left. Reports show what only it wrapped as destroyed.\n",
			c.ID,
		)
		return err
	})
}

type keysSign struct{}

// Run replaces the signing key and its MAC key.
func (keysSign) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		done, err := o.inst.SigningKeys.Replace(
			ctx, commands.NewInstallationLoop(o.env), func() loop.Meta { return o.meta(o.inst.Begun.OrganizationID) },
			func(ctx context.Context, d time.Duration) error {
				_, _ = fmt.Fprintf(
					sh.stderr,
					"A new key signs. In %.0f seconds, when every process uses it, the former key ends. "+
						"The service may run on.\n", d.Seconds(),
				)
				select {
				case <-time.After(d):
					return nil
				case <-ctx.Done():
					return fmt.Errorf(
						"interrupted: both keys count until you run agentkey keys sign again, which ends the former one: %w", ctx.Err(),
					)
				}
			},
		)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(
			sh.stdout, "The key %s signs the event log.\nEnded: %s. It counts for what %d streams held.\n", done.KeyID,
			strings.Join(done.Ended, ", "), done.Streams,
		)
		return err
	})
}

func (o *office) masterKeys() *commands.MasterKeys {
	return &commands.MasterKeys{Loop: commands.NewInstallationLoop(o.env), Secrets: o.inst.Secrets, Clock: time.Now}
}

type projectionsCommand struct {
	Rebuild projectionsRebuild `cmd:"" help:"Rebuild the read model from the log beside the old one, then switch to it. Stop serve first."`
}

type projectionsRebuild struct{}

// Run rebuilds the read model.
func (projectionsRebuild) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) (err error) {
		models, err := openModels(ctx, o.config, o.logger)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, models.Close()) }()
		model := projections.NewReadModel(projections.ReadModelConfig{
			Log: o.inst.Log, DB: models, Logger: o.logger, Clock: time.Now,
		})
		if err := model.Rebuild(ctx); err != nil {
			return err
		}
		reached, err := models.ReadCheckpoint(ctx)
		if err == nil {
			_, err = fmt.Fprintf(sh.stdout, "Rebuilt the read model up to position %d.\n", reached.Position)
		}
		return err
	})
}
