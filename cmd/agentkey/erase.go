package main

import (
	"context"
	"fmt"

	"agentkey/commands"
)

type privacyCommand struct {
	Erase privacyErase `cmd:"" help:"Erase the addresses, user agents and labels of a month. The audit still verifies. It can't be undone."`
}

type privacyErase struct {
	Month        string `required:"" placeholder:"2026-03" help:"The month (UTC). Of the present one, its days that are over."`
	Reason       string `required:"" help:"Why; the audit keeps it in clear, so name nobody."`
	Organization string `help:"The organization's id. Without it, the month is erased for every organization."`
}

// Run removes the keys of a month's personal data.
func (c *privacyErase) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		erasures := &commands.Erasures{
			Organizations: commands.NewOrganizationLoop(o.env), Privacy: o.privacy, Log: o.inst.Log, Clock: o.env.Clock,
		}
		organizations := []string{c.Organization}
		if c.Organization == "" {
			var err error
			if organizations, err = erasures.All(ctx); err != nil {
				return err
			}
		}
		for _, id := range organizations {
			done, err := erasures.Month(ctx, o.meta(id), c.Month, c.Reason)
			if err != nil {
				return misused(err)
			}
			was := ""
			if !done.Changed {
				was = " (it was erased before)"
			}
			if _, err := fmt.Fprintf(
				sh.stdout, "Erased %s through %s for the organization %s: %d days had a key%s.\n", c.Month, done.Through, id,
				done.Days, was,
			); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(
			sh.stderr,
			"A running service shows it for another minute at most. Backups that were made before still hold the keys.",
		)
		return err
	})
}
