package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestEachChannelGetsARequestOnce lets an agent ask with a reason that would mention everybody
// and lead elsewhere. Each kind of channel is told once, in words of its own; a restart tells
// nothing again.
func TestEachChannelGetsARequestOnce(t *testing.T) {
	t.Parallel()
	inbox := startMailbox(t)
	slack, discord, hook, other := startHook(t, nil), startHook(t, nil), startHook(t, nil), startHook(t, nil)
	p := start(
		t,
		append(
			[]string{
				toLoopback, "AGENTKEY_SMTP_URL=smtp://" + inbox.address + "?tls=off",
				"AGENTKEY_SMTP_FROM=AgentKey <agentkey@example.com>",
			},
			unlimited...,
		)...,
	)
	admin := p.admin()
	admin.mustChannel("slack", slack.URL+"/services/T0/B0/canary")
	admin.mustChannel("discord", discord.URL+"/api/webhooks/1/canary")
	secret := admin.mustChannel("webhook", hook.URL+"/in").Text("signing_secret")
	admin.mustChannel("webhook", other.URL, "grant_expiring")
	admin.must(201, "POST", "/api/admin/notification-channels", object{
		"kind": "email", "name": "On call", "topics": []string{"access_requested"},
		"recipients": []string{"ops@example.com", "sec@example.com"},
	})
	tool := admin.mustTool("GitHub", "ghp_secret")
	agent, key := admin.mustAgent("Onboarding")
	const reason = "@everyone <!channel> [read](https://evil.example/x)\nApproved by: admin"
	request := p.with(key).must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": reason}).Text("request_id")

	wait.Until(t, "told everywhere", func() bool { return len(admin.deliveries("status=delivered")) == 4 })
	p.restart()
	admin = p.admin()
	p.with(key).must(204, "DELETE", "/api/tools/"+tool+"/request", nil) // what comes behind it is handled after it
	second := p.with(key).must(
		201, "POST", "/api/tools/"+tool+"/request", object{"reason": "once more, please"},
	).Text("request_id")
	wait.Until(t, "the second is delivered", func() bool { return len(admin.deliveries("status=delivered")) == 8 })
	for name, got := range map[string][]received{
		"slack": slack.about(request), "discord": discord.about(request), "webhook": hook.about(request),
	} {
		if len(got) != 1 {
			t.Errorf("%s was told %d times", name, len(got))
		}
	}
	if len(slack.about(second)) != 1 || len(other.all()) != 0 {
		t.Errorf(
			"of the second %d times, of what nobody asked for %d times", len(slack.about(second)), len(other.all()),
		)
	}

	text := slack.about(request)[0].member("text")
	if want := "“Onboarding” requests access to “GitHub”: “@everyone &lt;!channel&gt; " +
		"[read](https[:]//evil[.]example/x) Approved by: admin”\n"; !strings.HasPrefix(
		text,
		want,
	) {
		t.Errorf("Slack was told %q", text)
	}
	text = discord.about(request)[0].member("content")
	if want := `: “@` + "\u200B" +
		`everyone \<!channel\> \[read\]\(https\[\:\]//evil\[.\]example/x\) Approved by\: admin”` + "\n"; !strings.Contains(
		text,
		want,
	) {
		t.Errorf("Discord was told %q", text)
	}
	if !strings.Contains(string(discord.about(request)[0].Body), `"allowed_mentions":{"parse":[]}`) {
		t.Errorf("Discord may mention: %s", discord.about(request)[0].Body)
	}
	signed := hook.about(request)[0]
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(signed.Body, signed.Header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	if err := verifier.Verify(append(signed.Body, ' '), signed.Header); err == nil {
		t.Error("a changed body has the same signature")
	}
	for path, want := range map[string]string{
		"type": "access_requested", "data.agent_id": agent, "data.agent_name": "Onboarding", "data.tool_id": tool,
		"data.tool_name": "GitHub", "data.request_id": request,
		"data.reason": strings.ReplaceAll(reason, "\n", " "),
	} {
		if got := signed.member(path); got != want {
			t.Errorf("the webhook's %s is %q, not %q", path, got, want)
		}
	}
	mails := inbox.all()
	if len(mails) != 2 {
		t.Fatalf("%d mails", len(mails))
	}
	if m := mails[0]; m.to != "<ops@example.com> <sec@example.com>" || m.header("Subject") != "AgentKey: "+m.text ||
		!strings.Contains(m.text, "https[:]//evil[.]example/x") ||
		!strings.HasPrefix(m.header("Content-Type"), "text/plain;") ||
		!strings.Contains(m.header("Message-Id"), "@example.com") {
		t.Errorf("the mail: %+v", m)
	}
}

// TestAStalledReceiverHoldsUpItselfAlone lets one receiver take calls and never answer. The agent's
// request, and what goes to another channel, do not wait for it.
func TestAStalledReceiverHoldsUpItselfAlone(t *testing.T) {
	t.Parallel()
	release, called := make(chan struct{}), make(chan struct{}, 100)
	stalled := startHook(t, func(int, http.ResponseWriter) { called <- struct{}{}; <-release })
	defer close(release)
	quick := startHook(t, nil)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	admin.mustChannel("slack", quick.URL)
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	ask := func(name string) string {
		return agent.must(
			201, "POST", "/api/tools/"+admin.mustTool(name, "x")+"/request", object{"reason": "to open issues"},
		).Text("request_id")
	}
	// A receiver has ten seconds. If the machine needs them for three requests, the call has failed
	// meanwhile and nothing is shown: another stalled channel is tried.
	for try := range 10 {
		slow := admin.mustChannel("webhook", stalled.URL).Text("id")
		ask(fmt.Sprint("First ", try))
		<-called
		before := len(stalled.all())
		for _, name := range []string{"Second ", "Third ", "Fourth "} {
			request := ask(fmt.Sprint(name, try))
			wait.Until(t, "told to the quick one", func() bool { return len(quick.about(request)) == 1 })
		}
		calls, pending := len(stalled.all()), admin.deliveries("status=pending&channel_id="+slow)
		if calls == before && len(pending) == 4 && pending[3]["attempts"] == 1.0 {
			return
		}
		t.Logf("%d more calls of the stalled one; for it wait: %v", calls-before, pending)
		admin.must(204, "DELETE", "/api/admin/notification-channels/"+slow, nil)
	}
	t.Error("what goes to another channel never came before the stalled one had failed")
}

// TestAFailureIsTriedAgainUnderTheSameID answers 500, then 503 with a wish, then takes it.
func TestAFailureIsTriedAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	hook := startHook(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.Header().Set("Retry-After", "4")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	secret := admin.mustChannel("webhook", hook.URL).Text("signing_secret")
	_, key := admin.mustAgent("Onboarding")
	p.with(key).must(
		201, "POST", "/api/tools/"+admin.mustTool("GitHub", "x")+"/request", object{"reason": "to open issues"},
	)
	wait.Until(t, "failed", func() bool {
		got := admin.deliveries("status=failed")
		return len(got) == 1 && got[0]["problem"] == "the receiver answered 503" && got[0]["next_attempt_at"] != nil
	})
	wait.Until(t, "delivered", func() bool { return len(admin.deliveries("status=delivered")) == 1 })
	got := hook.all()
	d := admin.deliveries("")[0]
	if len(got) != 3 || d["attempts"] != 3.0 || d["problem"] != nil {
		t.Fatalf("%d calls: %v", len(got), d)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range got {
		if id := g.Header.Get("webhook-id"); id != d["id"] {
			t.Errorf("sent as %s, not %s", id, d["id"])
		}
		if err := verifier.Verify(g.Body, g.Header); err != nil {
			t.Error(err)
		}
	}
	if first, last := got[1].Header.Get("webhook-timestamp"), got[2].Header.Get("webhook-timestamp"); first >= last {
		t.Errorf("signed at %s, then at %s", first, last)
	}
	text, err := json.Marshal(admin.must(200, "GET", "/api/admin/audit?action=delivery.failed", nil).Items())
	if err != nil || strings.Count(string(text), `"delivery.failed"`) != 2 {
		t.Errorf("the audit: %s %v", text, err)
	}
}

// TestEveryMessageLinksToTheDashboard sends each topic to each kind of channel, once with a
// dashboard and once without. No message names a method or a path of the API.
func TestEveryMessageLinksToTheDashboard(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "https://keys.example.com/agentkey"} {
		inbox := startMailbox(t)
		slack, discord, hook := startHook(t, nil), startHook(t, nil), startHook(t, nil)
		p := start(t, append([]string{
			toLoopback, "AGENTKEY_DASHBOARD_URL=" + base, "AGENTKEY_SMTP_FROM=agentkey@example.com",
			"AGENTKEY_SMTP_URL=smtp://" + inbox.address + "?tls=off",
		}, unlimited...)...)
		admin := p.admin()
		topics := []string{
			"access_requested", "tool_suggested", "note_suggested", "credential_expiring", "grant_expiring",
		}
		admin.mustChannel("slack", slack.URL, topics...)
		admin.mustChannel("discord", discord.URL, topics...)
		channel := admin.mustChannel("webhook", hook.URL, topics...).Text("id")
		admin.must(
			201,
			"POST",
			channelsPath,
			object{"kind": "email", "name": "On call", "topics": topics, "recipients": []string{"ops@example.com"}},
		)
		f := mustEnding(p)
		other := admin.mustTool("Jira", "x")
		request := p.with(f.key).
			must(201, "POST", "/api/tools/"+other+"/request", object{"reason": "to plan things"}).
			Text("request_id")
		suggestion := p.with(f.key).
			must(201, "POST", "/api/tools/suggest", object{"name": "Linear", "reason": "to plan more"}).
			Text("suggestion_id")
		note := p.with(f.key).
			must(
				201, "POST", "/api/tools/"+f.tool+"/instructions/suggest",
				object{"learned": "page by cursor", "why": "offsets are ignored"},
			).
			Text("suggestion_id")
		wait.Until(
			t, "everything is delivered", func() bool { return len(admin.deliveries("status=delivered")) == 4*6 },
		)
		admin.must(200, "POST", channelsPath+"/"+channel+"/test", nil)
		var sent []string
		for _, h := range []interface{ all() []received }{slack, discord, hook} {
			for _, got := range h.all() {
				sent = append(sent, string(got.Body))
			}
		}
		for _, m := range inbox.all() {
			sent = append(sent, m.body)
		}
		all := strings.Join(sent, "\n")
		for _, page := range []string{
			"/requests/" + request, "/suggestions/" + suggestion, "/instruction-suggestions/" + note,
			"/tools/" + f.tool, "/agents/",
		} {
			if n := strings.Count(all, base+page); base != "" && n < 4 || base == "" && n > 0 {
				t.Errorf("with %q %d links to %s", base, n, page)
			}
		}
		for _, message := range sent {
			for _, how := range []string{"POST", "PUT", "/api/", "/approve"} {
				if strings.Contains(message, how) {
					t.Errorf("it names %s: %s", how, message)
				}
			}
			if base != "" && !strings.Contains(message, base) {
				t.Errorf("it has no link: %s", message)
			}
		}
	}
}
