package commands

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/domain/lane"
	"agentkey/integrations/notify"
)

// taken is a delivery that this process sends, as its claim left it.
type taken struct {
	id    string
	state delivery.State
}

const (
	writers   = 8                // streams of one digest that are written at a time
	closeTime = 10 * time.Second // to write down what became of a turn, also when the program stops
)

// SendNext sends what is next in a channel's queue: one notification, or a digest. ids are those
// that are due, oldest first; it returns those that may be sent after it. Nil means that the
// channel is held, or another process has the turn. Errors are those of the log: then the turn
// lapses, and another process sends the same again.
func (d *Deliveries) SendNext(
	ctx context.Context, organizationID, channelID string, ids []string,
) (rest []string, err error) {
	waiting, err := d.waiting(ctx, ids)
	if err != nil || len(waiting) == 0 {
		return nil, err
	}
	claimed, err := d.lane(ctx, organizationID, channelID, func(_ lane.State, at time.Time) (lane.Command, error) {
		return lane.Claim{OrganizationID: organizationID, At: at, Waiting: waiting}, nil
	})
	if err != nil || !claimed.Changed {
		return nil, err
	}
	turn := claimed.State
	post, sends, err := d.take(ctx, organizationID, turn)
	if err != nil {
		return nil, err
	}
	var problem *notify.Problem
	if len(sends) > 0 {
		if problem, err = d.send(ctx, organizationID, channelID, post); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	err = d.close(ctx, organizationID, channelID, turn.Turn, post, sends, problem)
	if err != nil || problem != nil && !problem.Alone {
		return nil, err
	}
	return slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(turn.Deliveries, id) }), nil
}

// waiting leaves out what has ended: the rows that name the ids are behind. Another process may
// have been asked to send again what has ended as far as this one knows.
func (d *Deliveries) waiting(ctx context.Context, ids []string) ([]lane.Waiting, error) {
	var out []lane.Waiting
	for _, id := range ids {
		head, err := d.Loop.Cached(ctx, id)
		if err != nil {
			return nil, err
		}
		if !head.State.Waits() {
			if head, err = d.Loop.Fresh(ctx, id); err != nil {
				return nil, err
			}
		}
		if s := head.State; s.Waits() {
			// Who would rather have nobody hear of an operator could hide it in a digest.
			alone := s.Alone || s.Topic == domain.Test || s.Topic == domain.BreakGlass
			out = append(out, lane.Waiting{ID: id, Since: s.Since, Alone: alone})
		}
	}
	return out, nil
}

func (d *Deliveries) lane(
	ctx context.Context, organizationID, channelID string, build loop.Build[lane.State, lane.Command],
) (LaneResult, error) {
	m := loop.Meta{Organization: organizationID, Actor: notifier, CommandID: d.NewID()}
	return d.Lanes.Do(ctx, channelID, m, build)
}

// take claims the deliveries of a turn and finds their words. What was delivered or given up before
// is left out.
func (d *Deliveries) take(ctx context.Context, organizationID string, turn lane.State) (notify.Post, []taken, error) {
	sends := make([]*taken, len(turn.Deliveries))
	messages := make([]notify.Message, len(turn.Deliveries))
	each, within := errgroup.WithContext(ctx)
	each.SetLimit(writers)
	for i, id := range turn.Deliveries {
		each.Go(func() error {
			claimed, err := d.do(within, organizationID, id, func(_ delivery.State, at time.Time) (delivery.Command, error) {
				return delivery.Claim{At: at, Until: turn.Until}, nil
			})
			if err != nil || !claimed.Changed {
				return err
			}
			sends[i] = &taken{id: id, state: claimed.State}
			messages[i], err = d.message(within, id, claimed.State)
			return err
		})
	}
	if err := each.Wait(); err != nil {
		return notify.Post{}, nil, err
	}
	post := notify.Post{Organization: organizationID}
	var out []taken
	var ids strings.Builder
	for i, t := range sends {
		if t != nil {
			out, post.Messages = append(out, *t), append(post.Messages, messages[i])
			ids.WriteString(t.id)
			post.ID, post.At = t.id, messages[i].At
		}
	}
	if len(out) > 1 { // the same notifications are the same digest
		post.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("digest/"+ids.String())).String()
	}
	return post, out, nil
}

// close writes down what became of a turn. A failure holds the channel first: should the process
// die in between, the receiver is still left alone for as long as it asked.
func (d *Deliveries) close(
	ctx context.Context,
	organizationID, channelID string,
	turn int,
	post notify.Post,
	sends []taken,
	problem *notify.Problem,
) error {
	jitter := rand.Float64() //nolint:gosec // spreading retries needs no secrecy
	var next time.Time
	held := problem != nil && !problem.Now && !problem.Never && !problem.Alone
	if held {
		done, err := d.lane(ctx, organizationID, channelID, func(_ lane.State, at time.Time) (lane.Command, error) {
			return lane.Hold{At: at, Turn: turn, Wait: problem.Wait, Jitter: jitter}, nil
		})
		if err != nil {
			return err
		}
		next = done.State.HeldUntil
	}
	digest := ""
	if len(sends) > 1 {
		digest = post.ID
	}
	each, within := errgroup.WithContext(ctx)
	each.SetLimit(writers)
	for _, t := range sends {
		each.Go(func() error {
			_, err := d.do(within, organizationID, t.id, func(_ delivery.State, at time.Time) (delivery.Command, error) {
				if problem == nil {
					return delivery.Succeed{Attempt: t.state.Attempts, Digest: digest}, nil
				}
				return delivery.Fail{
					At: at, Attempt: t.state.Attempts, Problem: problem.Text,
					Never: problem.Never || t.state.Topic == domain.Test, NextAt: next, Alone: problem.Alone,
					Jitter: jitter,
				}, nil
			})
			return err
		})
	}
	if err := each.Wait(); err != nil || held {
		return err
	}
	_, err := d.lane(ctx, organizationID, channelID, func(lane.State, time.Time) (lane.Command, error) {
		return lane.Release{Turn: turn}, nil
	})
	return err
}
