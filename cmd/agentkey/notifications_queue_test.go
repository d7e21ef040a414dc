package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// told lists what calls of a webhook say, in order: the request of each notification, digests
// unfolded.
func told(calls []received) (requests []string) {
	for _, c := range calls {
		if c.member("type") != "digest" {
			requests = append(requests, c.member("data.request_id"))
			continue
		}
		body := answer{JSON: c.decoded()}
		list, _ := body.At("data.notifications").([]any)
		for _, n := range list {
			requests = append(requests, answer{JSON: n.(map[string]any)}.Text("data.request_id"))
		}
	}
	return requests
}

// mustRequest lets an agent ask for a number of new tools, and returns the requests in order.
func mustRequest(p *program, key string, n int) (requests []string) {
	p.t.Helper()
	for range n {
		tool := p.admin().mustTool("Tool "+newID().String(), "x")
		requests = append(
			requests,
			p.with(key).must(
				201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to open issues"},
			).Text("request_id"),
		)
	}
	return requests
}

// TestSixtyMessagesToASlowReceiverAreAFewPostsInOrder sends to a receiver that takes nothing until
// all were asked for, and then one call a second.
func TestSixtyMessagesToASlowReceiverAreAFewPostsInOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var last time.Time
	var taken []int // calls, by their number
	all, early := false, 0
	hook := startHook(t, func(n int, w http.ResponseWriter) {
		mu.Lock()
		defer mu.Unlock()
		if !all {
			early++
		}
		if now := time.Now(); all && now.Sub(last) >= time.Second {
			last, taken = now, append(taken, n)
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	_, key := admin.mustAgent("Onboarding")
	requests := mustRequest(p, key, 60)
	mu.Lock()
	all = true
	mu.Unlock()
	delivered := func() []map[string]any { return admin.deliveries("status=delivered&limit=200") }
	wait.Until(t, "all are delivered", func() bool { return len(delivered()) == 60 })

	calls := hook.all()
	mu.Lock()
	var accepted []received
	for _, n := range taken {
		accepted = append(accepted, calls[n-1])
	}
	mu.Unlock()
	if got := told(accepted); !slices.Equal(got, requests) {
		t.Errorf("of %d requests %d are told, or in another order:\n%v\n%v", len(requests), len(got), got, requests)
	}
	if late := len(calls) - early; late > 15 {
		t.Errorf("it took %d posts, of which %d were accepted", late, len(accepted))
	}
	// The list says which were delivered together, under the id that the receiver saw.
	digests := map[string]int{}
	for _, d := range delivered() {
		if id, together := d["digest_id"].(string); together {
			digests[id]++
		}
	}
	for _, c := range accepted {
		id := c.Header.Get("webhook-id")
		if c.member("type") == "digest" && digests[id] != len(told([]received{c})) {
			t.Errorf("digest %s has %d notifications, and the list %d", id, len(told([]received{c})), digests[id])
		}
	}
	if len(digests) == 0 {
		t.Error("nothing was sent together")
	}
	t.Logf("%d posts, %d accepted, %d digests", len(calls), len(accepted), len(digests))
}

// TestAReceiverThatAsksToWaitIsLeftAlone lets a receiver ask for a pause, in seconds and as a date.
// While it lasts nothing is sent to it: not what comes later, not after a restart, and not by
// another process. Then all comes in order.
func TestAReceiverThatAsksToWaitIsLeftAlone(t *testing.T) {
	t.Parallel()
	const pause = 6 * time.Second
	for name, say := range map[string]func() string{
		"seconds": func() string { return fmt.Sprint(int(pause / time.Second)) },
		"a date":  func() string { return time.Now().Add(pause).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var times []time.Time
			hook := startHook(t, func(n int, w http.ResponseWriter) {
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Now())
				if n == 1 {
					w.Header().Set("Retry-After", say())
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			log := ownLog(t, "any process of an installation sends its messages").replicas()
			replicas := startReplicasOn(t, 2, log, readmodelstest.Postgres(t), sharedRedis(t), toLoopback)
			p := replicas[0]
			admin := p.admin()
			channel := admin.mustChannel("webhook", hook.URL).Text("id")
			_, key := admin.mustAgent("Onboarding")
			requests := mustRequest(p, key, 1)
			wait.Until(t, "asked to wait", func() bool { return len(admin.deliveries("status=failed")) == 1 })
			requests = append(requests, mustRequest(p, key, 2)...)
			p.restart()
			admin = p.admin()
			wait.Until(t, "queued", func() bool { return len(admin.deliveries("channel_id="+channel)) == 3 })
			for _, d := range admin.deliveries("") {
				next, _ := time.Parse(time.RFC3339, fmt.Sprint(d["next_attempt_at"]))
				if mu.Lock(); len(times) == 1 && next.Before(times[0].Add(pause-2*time.Second)) {
					t.Errorf("the list says that it is tried at %v: %v", next, d)
				}
				mu.Unlock()
			}
			wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 3 })
			if got := told(hook.all()[1:]); !slices.Equal(got, requests) {
				t.Errorf("told %v, not %v", got, requests)
			}
			mu.Lock()
			defer mu.Unlock()
			if waited := times[1].Sub(times[0]); waited < pause-time.Second { // a date has no fractions of a second
				t.Errorf("the next call came after %v", waited)
			}
		})
	}
}

// TestWhatWaitsLongerThanAMinuteIsOneDigest leaves notifications as a process does that stood still
// for two minutes. Each kind of channel gets one digest.
func TestWhatWaitsLongerThanAMinuteIsOneDigest(t *testing.T) {
	t.Parallel()
	inbox := startMailbox(t)
	slack, discord, hook := startHook(t, nil), startHook(t, nil), startHook(t, nil)
	p := start(t, append([]string{
		toLoopback, "AGENTKEY_SMTP_FROM=agentkey@example.com", "AGENTKEY_SMTP_URL=smtp://" + inbox.address + "?tls=off",
	}, unlimited...)...)
	admin := p.admin()
	channels := []string{
		admin.mustChannel("slack", slack.URL).Text("id"), admin.mustChannel("discord", discord.URL).Text("id"),
		admin.mustChannel("webhook", hook.URL).Text("id"),
		admin.must(201, "POST", channelsPath, object{
			"kind": "email", "name": "On call", "topics": []string{"access_requested"},
			"recipients": []string{"ops@example.com"},
		}).Text("id"),
	}
	agent, _ := admin.mustAgent("Onboarding")
	var tools []string
	for i := range 4 {
		tools = append(tools, admin.mustTool(fmt.Sprint("Tool ", i), "x"))
	}
	p.stop() // so that all wait before the first is looked at
	p.office(func(ctx context.Context, o *office) error {
		organization := o.inst.Begun.OrganizationID
		env := o.inst.Env(func() time.Time { return time.Now().Add(-2 * time.Minute) }, nil, nil)
		loop := commands.NewDeliveryLoop(env)
		queue := func(channel string, topic domain.Topic, about delivery.About) error {
			_, err := loop.Do(ctx, newID().String(), o.meta(organization), func(delivery.State, time.Time) (delivery.Command,
				error,
			) {
				return delivery.Queue{OrganizationID: organization, ChannelID: channel, Topic: topic, About: about}, nil
			})
			return err
		}
		for _, channel := range channels {
			for _, tool := range tools {
				about := delivery.About{AgentID: agent, ToolID: tool, RequestID: tool}
				if err := queue(channel, domain.AccessRequested, about); err != nil {
					return err
				}
			}
		}
		return queue(channels[2], domain.BreakGlass, delivery.About{Stream: "organization-" + organization, Revision: 1})
	})
	p.run()
	admin = p.admin()
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 4*len(channels)+1 })
	calls := hook.all()
	if got := told(calls[:1]); len(calls) != 2 || !slices.Equal(got, tools) || calls[1].member("type") != "break_glass" {
		t.Errorf("%d calls of the webhook: %v", len(calls), got)
	}
	mails := inbox.all()
	if len(mails) != 1 || len(slack.all()) != 1 || len(discord.all()) != 1 {
		t.Fatalf("%d mails, %d to Slack, %d to Discord", len(mails), len(slack.all()), len(discord.all()))
	}
	for _, text := range []string{mails[0].body, slack.all()[0].member("text"), discord.all()[0].member("content")} {
		at := 0
		for i := range tools {
			next := strings.Index(text, fmt.Sprintf("“Tool %d”", i))
			if next < at {
				t.Errorf("Tool %d is at %d: %s", i, next, text)
			}
			at = next
		}
	}
	ids := map[any]int{}
	for _, d := range admin.deliveries("") {
		ids[d["digest_id"]]++
	}
	delete(ids, nil) // of what went alone
	if len(ids) != len(channels) || ids[hook.all()[0].Header.Get("webhook-id")] != 4 {
		t.Errorf("the digests: %v", ids)
	}
}

// TestATextThatAReceiverRefusesHoldsUpNoOther answers 400 to one notification.
func TestATextThatAReceiverRefusesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	var hook *hook
	hook = startHook(t, func(n int, w http.ResponseWriter) {
		if calls := hook.all(); strings.Contains(string(calls[n-1].Body), "to break things") && n < 4 {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	_, key := admin.mustAgent("Onboarding")
	tool := admin.mustTool("GitHub", "x")
	first := p.with(key).must(
		201, "POST", "/api/tools/"+tool+"/request", object{"reason": "to break things"},
	).Text("request_id")
	later := mustRequest(p, key, 2)
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 3 })
	requests := told(hook.all())
	if end := requests[len(requests)-1]; end != first ||
		slices.Index(requests, later[0]) > slices.Index(requests, later[1]) {
		t.Errorf("told %v, where %s is refused and %v are not", requests, first, later)
	}
}
