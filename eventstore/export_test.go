package eventstore

import (
	"context"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// AppendAnywhere appends an event to a stream whose name this package would refuse, as another
// client might.
func AppendAnywhere(ctx context.Context, c *Client, stream string, e Event) error {
	_, err := call(ctx, c, func(ctx context.Context, l *link) (*esdb.WriteResult, error) {
		return l.inner.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}, esdb.EventData{
			EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson, Data: e.Data, Metadata: e.Metadata,
		})
	})
	return err
}
