package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// TestWhatAKilledProcessWasSendingIsSentByTheNext kills a process that has claimed a delivery and
// waits for the receiver. The next one takes the claim over when its time has passed, and sends
// under the same id.
func TestWhatAKilledProcessWasSendingIsSentByTheNext(t *testing.T) {
	t.Parallel()
	called, release := make(chan struct{}, 10), make(chan struct{})
	hook := startHook(t, func(n int, _ http.ResponseWriter) {
		if called <- struct{}{}; n == 1 {
			<-release
		}
	})
	p := startProcess(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	_, key := admin.mustAgent("Onboarding")
	request := p.with(key).must(
		201, "POST", "/api/tools/"+admin.mustTool("GitHub", "x")+"/request", object{"reason": "to open issues"},
	).Text("request_id")
	<-called
	p.kill()
	close(release)
	p.run()
	admin = p.admin()
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 1 })
	got := hook.about(request)
	if len(got) != 2 || got[0].Header.Get("webhook-id") != got[1].Header.Get("webhook-id") ||
		admin.deliveries("")[0]["attempts"] != 2.0 {
		t.Errorf("it was sent %d times: %v", len(got), admin.deliveries(""))
	}
}

// TestAStoppedProcessLeavesWhatItWasSending stops a process in the middle of sending. It does not
// wait for the receiver, and the next start sends at once.
func TestAStoppedProcessLeavesWhatItWasSending(t *testing.T) {
	t.Parallel()
	called, release := make(chan struct{}, 10), make(chan struct{})
	hook := startHook(t, func(n int, _ http.ResponseWriter) {
		if called <- struct{}{}; n == 1 {
			<-release
		}
	})
	defer close(release)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("webhook", hook.URL)
	_, key := admin.mustAgent("Onboarding")
	p.with(key).must(
		201, "POST", "/api/tools/"+admin.mustTool("GitHub", "x")+"/request", object{"reason": "to open issues"},
	)
	<-called
	p.restart()
	admin = p.admin()
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 1 })
	var leases, claims []time.Time
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(r eventstore.Recorded) error {
			event, err := codec.Decode(r.Type, r.Data)
			if claimed, is := event.(delivery.Claimed); is {
				leases, claims = append(leases, claimed.Until), append(claims, r.Created)
			}
			return err
		})
	})
	if len(claims) != 2 || !claims[1].Before(leases[0]) {
		t.Errorf("claimed at %v until %v", claims, leases)
	}
	if n := len(hook.all()); n != 2 {
		t.Errorf("it was sent %d times", n)
	}
}

// TestADeadLetterIsSeenAndSentAgain leaves a notification as a process does that died a day ago,
// while its receiver does not work: it is tried once more, given up, seen, and sent again when
// somebody asks for that.
func TestADeadLetterIsSeenAndSentAgain(t *testing.T) {
	t.Parallel()
	hook := startHook(t, func(n int, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	channel := admin.mustChannel("webhook", hook.URL).Text("id")
	id := newID().String()
	p.office(func(ctx context.Context, o *office) error {
		organization := o.inst.Begun.OrganizationID
		env := o.inst.Env(func() time.Time { return time.Now().Add(-25 * time.Hour) }, nil, nil)
		_, err := commands.NewDeliveryLoop(env).Do(ctx, id, o.meta(organization),
			func(delivery.State, time.Time) (delivery.Command, error) {
				return delivery.Queue{
					OrganizationID: organization, ChannelID: channel, Topic: domain.AccessRequested,
				}, nil
			})
		return err
	})
	wait.Until(t, "dead", func() bool { return len(admin.deliveries("status=dead")) == 1 })
	d := admin.deliveries("status=dead&channel_id=" + channel)[0]
	if d["id"] != id || d["problem"] != "the receiver answered 502" || d["attempts"] != 1.0 || d["ended_at"] == nil ||
		d["next_attempt_at"] != nil {
		t.Errorf("the dead letter: %v", d)
	}
	resend := "/api/admin/notification-deliveries/" + id + "/resend"
	if a := admin.must(200, "POST", resend, nil); a.Text("status") != "pending" || a.Text("id") != id ||
		a.Text("channel_name") != "To webhook" {
		t.Errorf("sent again: %s", a.Body)
	}
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 1 })
	if a := admin.must(200, "POST", resend, nil); a.Text("status") != "delivered" || len(hook.all()) != 2 {
		t.Errorf("sent %d times: %s", len(hook.all()), a.Body)
	}
	p.organization("Another", "owner").refused(404, "not_found", "POST", resend, nil)
	admin.refused(404, "not_found", "POST", "/api/admin/notification-deliveries/"+newID().String()+"/resend", nil)
}

// TestPrivateAddressesAreNotCalled tries to make the program call its own network, and sends it
// elsewhere by a redirect.
func TestPrivateAddressesAreNotCalled(t *testing.T) {
	t.Parallel()
	inside := startHook(t, nil)
	p := start(t, unlimited...)
	admin := p.admin()
	for _, url := range []string{
		inside.URL, "http://127.0.0.1:1", "http://localhost", "https://user:pass@example.com", "file:///etc/passwd",
		"https://",
	} {
		a := admin.refused(
			400, "validation_failed", "POST", "/api/admin/notification-channels",
			object{"kind": "webhook", "name": "In", "url": url, "topics": []string{"access_requested"}},
		)
		if !namesField(a, "url") {
			t.Errorf("%s: %s", url, a.Body)
		}
	}
	for _, url := range []string{
		"https" + strings.TrimPrefix(inside.URL, "http"), "https://localhost", "https://[::ffff:127.0.0.1]",
		"https://169.254.169.254/latest", "https://[64:ff9b::7f00:1]",
	} {
		channel := admin.mustChannel("webhook", url).Text("id")
		a := admin.must(200, "POST", "/api/admin/notification-channels/"+channel+"/test", nil)
		if a.At("delivered") != false || !strings.Contains(a.Text("problem"), "not public") ||
			strings.Contains(string(a.Body), "127.0.0.1") {
			t.Errorf("%s: %s", url, a.Body)
		}
	}
	if n := len(inside.all()); n != 0 {
		t.Errorf("it was called %d times", n)
	}
	if dead := admin.deliveries("status=dead"); len(dead) != 5 || dead[0]["topic"] != "test" ||
		dead[0]["attempts"] != 1.0 {
		t.Errorf("the dead letters: %v", dead)
	}

	away := startHook(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", inside.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	gone := startHook(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) })
	q := start(t, append([]string{toLoopback}, unlimited...)...)
	admin = q.admin()
	admin.mustChannel("webhook", away.URL)
	admin.mustChannel("webhook", gone.URL)
	_, key := admin.mustAgent("Onboarding")
	q.with(key).must(
		201, "POST", "/api/tools/"+admin.mustTool("GitHub", "x")+"/request", object{"reason": "to open issues"},
	)
	wait.Until(t, "given up at once", func() bool { return len(admin.deliveries("status=dead")) == 2 })
	if len(inside.all()) != 0 || len(away.all()) != 1 || len(gone.all()) != 1 {
		t.Errorf("called %d, %d and %d times", len(inside.all()), len(away.all()), len(gone.all()))
	}
}

// TestALostReadModelSendsNothing drops and rebuilds the read model of a program that has sent
// things, and that reminds of others: nothing is sent, and the log stays as it is.
func TestALostReadModelSendsNothing(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel(
		"webhook", hook.URL, "access_requested", "grant_expiring", "credential_expiring", "tool_suggested",
		"note_suggested",
	)
	f := mustEnding(p)
	p.with(f.key).must(
		201, "POST", "/api/tools/"+admin.mustTool("Jira", "x")+"/request", object{"reason": "to plan things"},
	)
	p.with(f.key).must(201, "POST", "/api/tools/suggest", object{"name": "Linear", "reason": "to plan more"})
	p.with(f.key).must(
		201, "POST", "/api/tools/"+f.tool+"/instructions/suggest",
		object{"learned": "page by cursor", "why": "offsets are ignored"},
	)
	wait.Until(t, "everything is delivered", func() bool { return len(admin.deliveries("status=delivered")) == 6 })
	for _, say := range []string{
		"requests access to", "suggests adding “Linear”", "page by cursor", "The shared credential for",
		"The credential that", "The access that",
	} {
		if n := len(hook.about(say)); n != 1 {
			t.Errorf("%d times: %s", n, say)
		}
	}
	p.restart()
	p.stop()
	head := p.head()
	p.loseReadModel()
	p.run()
	admin = p.admin()
	wait.Until(t, "filled again", func() bool { return len(admin.deliveries("status=delivered")) == 6 })
	p.stop()
	if now := p.head(); now != head {
		t.Errorf("the log went from %d to %d", head, now)
	}
	p.run()
	admin = p.admin()
	late := startHook(t, nil) // what it is told, it is told by looks at the rows that were filled again
	admin.mustChannel("webhook", late.URL, "grant_expiring", "credential_expiring")
	wait.Until(t, "told to who came late", func() bool { return len(admin.deliveries("status=delivered")) == 9 })
	if len(late.all()) != 3 || len(hook.all()) != 6 {
		t.Errorf("%d things were sent to who came late, and %d to who was there", len(late.all()), len(hook.all()))
	}
	p.settled()
	p.stop()
	p.compareWithRebuild()
}

// ending is an agent with what ends soon: its access to one tool, its own credential for another,
// and a shared one.
type ending struct{ key, tool string }

func mustEnding(p *program) ending {
	p.t.Helper()
	admin := p.admin()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }
	day := 24 * time.Hour
	tool := admin.mustTool("GitHub", "x")
	own := admin.must(
		201, "POST", "/api/admin/tools",
		object{"name": "Notion", "auth_type": "api_key", "credential_mode": "per_agent"},
	).Text("id")
	id, key := admin.mustAgent("Onboarding")
	grants := "/api/admin/agents/" + id + "/grants"
	admin.must(201, "POST", grants, object{"tool_id": tool, "expires_at": in(23 * time.Hour)})
	admin.must(201, "POST", grants, object{"tool_id": own, "credential": "own", "expires_at": in(30 * day)})
	admin.must(200, "PUT", grants+"/"+own+"/credential", object{"credential": "own again", "expires_at": in(6 * day)})
	admin.must(
		200, "PUT", "/api/admin/tools/"+tool+"/credential", object{"credential": "again", "expires_at": in(6 * day)},
	)
	admin.must(
		200, "PUT", "/api/admin/tools/"+admin.mustTool("Later", "x")+"/credential",
		object{"credential": "again", "expires_at": in(8 * day)},
	)
	return ending{key, tool}
}

// TestAnExpiringAccessIsAnnouncedOnce lets two processes look. A channel that comes later is told
// too, and an end that changes is another one.
func TestAnExpiringAccessIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	first, second := startHook(t, nil), startHook(t, nil)
	log := ownLog(t, "any process of an installation sends its messages").replicas()
	replicas := startReplicasOn(t, 2, log, readmodelstest.Postgres(t), sharedRedis(t), toLoopback)
	admin := replicas[0].admin()
	admin.mustChannel("webhook", first.URL, "grant_expiring", "credential_expiring")
	f := mustEnding(replicas[0])
	wait.Until(t, "told", func() bool { return len(first.all()) == 3 })
	admin.mustChannel("webhook", second.URL, "grant_expiring", "credential_expiring")
	wait.Until(t, "told to the second", func() bool { return len(second.all()) == 3 })
	admin.must(
		200, "PUT", "/api/admin/tools/"+f.tool+"/credential",
		object{"credential": "other", "expires_at": time.Now().Add(100 * time.Hour).UTC().Format(time.RFC3339)},
	)
	wait.Until(t, "the change is delivered", func() bool { return len(first.all()) == 4 && len(second.all()) == 4 })
	ids := map[string]bool{}
	for _, g := range append(first.all(), second.all()...) {
		ids[g.Header.Get("webhook-id")] = true
		if _, err := uuid.Parse(g.Header.Get("webhook-id")); err != nil || g.member("data.ends_at") == "" {
			t.Errorf("%v: %s", g.Header, g.Body)
		}
	}
	if len(ids) != 8 {
		t.Errorf("%d ids of 8 notifications", len(ids))
	}
}
