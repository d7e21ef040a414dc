package embedded_test

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

// subscription reads what a follower is sent, message by message.
type subscription struct {
	t      *testing.T
	call   streams.Streams_ReadClient
	cancel context.CancelFunc
}

// follow subscribes and takes the confirmation.
func (w *wire) follow(name string, change ...option) *subscription {
	w.t.Helper()
	ctx, cancel := context.WithCancel(wait.Context(w.t))
	w.t.Cleanup(cancel)
	call, err := w.streams.Read(ctx, readOptions(name, append(change, following)...))
	if err != nil {
		w.t.Fatal(err)
	}
	s := &subscription{t: w.t, call: call, cancel: cancel}
	if m := s.next(); m.GetConfirmation().GetSubscriptionId() == "" {
		w.t.Fatalf("first came %v", m)
	}
	return s
}

func (s *subscription) next() *streams.ReadResp {
	s.t.Helper()
	m, err := s.call.Recv()
	if err != nil {
		s.t.Fatalf("the subscription ended: %v", err)
	}
	return m
}

// want takes as many messages as there are lines and compares them.
func (s *subscription) want(lines ...string) {
	s.t.Helper()
	got := []string{}
	for range lines {
		got = append(got, line(s.next()))
	}
	if diff := cmp.Diff(lines, got); diff != "" {
		s.t.Fatalf("(-want +got):\n%s", diff)
	}
}

// ends takes the end of the subscription.
func (s *subscription) ends(code codes.Code, trailer ...string) {
	s.t.Helper()
	if m, err := s.call.Recv(); err == nil {
		s.t.Errorf("instead of the end came %v", m)
	} else {
		refused(s.t, err, s.call.Trailer(), code, trailer...)
	}
}

func TestFollowingTheLog(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(600)...)
	before := w.positions()
	fromStart, fromPosition, fromEnd := w.follow("", all), w.follow("", allFrom(before[598])), w.follow("", allEnd)
	size := before[599] - before[598] // of the events to come too
	beyond, largest := w.follow("", allFrom(before[599]+2*size)), w.follow("", allFrom(math.MaxUint64))
	fromStart.want(append(lines("s", 0, 599), "caught up")...)
	fromPosition.want("599@s", "caught up") // strictly after it
	fromEnd.want("caught up")               // at once, though there was nothing to send
	beyond.want("caught up")
	largest.want("caught up")
	for i := range 5 { // one call each: the subscriptions stay live
		w.wrote("s", 599+i, several(1)...)
		for _, s := range []*subscription{fromStart, fromPosition, fromEnd} {
			s.want(lines("s", 600+i, 600+i)...)
		}
	}
	beyond.want(lines("s", 602, 604)...) // from a position that was not yet: what came up to it is not sent
}

// TestSweptEventsAreNotSentFromMemory follows from the beginning what was written a moment ago.
func TestSweptEventsAreNotSentFromMemory(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(1)...)
	w.wrote("secret-1", "none", several(1)...)
	w.wrote("agent-1", 0, several(1)...)
	w.tombstone("secret-1")
	sweep(t, w)
	w.follow("", all).want("0@agent-1", "1@agent-1", "9223372036854775807@secret-1", "caught up")
}

func TestFollowingAStream(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(600)...)
	w.wrote("other", "none", several(3)...)
	fromStart, fromRevision, fromEnd := w.follow("s"), w.follow("s", revision(597)), w.follow("s", streamEnd)
	notYet, atEnd, largest := w.follow("later"), w.follow("later", streamEnd), w.follow("s", revision(math.MaxUint64))
	fromStart.want(append(lines("s", 0, 599), "caught up")...)
	fromRevision.want("598@s", "599@s", "caught up") // strictly after it
	fromEnd.want("caught up")
	notYet.want("caught up")
	atEnd.want("caught up")
	largest.want("caught up")
	w.wrote("other", 2, several(1)...)
	w.wrote("s", 599, several(2)...)
	w.wrote("later", "none", several(2)...)
	for _, s := range []*subscription{fromStart, fromRevision, fromEnd} {
		s.want("600@s", "601@s")
	}
	notYet.want("0@later", "1@later")
	atEnd.want("0@later", "1@later")
}

func TestATombstoneEndsAFollower(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(3)...)
	live, log := w.follow("s"), w.follow("", all)
	live.want("0@s", "1@s", "2@s", "caught up")
	w.wrote("s", 2, several(400)...)
	w.tombstone("s")
	tombstone := line(&streams.ReadResp{Content: &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{
		Event: &streams.ReadResp_ReadEvent_RecordedEvent{
			StreamIdentifier: identifier("s"), StreamRevision: math.MaxInt64,
		},
	}}})
	// All that came before it, more than a page, then the tombstone, then the end. It may have caught
	// up between.
	for _, want := range append(lines("s", 3, 402), tombstone) {
		m := live.next()
		if line(m) == "caught up" {
			m = live.next()
		}
		if line(m) != want {
			t.Fatalf("came %s, not %s", line(m), want)
		}
	}
	live.ends(codes.FailedPrecondition, "exception=stream-deleted", "stream-name=s")
	// confirmed, nothing sent, dropped
	w.follow("s").ends(codes.FailedPrecondition, "exception=stream-deleted", "stream-name=s")
	w.follow("s", streamEnd).ends(codes.FailedPrecondition, "exception=stream-deleted")
	for line(log.next()) != tombstone { //nolint:revive // the log continues
	}
}

func TestAFollowerOfADeletedStreamSeesItComeBack(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(3)...)
	w.softDelete("s")
	s := w.follow("s")
	s.want("caught up")
	w.wrote("s", "none", several(2)...)
	s.want("3@s", "4@s")
	w.bound("bounded", `{"$maxCount":2}`)
	w.wrote("bounded", "none", several(5)...)
	w.follow("bounded").want("3@bounded", "4@bounded", "caught up")
}

func TestFollowersAreFiltered(t *testing.T) {
	w := serve(t, embedded.Options{})
	var early []*subscription
	for _, tt := range filters {
		s := w.follow("", all, filtered(tt.byStream, tt.f))
		s.want("caught up") // of an empty log
		early = append(early, s)
	}
	writeFiltered(w)
	head := w.store.Head()
	for n, tt := range filters {
		late := w.follow("", all, filtered(tt.byStream, tt.f))
		late.want(append(slices.Clone(tt.want), "caught up")...)
		early[n].want(tt.want...)
		late.cancel()
		if late = w.follow("", allFrom(head), filtered(tt.byStream, tt.f)); line(late.next()) != "caught up" {
			t.Error("at the head there is nothing to pass")
		}
	}
}

// TestCheckpoints counts positions: one after each interval of considered events, none for being
// caught up, ascending, and never behind an event that was sent.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	for range 10 {
		w.wrote("hidden", "any", several(100)...)
		w.wrote("shown", "any", proposed("shown", "1"))
	}
	for _, tt := range []struct {
		name   string
		change func(*streams.ReadReq_Options_FilterOptions)
		every  int
	}{
		{"the window when none is named", func(*streams.ReadReq_Options_FilterOptions) {}, 32},
		{"a window", func(o *streams.ReadReq_Options_FilterOptions) {
			o.Window = &streams.ReadReq_Options_FilterOptions_Max{Max: 50}
		}, 50},
		{"several windows", func(o *streams.ReadReq_Options_FilterOptions) {
			o.Window = &streams.ReadReq_Options_FilterOptions_Max{Max: 50}
			o.CheckpointIntervalMultiplier = 3
		}, 150},
		{"none given", func(o *streams.ReadReq_Options_FilterOptions) { o.CheckpointIntervalMultiplier = 0 }, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			s := w.follow("", all, filtered(false, prefixes("shown"), tt.change))
			events, passed, checkpoints := w.positions(), uint64(0), 0
			var last string
			for m := s.next(); m.GetCaughtUp() == nil; m = s.next() {
				position := m.GetCheckpoint().GetCommitPosition()
				if last = line(m); last == "checkpoint" {
					if checkpoints++; position != events[tt.every*checkpoints-1] {
						t.Errorf("checkpoint %d is at %d", checkpoints, position)
					}
				} else {
					position = m.GetEvent().GetEvent().GetCommitPosition()
				}
				if position < passed || (last == "checkpoint" && m.GetCheckpoint().GetPreparePosition() != position) {
					t.Errorf("%s at %d after %d", last, position, passed)
				}
				passed = position
			}
			if want := len(events) / tt.every; checkpoints != want {
				t.Errorf("%d checkpoints in %d events, not %d", checkpoints, len(events), want)
			}
			// Live, what is not shown moves the position too.
			for range 2 * tt.every {
				w.wrote("hidden", "any", several(1)...)
			}
			for range 2 {
				for m := s.next(); m.GetCheckpoint().GetCommitPosition() <= passed; m = s.next() {
					if c := m.GetCheckpoint(); c != nil {
						t.Errorf("went back to %d", c.GetCommitPosition())
					}
				}
			}
		})
	}
}

func TestWithoutAFilterThereAreNoCheckpoints(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(100)...)
	w.follow("", all).want(append(lines("s", 0, 99), "caught up")...)
}

// TestASlowFollowerDelaysNoOther lets a follower take nothing while the log grows beyond what any
// window holds.
func TestASlowFollowerDelaysNoOther(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	slow := w.follow("", all)
	for range 64 {
		events := several(16)
		for _, e := range events {
			e.Data = make([]byte, 32<<10)
			e.Metadata["content-type"] = "application/octet-stream"
		}
		w.wrote("s", "any", events...)
	}
	next := uint64(0)
	for next < 64*16 {
		if e := slow.next().GetEvent().GetEvent(); e != nil {
			if e.GetStreamRevision() != next {
				t.Fatalf("revision %d came for %d", e.GetStreamRevision(), next)
			}
			next++
		}
	}
}

func TestClosingEndsFollowersAndFinishesCalls(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(1)...)
	log, stream := w.follow("", all), w.follow("s")
	log.want("0@s", "caught up")
	stream.want("0@s", "caught up")
	closed(t, w.store)
	log.ends(codes.Unavailable)
	stream.ends(codes.Unavailable)
	call, err := w.streams.Read(wait.Context(t), readOptions("s"))
	if err == nil {
		_, err = call.Recv()
	}
	if status.Code(err) != codes.Unavailable || errors.Is(err, io.EOF) {
		t.Errorf("after closing: %v", err)
	}
}

func TestALeavingFollowerIsLetGo(t *testing.T) {
	w := serve(t, embedded.Options{})
	s := w.follow("", all)
	s.want("caught up")
	s.cancel()
	s.ends(codes.Canceled)
	closed(t, w.store) // would wait for it
}
