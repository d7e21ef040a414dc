package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"agentkey/commands"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
)

type adminLogin struct {
	ofOrganization
}

// Run prints a link that signs a browser in as an owner. What the session does is done by a service
// token that ends with it, so that it can be listed and revoked.
func (c *adminLogin) Run(sh *shell) error {
	return inOffice(sh, func(ctx context.Context, o *office) error {
		until := time.Now().Add(organization.SessionTime).UTC().Truncate(time.Second)
		made, err := o.organizations().CreateToken(ctx, o.meta(c.id(o)), commands.NewToken{
			Name: "sign-in link", Role: domain.RoleOwner, ExpiresAt: &until, By: byOperator,
		})
		if err != nil {
			return misused(err)
		}
		link, err := o.organizations().OfferSession(ctx, o.meta(c.id(o)), made.Token.ID)
		if err == nil {
			_, err = fmt.Fprintln(sh.stdout, signInURL(o.config, o.config.Listen, link))
		}
		return err
	})
}

// signInURL is where a browser follows a sign-in link: the address at which people reach this
// process, as far as it knows.
func signInURL(c Config, listens, link string) string {
	base := "http"
	if c.TLSCert != "" {
		base = "https"
	}
	host, port, _ := net.SplitHostPort(listens) // checked with the configuration
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	base += "://" + net.JoinHostPort(host, port)
	if c.DashboardDir != "" {
		base = cmp.Or(c.Dashboard.Origin(), base)
	}
	return base + "/auth/link?code=" + url.QueryEscape(link)
}

// offerSignIn prints a link for the first admin token, so that somebody who has just begun an
// installation can go on in a browser.
func offerSignIn(sh *shell, c Config, parts parts, first, listens string) error {
	o := parts.server.Organizations
	head, err := o.Loop.Fresh(sh.ctx, first)
	if err != nil {
		return err
	}
	token, found := head.State.Token(organization.ConfiguredToken)
	if !found {
		return nil
	}
	link, err := o.OfferSession(
		sh.ctx, loop.Meta{Organization: first, Actor: operator(), CommandID: newID()}, token.ID,
	)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(
		sh.stdout, "Sign a browser in with it, once and within five minutes:\n%s\n", signInURL(c, listens, link),
	)
	return err
}
