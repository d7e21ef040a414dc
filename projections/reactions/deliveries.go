package reactions

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"agentkey/commands"
	"agentkey/commands/shares"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/readmodels"
)

// Deliverer sends what is due to be sent. The read model says where to look and in which order, and
// the channel's stream whose turn it is, so any number of processes may look. What goes to one
// channel goes one after another; channels do not wait for each other.
type Deliverer struct {
	Models     *readmodels.DB
	Deliveries *commands.Deliveries
	Clock      func() time.Time
	Logger     *slog.Logger

	mu    sync.Mutex
	busy  map[string]bool // channels to which something is being sent here
	lanes shares.Shares   // of organizations
}

const (
	// channels to which something is sent at a time; one organization has as many as it may have
	// channels, and where others have all, one that has none gets one nevertheless
	maxLanes = 2 * organization.MaxChannels
	laneLoad = 2 * lane.MaxDigest // that are sent to one before it is looked again
)

// Run looks at every tick until ctx ends, and returns when nothing is being sent any more. What
// fails is tried again at a later tick.
func (d *Deliverer) Run(ctx context.Context, tick <-chan time.Time) {
	d.busy = map[string]bool{}
	d.lanes = shares.Shares{All: maxLanes, Each: organization.MaxChannels}
	var lanes sync.WaitGroup
	defer lanes.Wait()
	onTicks(
		ctx, tick, d.Logger, "some notifications are not sent yet",
		func(ctx context.Context) error { return d.look(ctx, &lanes) },
	)
}

// look opens a lane for each channel that is due and has none.
func (d *Deliverer) look(ctx context.Context, lanes *sync.WaitGroup) error {
	due, err := d.Models.DueChannels(ctx, d.Clock(), 2*maxLanes)
	if err != nil {
		return err
	}
	for _, channel := range due {
		if !d.enter(channel) {
			continue
		}
		lanes.Go(func() {
			defer d.leave(channel)
			if err := d.lane(ctx, channel.ID); err != nil && ctx.Err() == nil {
				d.Logger.WarnContext(
					ctx, "a notification is not sent yet", slog.String("channel_id", channel.ID),
					slog.String("error", err.Error()),
				)
			}
		})
	}
	return nil
}

func (d *Deliverer) enter(channel readmodels.DueChannel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[channel.ID] || !d.lanes.Take(channel.Organization) {
		return false
	}
	d.busy[channel.ID] = true
	return true
}

func (d *Deliverer) leave(channel readmodels.DueChannel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lanes.Give(channel.Organization)
	delete(d.busy, channel.ID)
}

// lane sends to one channel.
func (d *Deliverer) lane(ctx context.Context, channel string) error {
	due, err := d.Models.DueDeliveries(ctx, channel, d.Clock(), laneLoad)
	if err != nil {
		return err
	}
	ids := make([]string, len(due))
	for i, n := range due {
		ids[i] = n.ID
	}
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return err // another process sends the rest
		}
		if ids, err = d.Deliveries.SendNext(ctx, due[0].Organization, channel, ids); err != nil {
			return err
		}
	}
	return nil
}
