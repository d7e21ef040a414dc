package main

import (
	"context"
	"strings"
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// TestTheDoctorCountsTheCopiesOfOwnSecrets removes one copy of the MAC key, and then both of the
// key of checkpoints.
func TestTheDoctorCountsTheCopiesOfOwnSecrets(t *testing.T) {
	t.Parallel()
	p := newProgram(t, unlimited)
	p.unverified = true // nothing is left to check the end of the audit with
	p.run()
	p.stop()
	const what = "own secrets"
	remove := func(purpose seal.Purpose, copies int) (streams []string) {
		t.Helper()
		p.office(func(ctx context.Context, o *office) error {
			err := walk(ctx, o.client, func(e eventstore.Recorded) error {
				event, _ := codec.Decode(e.Type, e.Data)
				if s, is := event.(codec.SecretSealed); is && s.Purpose == string(purpose) && len(streams) < copies {
					streams = append(streams, e.Stream)
				}
				return nil
			})
			for _, stream := range streams {
				if err == nil {
					err = o.client.Tombstone(ctx, stream)
				}
			}
			return err
		})
		return streams
	}
	if code, said, _ := consult(t, p.env); code != exitOK || !strings.HasPrefix(said[what], "ok") {
		t.Errorf("at first: %d %s", code, said[what])
	}
	one := remove(seal.MACKey, 1)
	code, said, _ := consult(t, p.env)
	if code != exitOK || !strings.HasPrefix(said[what], "warning") || strings.Count(said[what], one[0]) != 1 {
		t.Errorf("without one copy: %d %s", code, said[what])
	}
	both := remove(seal.Checkpoint, 2)
	code, said, _ = consult(t, p.env)
	if code != exitFault || !strings.HasPrefix(said[what], "failed") || !strings.Contains(said[what], both[0]) ||
		!strings.Contains(said[what], both[1]) {
		t.Errorf("without both copies: %d %s", code, said[what])
	}
}
