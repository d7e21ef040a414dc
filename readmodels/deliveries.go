package readmodels

import (
	"context"
	"database/sql"
	"time"
)

// Delivery is one notification to one channel.
type Delivery struct {
	ID, ChannelID, ChannelName string // of a removed channel too
	Topic                      string
	AgentID, ToolID            string // that it is about, if there are any
	RequestID, SuggestionID    string
	EndsAt                     time.Time // of what needs care
	Status                     string    // pending, failed, delivered or dead
	Attempts                   int
	Problem                    string // of the last attempt
	QueuedAt                   time.Time
	DueAt                      time.Time // zero: it is not tried any more
	EndedAt                    time.Time // zero: it has not ended
	Digest                     string    // that it was delivered in
	Position                   uint64    // of its beginning
}

// DeliveryFilter narrows the deliveries; zero fields do not.
type DeliveryFilter struct{ ChannelID, Status string }

// Deliveries lists the notifications of an organization, newest first.
func (db *DB) Deliveries(ctx context.Context, organization string, f DeliveryFilter, p Page) (List[Delivery], error) {
	q := &text{}
	q.add(`SELECT d.id, d.channel_id, c.name, d.topic, d.agent_id, d.tool_id, d.request_id, d.suggestion_id,
    d.ends_at, d.status, d.attempts, d.problem, d.queued_at,
    CASE WHEN d.due_at > 0 AND d.due_at < c.held_until THEN c.held_until ELSE d.due_at END,
    d.ended_at, d.digest_id, d.position
FROM deliveries AS d
JOIN notification_channels AS c ON c.id = d.channel_id
WHERE d.organization_id = `, q.arg(organization))
	q.is("d.channel_id", f.ChannelID)
	q.is("d.status", f.Status)
	q.page("d", p)
	deliveries, err := collect(ctx, db, q, "deliveries", func(rows *sql.Rows) (Delivery, error) {
		var d Delivery
		var ends, queued, due, ended, position int64
		err := rows.Scan(
			&d.ID, &d.ChannelID, &d.ChannelName, &d.Topic, &d.AgentID, &d.ToolID, &d.RequestID, &d.SuggestionID,
			&ends, &d.Status, &d.Attempts, &d.Problem, &queued, &due, &ended, &d.Digest, &position,
		)
		d.EndsAt, d.QueuedAt, d.DueAt = toTime(ends), toTime(queued), toTime(due)
		d.EndedAt, d.Position = toTime(ended), unsigned(position)
		return d, err
	})
	return cut(deliveries, p, func(d Delivery) uint64 { return d.Position }), err
}

// DueChannel is a channel that has something due.
type DueChannel struct{ Organization, ID string }

// DueChannels lists, of all organizations, up to a number of channels that are not held and have a
// delivery that is due: first the one of each organization that is due longest, then the second,
// and so on.
func (db *DB) DueChannels(ctx context.Context, now time.Time, limit int) ([]DueChannel, error) {
	q := &text{}
	at := Micros(now)
	q.add(`SELECT o.organization_id, o.channel_id FROM (SELECT d.organization_id, d.channel_id, min(d.due_at) AS due_at,
    row_number() OVER (PARTITION BY d.organization_id ORDER BY min(d.due_at), d.channel_id) AS turn
FROM deliveries AS d JOIN notification_channels AS c ON c.id = d.channel_id
WHERE d.due_at > 0 AND d.due_at <= `, q.arg(at), ` AND c.held_until <= `, q.arg(at),
		` GROUP BY d.organization_id, d.channel_id) AS o ORDER BY o.turn, o.due_at, o.channel_id LIMIT `, q.arg(limit))
	return collect(ctx, db, q, "channels with something due", func(rows *sql.Rows) (DueChannel, error) {
		var d DueChannel
		err := rows.Scan(&d.Organization, &d.ID)
		return d, err
	})
}

// DueDelivery is a delivery that is due.
type DueDelivery struct{ Organization, ID string }

// DueDeliveries lists up to a number of a channel's due deliveries, in the order of its queue.
func (db *DB) DueDeliveries(ctx context.Context, channelID string, now time.Time, limit int) ([]DueDelivery, error) {
	q := &text{}
	q.add(`SELECT d.organization_id, d.id FROM deliveries AS d WHERE d.due_at > 0 AND d.due_at <= `, q.arg(Micros(now)),
		` AND d.channel_id = `, q.arg(channelID), ` ORDER BY d.place LIMIT `, q.arg(limit))
	return collect(ctx, db, q, "due deliveries", func(rows *sql.Rows) (DueDelivery, error) {
		var d DueDelivery
		err := rows.Scan(&d.Organization, &d.ID)
		return d, err
	})
}
