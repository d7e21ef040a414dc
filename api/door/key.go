package door

import (
	"context"
	"errors"
	"strings"

	"agentkey/commands"
	"agentkey/commands/keys"
	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/integrations/oidc"
)

// presented is what a caller shows: a key of ours, or the token of an identity provider, which may
// be a workload's.
type presented struct {
	key   keys.Key
	token string // "": the key
}

// read reads what a call comes with: its Authorization, or else the cookie of a session.
func (d *Door) read(c *Call) (presented, error) {
	if len(c.Authorization) == 0 && c.Cookie != "" {
		key, err := keys.Parse(c.Cookie)
		if err != nil || key.Kind != keys.Session {
			return presented{}, organization.SessionOver()
		}
		if !c.SameOrigin {
			return presented{}, ForeignPage()
		}
		return presented{key: key}, nil
	}
	if len(c.Authorization) == 0 {
		return presented{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_missing", Detail: "This call needs a key.",
			Hint: "Send it as Authorization: Bearer sk_agent_… (agents) or Bearer sk_admin_… (admins).",
		}
	}
	scheme, text, _ := strings.Cut(c.Authorization[0], " ")
	text = strings.TrimSpace(text)
	bearer := len(c.Authorization) == 1 && strings.EqualFold(scheme, "Bearer")
	isToken := d.Callers.Issuers != nil || c.Operation.Caller == "agent" && oidc.IsJWT(text)
	if bearer && isToken && text != "" && !strings.HasPrefix(text, "sk_") {
		return presented{token: text}, nil
	}
	key, err := keys.Parse(text)
	if !bearer || err != nil || key.Kind != keys.Agent && key.Kind != keys.Service {
		return presented{}, &domain.Error{
			Kind: domain.KindUnauthenticated, Code: "credentials_malformed",
			Detail: "This is not an AgentKey key, or it is mistyped: its checksum does not match.",
			Hint:   "Send the whole key as Authorization: Bearer sk_agent_… or Bearer sk_admin_….",
		}
	}
	return presented{key: key}, nil
}

// find finds who shows it.
func (d *Door) find(ctx context.Context, c *Call, p presented) (known commands.Caller, err error) {
	switch {
	case p.token != "" && c.Operation.Caller == "agent":
		known, err = d.Callers.Workload(ctx, p.token, c.Organization, c.Operation.Vends)
		if !unknown(err) || d.Callers.Issuers == nil {
			return known, err
		}
		// It may be a person's, who is told that this call is for agents.
		if person, perr := d.person(ctx, c, p.token); !unknown(perr) {
			return person, perr
		}
		return known, err
	case p.token != "":
		return d.person(ctx, c, p.token)
	case p.key.Kind == keys.Agent:
		return d.Callers.Agent(ctx, p.key, c.Operation.Vends)
	case p.key.Kind == keys.Session:
		return d.Callers.Session(ctx, p.key, c.Organization)
	default:
		known, err = d.Callers.Service(ctx, p.key)
	}
	if err == nil && c.Organization != "" && c.Organization != known.Organization {
		err = organization.NotAMember()
	}
	return known, err
}

// unknown reports whether a token is nobody's here.
func unknown(err error) bool {
	refusal, is := errors.AsType[*domain.Error](err)
	return is && refusal.Code == "credentials_unknown"
}

func (d *Door) person(ctx context.Context, c *Call, token string) (commands.Caller, error) {
	if d.Callers.Issuers.Asks(token) {
		if err := d.MayAsk(ctx, c); err != nil {
			return commands.Caller{}, err
		}
	}
	m := loop.Meta{
		CommandID: d.Callers.People.NewID(), RequestID: c.RequestID, Address: c.Address, UserAgent: c.UserAgent,
	}
	return d.Callers.Person(ctx, m, token, c.Organization)
}
