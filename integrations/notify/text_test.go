package notify

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"

	"agentkey/domain"
)

func TestWhatOthersWroteIsOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"  plain  ":                              "plain",
		"a\nb\r\nc\td\ve\ff":                     "a b c d e f",
		"a\u2028b\u2029c\u0085d":                 "a b c d",
		"a\u202eb\u2066c\u2069d\u200fe\u061cf":   "a b c d e f",
		"a\u200bb\ufeffc\u00add\U000e0041e\x00f": "a b c d e f",
		"a\xffb":                                 "a\ufffdb",
		"a\u00a0\u3000b":                         "a b",
		"123456789012x":                          "12345678901…",
		"日本語日本語日本語日本語":                           "日本語日本語日本語日本語",
		"\x1b[31mred\x07":                        "[31mred",
		"ev\u200dil\u200cx":                      "ev il x",
		"👩\u200d👧 می\u200cخوا":                   "👩\u200d👧 می\u200cخوا",
		"\u200d日 \u200c":                         "日",
		"e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301": strings.Repeat(
			"e\u0301", 12,
		),
	} {
		if got := flat(text, 12); got != want {
			t.Errorf("%q became %q, not %q", text, got, want)
		}
	}
}

func TestNothingIsALinkOrAMention(t *testing.T) {
	for _, c := range []struct{ text, plain, slack, discord string }{
		{
			"just words, e.g. v1.2 or 3.5", "just words, e.g. v1.2 or 3.5", "just words, e.g. v1.2 or 3.5",
			"just words, e.g. v1.2 or 3.5",
		},
		{
			"https://evil.example/a?b=c", "https[:]//evil[.]example/a?b=c", "https[:]//evil[.]example/a?b=c",
			`https\[\:\]//evil\[.\]example/a?b=c`,
		},
		{"www.evil.com", "www[.]evil[.]com", "www[.]evil[.]com", `www\[.\]evil\[.\]com`},
		{"discord.gg/x", "discord[.]gg/x", "discord[.]gg/x", `discord\[.\]gg/x`},
		{"evil。com", "evil[。]com", "evil[。]com", `evil\[。\]com`},
		{"bob@evil.example", "bob@evil[.]example", "bob@evil[.]example", "bob@\u200b" + `evil\[.\]example`},
		{
			"<!channel> <@U123> <https://evil|here> &lt;", "<!channel> <@U123> <https[:]//evil|here> &lt;",
			"&lt;!channel&gt; &lt;@U123&gt; &lt;https[:]//evil|here&gt; &amp;lt;",
			`\<!channel\> \<@` + "\u200b" + `U123\> \<https\[\:\]//evil\|here\> &lt;`,
		},
		{
			"@everyone @here <@&1>", "@everyone @here <@&1>", "@everyone @here &lt;@&amp;1&gt;",
			"@\u200beveryone @\u200bhere " + `\<@` + "\u200b" + `&1\>`,
		},
		{
			"[x](http://evil) **b** `c` ||d|| # h > q", "[x](http[:]//evil) **b** `c` ||d|| # h > q",
			"[x](http[:]//evil) **b** `c` ||d|| # h &gt; q",
			`\[x\]\(http\[\:\]//evil\) \*\*b\*\* ` + "\\`c\\`" + ` \|\|d\|\| \# h \> q`,
		},
	} {
		for name, got := range map[string][2]string{
			"plain": {plain(c.text), c.plain}, "slack": {slackText(c.text), c.slack},
			"discord": {discordText(c.text), c.discord},
		} {
			if got[0] != got[1] {
				t.Errorf("for %s %q became %q, not %q", name, c.text, got[0], got[1])
			}
		}
	}
}

// messages are one of each topic, in words that agents chose.
func messages(text string) []Message {
	var out []Message
	for _, topic := range []domain.Topic{
		domain.AccessRequested, domain.ToolSuggested, domain.NoteSuggested, domain.CredentialExpiring,
		domain.GrantExpiring, domain.Test,
	} {
		m := Message{
			ID:           "id",
			Topic:        topic,
			Agent:        text,
			Tool:         text,
			Reason:       text,
			Channel:      text,
			RequestID:    "r1",
			SuggestionID: "s1",
			AgentID:      "a1",
			ToolID:       "t1",
			EndsAt:       time.Unix(0, 0),
		}
		out = append(out, m)
		m.AgentID = ""
		out = append(out, m)
	}
	return out
}

var pieces = []string{
	"a", "Z", "9", ".", ":", "/", "\\", "@", "<", ">", "&", "[", "]", "(", ")", "*", "_", "~", "`", "|", "#", "!", "“",
	"”", "\n", "\r",
	"\u2028", "\u202e", "\u0085", "\x00", "\xff", "://", "http://evil.com", "@everyone", "<!here>", "日", "😀", "👩‍👩‍👧‍👦",
	"e\u0301", "נ\u200c",
}

var dashboard, _ = ParseDashboard("https://keys.example.com/a&b/")

// TestWhateverAgentsWriteStaysText draws texts out of what means something somewhere. It holds for
// messages and digests, with a dashboard and without.
func TestWhateverAgentsWriteStaysText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 1200).Draw(t, "text"), "")
		d := rapid.SampledFrom([]Dashboard{{}, dashboard}).Draw(t, "dashboard")
		each := messages(text)
		posts := []Post{{ID: "id", Messages: each}}
		for range rapid.IntRange(0, 8).Draw(t, "times") {
			each = append(each, each...)
		}
		posts = append(posts, Post{ID: "id", Messages: each[:min(len(each), 100)]})
		for _, m := range messages(text) {
			posts = append(posts, Post{ID: m.ID, Messages: []Message{m}})
		}
		for _, p := range posts {
			inert(t, p, d)
		}
	})
}

func inert(t *rapid.T, p Post, d Dashboard) {
	slack, err := p.slack(d)
	var s struct{ Text string }
	if err != nil || json.Unmarshal(slack, &s) != nil || units(s.Text) > 3000 {
		t.Fatalf("for Slack: %d units, %v", units(s.Text), err)
	}
	discord, err := p.discord(d)
	var c struct{ Content string }
	if err != nil || json.Unmarshal(discord, &c) != nil || units(c.Content) > 2000 {
		t.Fatalf("for Discord: %d units, %v", units(c.Content), err)
	}
	subject, body := p.mail(d)
	if utf8.RuneCountInString(subject) > 2*maxSubject || uniseg.GraphemeClusterCount(subject) > maxSubject {
		t.Fatalf("the subject has %d characters", utf8.RuneCountInString(subject))
	}
	// Our own links are whole, and are the only ones.
	const here = "https://keys.example.com/a&b"
	for name, text := range map[string]string{
		"Slack": strings.ReplaceAll(s.Text, "&amp;", "&"), "Discord": c.Content, "mail": body,
	} {
		if links := strings.Count(text, here); (links > 0) != (d.base != "") || links != strings.Count(text, "://") {
			t.Fatalf("%s has %d links: %q", name, links, text)
		}
	}
	own := regexp.MustCompile(`<?https://keys\.example\.com/a&(amp;)?b(/[a-z-]+/[a-z0-9]+)?>?`)
	for _, text := range []string{s.Text, c.Content, body, subject} {
		for line := range strings.SplitSeq(own.ReplaceAllString(text, ""), "\n") {
			bad := func(r rune) bool {
				return r != '\u200b' && r != zwj && r != zwnj &&
					unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
			}
			if strings.ContainsFunc(line, bad) || strings.Contains(line, "://") || strings.Contains(line, "evil.com") {
				t.Fatalf("not inert: %q", line)
			}
			if text == s.Text && strings.ContainsAny(line, "<>") {
				t.Fatalf("markup: %q", line)
			}
		}
	}
	lines := strings.Count(s.Text, "\n")
	if lines != strings.Count(c.Content, "\n") && !p.isDigest() || !p.isDigest() && lines != 1 ||
		lines > len(p.Messages)+1 ||
		strings.Count(s.Text, "“") != strings.Count(s.Text, "”") {
		t.Fatalf("other lines or quotes: %q %q", s.Text, c.Content)
	}
	raw, err := p.webhook(d)
	if err != nil || !json.Valid(raw) {
		t.Fatalf("for programs: %s %v", raw, err)
	}
}

func TestATextIsCutBetweenCharactersThatAReaderSees(t *testing.T) {
	family, accent := "👩‍👩‍👧‍👦", "e\u0301"
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"plain", 5, "plain"},
		{"plain", 4, "pla…"},
		{strings.Repeat(family, 3), 2*units(family) + 1, family + family + "…"},
		{strings.Repeat(family, 3), 2 * units(family), family + "…"},
		{strings.Repeat(accent, 5), 6, accent + accent + "…"},
		{"🇩🇪🇩🇪🇩🇪", 9, "🇩🇪🇩🇪…"},
		{"one two three", 5, "one…"},
		{"Z" + strings.Repeat("\u0301", 90), 20, "…"},
		{"", 0, ""},
	} {
		if got := cut(c.text, c.most, units); got != c.want {
			t.Errorf("%q within %d became %q, not %q", c.text, c.most, got, c.want)
		}
	}
}

func TestTheLongestTextsFitTheirReceiver(t *testing.T) {
	for _, unit := range []string{
		"a", "https://evil.example/_*~", "😀", "👩‍👩‍👧‍👦", "&", "@", "日", "e\u0301\u0302\u0303", "[x](y)", "<@U1>",
	} {
		m := Message{
			Topic:        domain.NoteSuggested,
			Agent:        strings.Repeat(unit, 2000),
			Tool:         strings.Repeat(unit, 2000),
			Reason:       strings.Repeat(unit, 5000),
			SuggestionID: "s1",
		}
		p := Post{Messages: []Message{m}}
		slack, discord := p.text(dashboard, slackReader), p.text(dashboard, discordReader)
		if units(slack) > 3000 || units(discord) > 2000 {
			t.Errorf("%q: %d and %d", unit, units(slack), units(discord))
		}
		if !strings.HasSuffix(
			slack,
			"\nAccept or dismiss it: <https://keys.example.com/a&amp;b/instruction-suggestions/s1>",
		) ||
			!strings.HasSuffix(
				discord, "\nAccept or dismiss it: https://keys.example.com/a&b/instruction-suggestions/s1",
			) {
			t.Errorf("%q: the link is cut: %q %q", unit, slack, discord)
		}
		if units(m.Reason) > 2000 && units(discord) < 1000 && strings.HasPrefix(unit, "http") {
			t.Errorf("%q: only %d of 2000 are used", unit, units(discord))
		}
	}
}

func TestEachTopicSaysWhatItIsAndWhatToDo(t *testing.T) {
	const at = "https://keys.example.com/a&b"
	for i, want := range []struct{ text, bare, linked string }{
		{
			"“x” requests access to “x”: “x”", "Approve or deny it as an admin. It is request r1.",
			"Approve or deny it: " + at + "/requests/r1",
		},
		{
			"“x” suggests adding “x” to the catalog: “x”", "Accept or dismiss it as an admin. It is suggestion s1.",
			"Accept or dismiss it: " + at + "/suggestions/s1",
		},
		{
			"“x” suggests a note for the usage guide of “x”: “x”", "Accept or dismiss it as an admin. It is note s1.",
			"Accept or dismiss it: " + at + "/instruction-suggestions/s1",
		},
		{
			"The credential that “x” uses for “x” expires on 1 January 1970 at 00:00 UTC",
			"Replace it as an admin. The agent is a1, the tool t1.",
			"Replace it: " + at + "/agents/a1",
		},
		{
			"The access that “x” has to “x” ends on 1 January 1970 at 00:00 UTC",
			"To extend it, grant access again after it ends as an admin. The agent is a1, the tool t1.",
			"To extend it, grant access again after it ends: " + at + "/agents/a1",
		},
		{
			"This is a test message for the notification channel “x”", "You don't have to do anything.",
			"You don't have to do anything: " + at,
		},
	} {
		m := messages("x")[2*i]
		if i > 2 {
			m.Reason = ""
		}
		p := Post{Messages: []Message{m}}
		if got := p.text(Dashboard{}, plainReader); got != want.text+"\n"+want.bare {
			t.Errorf("%s\nand not\n%s\n%s", got, want.text, want.bare)
		}
		if got := p.text(dashboard, plainReader); got != want.text+"\n"+want.linked {
			t.Errorf("%s\nand not\n%s\n%s", got, want.text, want.linked)
		}
	}
	acted := Post{Messages: []Message{{
		Topic: domain.BreakGlass, At: time.Unix(0, 0), Act: "created the service token t1 with the role owner",
	}}}
	for from, next := range map[Dashboard]string{
		{}: " it. The audit has it.", dashboard: " it: https://keys.example.com/a&b/audit",
	} {
		want := "On the server, an operator created the service token t1 with the role owner, " +
			"on 1 January 1970 at 00:00 UTC\nMake sure that somebody you trust did" + next
		if got := acted.text(from, plainReader); got != want {
			t.Errorf("%s\nand not\n%s", got, want)
		}
	}
	shared := messages("x")[7]
	shared.Reason = ""
	want := "The shared credential for “x” expires on 1 January 1970 at 00:00 UTC\nRotate it: " + at + "/tools/t1"
	if got := (Post{Messages: []Message{shared}}).text(dashboard, plainReader); got != want {
		t.Errorf("%s\nand not\n%s", got, want)
	}
}

func TestADigestListsWhatItHoldsInOrder(t *testing.T) {
	var p Post
	for i := range 60 {
		p.Messages = append(p.Messages, Message{
			ID: fmt.Sprint(
				"d",
				i,
			), Topic: domain.AccessRequested, RequestID: fmt.Sprint("r", i), Agent: "Onboarding",
			Tool: fmt.Sprint("Tool ", i), Reason: "to open issues",
		})
	}
	mail := p.text(dashboard, plainReader)
	for text, all := range map[string]bool{
		mail: true, p.text(dashboard, slackReader): true, p.text(dashboard, discordReader): false,
	} {
		at := 0
		for i := range p.Messages {
			next := strings.Index(text, fmt.Sprintf("“Tool %d”", i))
			if next < at && (all || next >= 0) {
				t.Fatalf("Tool %d is at %d, after %d: %s", i, next, at, text)
			}
			at = max(at, next)
		}
		if !strings.HasPrefix(
			text,
			"60 notifications had to wait and come together, oldest first:\n• “Onboarding” requests access to “Tool 0”",
		) ||
			!strings.Contains(text, "\nSee them all: ") ||
			strings.Contains(text, " more.") == all {
			t.Errorf("the digest: %s", text)
		}
	}
	if !strings.Contains(mail, "“Tool 59”: “to open issues” https://keys.example.com/a&b/requests/r59\n") {
		t.Errorf("the mail: %s", mail)
	}
	raw, err := p.webhook(Dashboard{})
	var body struct {
		Type string
		Data struct {
			Notifications []struct {
				ID, Type string
				Data     struct{ Message string }
			}
		}
	}
	if err != nil || json.Unmarshal(raw, &body) != nil || body.Type != "digest" || len(body.Data.Notifications) != 60 ||
		body.Data.Notifications[59].ID != "d59" ||
		body.Data.Notifications[0].Type != "access_requested" ||
		body.Data.Notifications[0].Data.Message == "" {
		t.Errorf("for programs: %s %v", raw, err)
	}
}

func TestADashboardIsAPlainURL(t *testing.T) {
	for text, right := range map[string]bool{
		"https://keys.example.com": true, "http://10.0.0.1:3000/agentkey/": true,
		"https://KEYS.example.com/<a|b>": true, "https://[::1]:8443": true,
		"": false, "keys.example.com": false, "/requests": false, "ftp://keys.example.com": false, "https://": false,
		"https://user:canary@keys.example.com": false,
		"https://keys.example.com?a=b":         false, "https://keys.example.com?": false,
		"https://keys.example.com/#/x": false, "https://" + strings.Repeat("a", 400): false,
	} {
		d, err := ParseDashboard(text)
		if (err == nil) != right || err != nil && strings.Contains(err.Error(), "canary") ||
			strings.ContainsAny(d.base, "<>| ") ||
			strings.HasSuffix(d.base, "/") {
			t.Errorf("%s: %q %v", text, d.base, err)
		}
	}
}
