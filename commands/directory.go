package commands

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// Directory finds organizations and members by what people and identity providers call themselves.
// Its streams are named after keyed hashes, so nobody reads a person's name off the log. What it
// finds decides nothing: the organization's stream says whether it still holds.
type Directory struct {
	Log    *codec.Log
	MACKey domain.Secret
	Clock  func() time.Time
}

// listing is what something is found under.
type listing string

// personAt is the listing of a person as an identity provider names them. Both are compared
// exactly.
func (d *Directory) personAt(issuer, subject string) listing { return d.at("person", issuer, subject) }

// emailAt is the listing of an e-mail address.
func (d *Directory) emailAt(address string) listing { return d.at("email", FoldEmail(address)) }

// externalAt is the listing of what an identity provider calls an organization.
func (d *Directory) externalAt(e organization.External) listing {
	return d.at("external", e.Issuer, e.ID)
}

func (d *Directory) at(pieces ...string) listing {
	return listing(hex.EncodeToString(hmacOf(d.MACKey, append([]string{"directory"}, pieces...)...)))
}

// FoldEmail is the form in which e-mail addresses are compared: without blanks around them, and
// with ASCII letters in lower case. Other scripts are not folded, because two addresses that only
// look alike may be those of two people.
func FoldEmail(address string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(address))
}

// find lists what a listing has, oldest first.
func (d *Directory) find(ctx context.Context, p listing) ([]codec.DirectoryEntered, error) {
	entries, _, err := d.read(ctx, p)
	return entries, err
}

func (d *Directory) read(ctx context.Context, p listing) (entries []codec.DirectoryEntered, end codec.End, err error) {
	reader := d.Log.Reader(codec.Directory.Stream(string(p)), codec.Begin)
	for more := true; more; {
		var events []codec.Verified
		if events, more, err = reader.Next(ctx, 256); errors.Is(err, eventstore.ErrStreamNotFound) {
			return nil, codec.Begin, nil
		}
		if err != nil {
			return nil, codec.Begin, loop.Refusal(err)
		}
		for _, e := range events {
			if entry, is := e.Event.(codec.DirectoryEntered); is {
				entries = append(entries, entry)
			}
		}
	}
	return entries, reader.End(), nil
}

// enter adds an entry to a listing, unless it is there or settle says that another one counts: then
// that one is returned. Of several processes that enter at once each sees what the others entered.
func (d *Directory) enter(
	ctx context.Context, m loop.Meta, p listing, entry codec.DirectoryEntered,
	settle func([]codec.DirectoryEntered) (codec.DirectoryEntered, bool),
) (codec.DirectoryEntered, error) {
	for {
		entries, end, err := d.read(ctx, p)
		if err != nil {
			return entry, err
		}
		if settled, found := settle(entries); found {
			return settled, nil
		}
		if slices.Contains(entries, entry) {
			return entry, nil
		}
		_, err = d.Log.Write(ctx, codec.Directory.Stream(string(p)), end, entry, codec.Signed{
			Organization: m.Organization, Actor: m.Actor, CommandID: m.CommandID.String(), RequestID: m.RequestID,
			Time: loop.Later(d.Clock(), time.Time{}),
		})
		if !errors.Is(err, eventstore.ErrWrongRevision) {
			return entry, loop.Refusal(err)
		}
	}
}
