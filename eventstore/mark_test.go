package eventstore_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
)

// TestTheStoreAloneNotesThatItIsACopy: what a client writes must hold no credentials back, and must
// not hide a note that is there.
func TestTheStoreAloneNotesThatItIsACopy(t *testing.T) {
	t.Parallel()
	server := eventstoretest.Start(t)
	c, ctx := server.Client, t.Context()
	note := eventstore.Event{ID: uuid.New(), Type: eventstore.BackupNote, Data: []byte("{}"), Metadata: []byte("{}")}
	if _, err := c.Append(ctx, "backup", eventstore.NoStream, note); err != nil {
		t.Fatal(err)
	}
	if _, there, err := c.Backup(ctx); there || err != nil {
		t.Errorf("another application's stream is a note: %v", err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	if _, err := embedded.Backup(ctx, server.Dir, path, time.Now); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := embedded.Restore(ctx, dir, path, time.Now); err != nil {
		t.Fatal(err)
	}
	restored := eventstoretest.StartWith(t, embedded.Options{Dir: dir}).Client
	for name, change := range map[string]func(context.Context, *eventstore.Client) error{
		"written": func(ctx context.Context, c *eventstore.Client) error {
			return eventstore.AppendAnywhere(ctx, c, eventstore.BackupStream, note)
		},
		"bounded": func(ctx context.Context, c *eventstore.Client) error {
			return c.SetStreamMetadata(ctx, eventstore.BackupStream, eventstore.StreamMetadata{MaxAge: time.Second})
		},
		"removed": func(ctx context.Context, c *eventstore.Client) error {
			return c.Tombstone(ctx, eventstore.BackupStream)
		},
	} {
		for _, c := range []*eventstore.Client{c, restored} {
			if err := change(ctx, c); err == nil {
				t.Errorf("the note could be %s", name)
			}
		}
	}
	if _, there, err := c.Backup(ctx); there || err != nil {
		t.Errorf("the log looks restored: %v", err)
	}
	if _, there, err := restored.Backup(ctx); !there || err != nil {
		t.Errorf("the restored log doesn't look restored: %v", err)
	}
}

// TestOnlyANoteSaysThatALogIsACopy writes something else where a copy says that it is one.
func TestOnlyANoteSaysThatALogIsACopy(t *testing.T) {
	ctx := t.Context()
	isCopy := func(types ...string) bool {
		t.Helper()
		c := eventstoretest.Start(t).Client
		for i, typ := range types {
			e := eventstore.Event{ID: uuid.New(), Type: typ, Data: []byte(`{}`), Metadata: []byte(`{}`)}
			if _, err := c.Append(ctx, eventstore.CopyStream, int64(i)-1, e); err != nil {
				t.Fatal(err)
			}
		}
		note, there, err := c.CopyNote(ctx)
		if err != nil || there && note.Revision != 0 {
			t.Fatalf("%+v: %v", note, err)
		}
		return there
	}
	if isCopy() || isCopy("note.v1") || isCopy("note.v1", eventstore.CopyNote) {
		t.Error("what isn't a note makes a copy of a log")
	}
	if !isCopy(eventstore.CopyNote) || !isCopy(eventstore.CopyNote, "note.v1") {
		t.Error("a note that something follows isn't one")
	}
}
