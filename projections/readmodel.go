package projections

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/readmodels"
)

// ReadModelConfig is what the projection of the read model works with; see FollowerConfig.
type ReadModelConfig struct {
	Log    *codec.Log
	DB     *readmodels.DB
	Logger *slog.Logger
	Clock  func() time.Time
	Tracer trace.Tracer
	OnLost func(context.Context, eventstore.Mark) error

	Idle, MinDelay, MaxDelay time.Duration
}

// ReadModel fills the tables that the API joins: one follower with one checkpoint.
type ReadModel struct {
	ReadModelConfig
	*Follower

	building sync.Mutex // one rebuild at a time
}

// NewReadModel returns the projection; Run sets it going.
func NewReadModel(c ReadModelConfig) *ReadModel { return named("read_model", c) }

func named(name string, c ReadModelConfig) *ReadModel {
	return &ReadModel{ReadModelConfig: c, Follower: NewFollower(FollowerConfig{
		Name: name, Log: c.Log, Logger: c.Logger, Clock: c.Clock, Place: c.DB, Lead: c.DB.Lead, CaughtUp: c.DB.Settle,
		Tracer: c.Tracer, OnLost: c.OnLost, Idle: c.Idle, MinDelay: c.MinDelay, MaxDelay: c.MaxDelay,
		Handle: func(ctx context.Context, b Batch) error {
			return c.DB.Write(ctx, func(tx *readmodels.Tx) error {
				if err := tx.Move(ctx, b.StoreID, b.From, b.To, b.Mark); err != nil {
					return err
				}
				if err := tx.KeepEnds(ctx, b.Ends); err != nil {
					return err
				}
				return newRows(tx).apply(ctx, b.Events)
			})
		},
	})}
}
