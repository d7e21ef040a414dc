package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const channelsPath = "/api/admin/notification-channels"

// TestAChannelIsASettingThatShowsNoSecret adds, changes and removes a channel as an admin does.
func TestAChannelIsASettingThatShowsNoSecret(t *testing.T) {
	t.Parallel()
	hook := startHook(t, nil)
	p := start(t, append([]string{toLoopback}, unlimited...)...)
	admin := p.admin()
	body := object{
		"kind": "webhook", "name": "Ops", "url": hook.URL + "/canary",
		"topics": []string{"tool_suggested", "access_requested"},
	}
	made := admin.must(201, "POST", channelsPath, body, "Idempotency-Key", "one")
	path, host := channelsPath+"/"+made.Text("id"), strings.TrimPrefix(hook.URL, "http://")
	if made.Header.Get("Location") != path || !strings.HasPrefix(made.Text("signing_secret"), "whsec_") {
		t.Errorf("made: %v %s", made.Header, made.Body)
	}
	again := admin.must(201, "POST", channelsPath, body, "Idempotency-Key", "one")
	if again.Text("id") != made.Text("id") || again.At("signing_secret") != nil ||
		again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a repeat: %v %s", again.Header, again.Body)
	}
	is := admin.must(200, "GET", path, nil)
	if is.Text("kind") != "webhook" || is.Text("name") != "Ops" || is.Text("host") != host ||
		fmt.Sprint(is.At("topics")) != "[access_requested tool_suggested]" ||
		is.Header.Get("ETag") != `"1"` || is.At("recipient_count") != nil {
		t.Errorf("it is %v %s", is.Header, is.Body)
	}
	if list := admin.must(200, "GET", channelsPath, nil).Items(); len(list) != 1 || list[0]["id"] != made.Text("id") {
		t.Errorf("the list: %v", list)
	}

	changed := admin.must(
		200, "PATCH", path, object{"name": "Night shift", "topics": []string{"grant_expiring"}}, "If-Match", `"1"`,
	)
	if changed.Text("name") != "Night shift" || fmt.Sprint(changed.At("topics")) != "[grant_expiring]" ||
		changed.Text("host") != host || changed.At("revision") != 2.0 {
		t.Errorf("changed: %s", changed.Body)
	}
	admin.refused(412, "revision_stale", "PATCH", path, object{"name": "Day shift"}, "If-Match", `"1"`)
	admin.refused(412, "revision_stale", "DELETE", path, nil, "If-Match", `"1"`)
	if same := admin.must(
		200, "PATCH", path, object{"name": "Night shift", "url": hook.URL + "/canary"},
	); same.At("revision") != 2.0 {
		t.Errorf("the same again: %s", same.Body)
	}

	// Another URL leaves the signing secret; another secret leaves the URL.
	other := startHook(t, nil)
	admin.must(200, "PATCH", path, object{"url": other.URL})
	if !verified(t, admin, path, other, made.Text("signing_secret")) {
		t.Error("another URL changed the signing secret")
	}
	const secret = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
	if a := admin.must(
		200, "PATCH", path, object{"signing_secret": secret},
	); strings.Contains(string(a.Body), "whsec_") {
		t.Errorf("it is shown: %s", a.Body)
	}
	if !verified(t, admin, path, other, secret) || verified(t, admin, path, other, made.Text("signing_secret")) {
		t.Error("another signing secret is not the one that signs")
	}

	for field, wrong := range map[string]object{
		"url":            {"url": "http://example.com"},
		"recipients":     {"recipients": []string{"ops@example.com"}},
		"signing_secret": {"signing_secret": "whsec_eA=="},
		"topics[0]":      {"topics": []string{"everything"}},
		"kind":           {"kind": "slack"},
	} {
		if a := admin.refused(400, "validation_failed", "PATCH", path, wrong); !namesField(a, field) {
			t.Errorf("%v: %s", wrong, a.Body)
		}
	}
	for field, wrong := range map[string]object{
		"url": {
			"kind": "slack", "name": "Slack", "url": "https://example.com/services/x",
			"topics": []string{"access_requested"},
		},
		// No mail server is configured here.
		"kind": {
			"kind": "email", "name": "Mail", "recipients": []string{"ops@example.com"},
			"topics": []string{"access_requested"},
		},
		"topics": {"kind": "webhook", "name": "None", "url": hook.URL, "topics": []string{}},
	} {
		if a := admin.refused(400, "validation_failed", "POST", channelsPath, wrong); !namesField(a, field) {
			t.Errorf("%v: %s", wrong, a.Body)
		}
	}
	other2 := p.organization("Another", "owner")
	other2.refused(404, "not_found", "GET", path, nil)
	other2.refused(404, "not_found", "PATCH", path, object{"name": "Theirs"})
	other2.refused(404, "not_found", "POST", path+"/test", nil)
	other2.refused(404, "not_found", "DELETE", path, nil)
	if list := other2.deliveries(""); len(list) != 0 {
		t.Errorf("theirs: %v", list)
	}
	p.organization("Third", "approver").refused(403, "role_insufficient", "POST", channelsPath, body)

	admin.must(204, "DELETE", path, nil)
	admin.refused(404, "not_found", "GET", path, nil)
	admin.refused(404, "not_found", "DELETE", path, nil)
	if sent := admin.deliveries("status=delivered"); len(sent) != 3 || sent[0]["channel_name"] != "Night shift" {
		t.Errorf("what was sent to it: %v", sent)
	}
	audited := admin.must(200, "GET", "/api/admin/audit?action=notification_channel.updated", nil).Items()
	if target, _ := audited[0]["target"].(map[string]any); len(audited) != 3 ||
		target["type"] != "notification_channel" || target["id"] != made.Text("id") {
		t.Errorf("the audit: %v", audited)
	}
}

// verified sends a test and checks what came with a signing secret.
func verified(t *testing.T, admin client, path string, hook *hook, secret string) bool {
	t.Helper()
	if a := admin.must(200, "POST", path+"/test", nil); a.At("delivered") != true || a.Text("delivery_id") == "" ||
		a.At("problem") != nil {
		t.Fatalf("the test: %s", a.Body)
	}
	got := hook.all()
	last := got[len(got)-1]
	if last.member("type") != "test" {
		t.Errorf("it was sent %s", last.Body)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return verifier.Verify(last.Body, last.Header) == nil
}

// TestATestSaysWhatCameOfIt sends tests to what takes them, refuses them, and does not answer.
func TestATestSaysWhatCameOfIt(t *testing.T) {
	t.Parallel()
	inbox := startMailbox(t)
	never := make(chan struct{})
	silent := startHook(t, func(int, http.ResponseWriter) { <-never })
	defer close(never)
	refusing := startHook(t, func(_ int, w http.ResponseWriter) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("canary"))
	})
	p := start(
		t,
		append(
			[]string{
				toLoopback, "AGENTKEY_SMTP_URL=smtp://" + inbox.address + "?tls=off",
				"AGENTKEY_SMTP_FROM=agentkey@example.com",
			},
			unlimited...,
		)...,
	)
	admin := p.admin()
	mail := admin.must(
		201, "POST", channelsPath,
		object{
			"kind": "email", "name": "On call", "topics": []string{"access_requested"},
			"recipients": []string{"ops@example.com"},
		},
	)
	if mail.At("recipient_count") != 1.0 || strings.Contains(string(mail.Body), "ops@") {
		t.Errorf("the channel: %s", mail.Body)
	}
	test := func(id string) answer { return admin.must(200, "POST", channelsPath+"/"+id+"/test", nil) }
	if a := test(mail.Text("id")); a.At("delivered") != true || len(inbox.all()) != 1 ||
		!strings.Contains(inbox.all()[0].text, "test message for the notification channel “On call”") {
		t.Errorf("by mail: %s %v", a.Body, inbox.all())
	}
	for problem, url := range map[string]string{
		"the receiver answered 403": refusing.URL, "the receiver did not answer in time": silent.URL,
		"nothing answers there": "http://127.0.0.1:1",
	} {
		if a := test(admin.mustChannel("slack", url).Text("id")); a.At("delivered") != false ||
			a.Text("problem") != problem {
			t.Errorf("%s: %s", problem, a.Body)
		}
	}
	if dead := admin.deliveries("status=dead"); len(dead) != 3 || len(refusing.all()) != 1 {
		t.Errorf("dead letters: %v", dead)
	}
	admin.refused(404, "not_found", "POST", channelsPath+"/"+newID().String()+"/test", nil)
}
