package readmodels

import (
	"context"
	"database/sql"
	"strings"
	"time"
)

// Channel is a notification channel that was not removed.
type Channel struct {
	ID, Kind, Name       string
	Topics               []string
	Host                 string // of its URL
	Recipients           int    // of e-mail
	CreatedAt, UpdatedAt time.Time
	Revision             int
	Position             uint64 // of its addition
}

// Channels lists the notification channels of an organization, newest first.
func (db *DB) Channels(ctx context.Context, organization string, p Page) (List[Channel], error) {
	channels, err := db.channels(ctx, organization, "", p)
	return cut(channels, p, func(c Channel) uint64 { return c.Position }), err
}

// Channel returns one notification channel, or ErrNotFound.
func (db *DB) Channel(ctx context.Context, organization, id string) (Channel, error) {
	if id == "" {
		return Channel{}, ErrNotFound
	}
	return only(db.channels(ctx, organization, id, Page{Limit: 1}))
}

func (db *DB) channels(ctx context.Context, organization, id string, p Page) ([]Channel, error) {
	q := &text{}
	q.add(`SELECT c.id, c.kind, c.name, c.topics, c.host, c.recipients, c.created_at, c.updated_at, c.revision, c.position
FROM notification_channels AS c
WHERE c.removed_at = 0 AND c.organization_id = `, q.arg(organization))
	q.is("c.id", id)
	q.page("c", p)
	return collect(ctx, db, q, "notification channels", func(rows *sql.Rows) (Channel, error) {
		var c Channel
		var topics string
		var created, updated, position int64
		err := rows.Scan(
			&c.ID, &c.Kind, &c.Name, &topics, &c.Host, &c.Recipients, &created, &updated, &c.Revision, &position,
		)
		c.Topics = strings.Split(topics, ",")
		c.CreatedAt, c.UpdatedAt, c.Position = toTime(created), toTime(updated), unsigned(position)
		return c, err
	})
}
