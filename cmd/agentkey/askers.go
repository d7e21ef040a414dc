package main

import (
	"context"
	"errors"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/projections"
	"agentkey/readmodels"
)

// askers finds who asked for a tool in a time, once the read model has everything that the log
// holds now.
func askers(
	log *eventstore.Client, models *readmodels.DB, readModel *projections.ReadModel,
) func(context.Context, string, time.Time, time.Time) (commands.Askers, error) {
	return func(ctx context.Context, organization string, from, to time.Time) (commands.Askers, error) {
		end, found, err := log.Newest(ctx, func(e eventstore.Recorded) bool {
			category, _ := codec.Split(e.Stream)
			return category.Deciding()
		})
		if err != nil || !found {
			return commands.Askers{}, errors.Join(err, errors.New("find the end of the log"))
		}
		reached, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		err = models.Usable()
		if err == nil {
			err = readModel.WaitFor(reached, end.Position)
		}
		var agents []string
		if err == nil {
			agents, err = models.Askers(ctx, organization, from, to)
		}
		if err != nil {
			return commands.Askers{}, errors.Join(&domain.Error{
				Kind: domain.KindUnavailable, Code: "read_model_behind",
				Detail:     "The read model isn't up to date, so a rule can't be replayed now.",
				Hint:       "Send the same request again after {wait}. Requests are still decided.",
				RetryAfter: time.Second,
			}, err)
		}
		return commands.Askers{Agents: agents, Position: end.Position}, nil
	}
}
