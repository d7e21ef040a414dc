package reactions

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/delivery"
	"agentkey/readmodels"
)

// Reminders queues notices of what will happen soon: a credential expires, an access ends. The read
// model says where to look; the streams say whether that is so, and the id of what is sent is made
// of what ends and when, so each end is told to a channel once, however often and by however many
// processes it is looked.
type Reminders struct {
	Models     *readmodels.DB
	Deliveries *commands.Deliveries
	Clock      func() time.Time
	Logger     *slog.Logger

	told map[uuid.UUID]told // by cause: what this process need not look at again
}

// told is an end that was told to an organization's channels as they were at a revision.
type told struct {
	ends     time.Time
	revision int64
}

// How long before its end something is told.
const (
	credentialNotice = 7 * 24 * time.Hour
	grantNotice      = 24 * time.Hour
)

// Run looks at every tick until ctx ends. What fails is tried again at a later tick.
func (r *Reminders) Run(ctx context.Context, tick <-chan time.Time) {
	onTicks(ctx, tick, r.Logger, "what ends soon is not told yet", r.look)
}

func (r *Reminders) look(ctx context.Context) error {
	now := r.Clock()
	for cause, t := range r.told {
		if t.ends.Before(now) {
			delete(r.told, cause)
		}
	}
	revisions := map[string]int64{} // of the organizations
	for _, l := range []struct {
		topic  domain.Topic
		notice time.Duration
		list   func(context.Context, readmodels.Endings) ([]readmodels.Ending, error)
	}{
		{domain.CredentialExpiring, credentialNotice, r.Models.EndingCredentials},
		{domain.GrantExpiring, grantNotice, r.Models.EndingGrants},
	} {
		for e := (readmodels.Endings{Now: now, Until: now.Add(l.notice), Limit: perLook}); ; e.Skip += perLook {
			found, err := l.list(ctx, e)
			if err != nil {
				return err
			}
			for _, ending := range found {
				if err := r.tell(ctx, l.topic, ending, revisions); err != nil {
					return err
				}
			}
			if len(found) < perLook {
				break
			}
		}
	}
	return nil
}

// tell queues the notices of one end, if the streams know of it too: rows that are being filled
// know the past.
func (r *Reminders) tell(
	ctx context.Context, topic domain.Topic, e readmodels.Ending, revisions map[string]int64,
) error {
	if _, known := revisions[e.Organization]; !known {
		head, err := r.Deliveries.Channels.Organizations.Fresh(ctx, e.Organization)
		if err != nil {
			return err
		}
		revisions[e.Organization] = head.Revision
	}
	revision := revisions[e.Organization]
	cause := uuid.NewSHA1(
		uuid.NameSpaceOID,
		[]byte(string(topic)+"/"+e.Organization+"/"+e.AgentID+"/"+e.ToolID+"/"+e.At.UTC().Format(time.RFC3339Nano)),
	)
	if t, done := r.told[cause]; done && t.revision == revision {
		return nil
	}
	holds, err := r.holds(ctx, topic, e)
	if err != nil || !holds {
		return err
	}
	_, err = r.Deliveries.Queue(
		ctx, e.Organization, cause, e.At, topic, delivery.About{AgentID: e.AgentID, ToolID: e.ToolID, EndsAt: &e.At},
	)
	if err == nil {
		if r.told == nil {
			r.told = map[uuid.UUID]told{}
		}
		r.told[cause] = told{ends: e.At, revision: revision}
	}
	return err
}

// holds asks the streams whether something ends at a time.
func (r *Reminders) holds(ctx context.Context, topic domain.Topic, e readmodels.Ending) (bool, error) {
	ends := func(at *time.Time) bool { return readmodels.MicrosOf(at) == readmodels.Micros(e.At) }
	catalog, err := r.Deliveries.Catalogs.Fresh(ctx, e.Organization)
	if err != nil {
		return false, err
	}
	tool, offered := catalog.State.Tools[e.ToolID]
	if !offered || e.AgentID == "" {
		return offered && ends(tool.CredentialExpiresAt), nil
	}
	head, err := r.Deliveries.Agents.Fresh(ctx, e.AgentID)
	if err != nil {
		return false, err
	}
	grant := head.State.Grants[e.ToolID]
	if grant.Of(commands.ToolFacts(catalog.State, e.ToolID), r.Clock()) != agent.Approved {
		return false, nil
	}
	if topic == domain.GrantExpiring {
		return ends(grant.ExpiresAt), nil
	}
	return ends(grant.CredentialExpiresAt), nil
}
