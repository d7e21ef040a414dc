package notify

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

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
			ID: "id", Topic: topic, Agent: text, Tool: text, Reason: text, Channel: text, RequestID: "r1",
			SuggestionID: "s1", AgentID: "a1", ToolID: "t1", EndsAt: time.Unix(0, 0),
		}
		out = append(out, m)
		m.AgentID = ""
		out = append(out, m)
	}
	return out
}

// TestWhateverAgentsWriteStaysText draws texts out of what means something somewhere.
func TestWhateverAgentsWriteStaysText(t *testing.T) {
	pieces := []string{
		"a", "Z", "9", ".", ":", "/", "\\", "@", "<", ">", "&", "[", "]", "(", ")", "*", "_", "~", "`", "|", "#", "!",
		"“", "”", "\n", "\r", "\u2028", "\u202e", "\u0085", "\x00", "\xff", "://", "http://evil.com", "@everyone",
		"<!here>", "日", "😀",
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 1200).Draw(t, "text"), "")
		for _, m := range messages(text) {
			slack, err := m.slack()
			var s struct{ Text string }
			if err != nil || json.Unmarshal(slack, &s) != nil || strings.ContainsAny(s.Text, "<>") {
				t.Fatalf("for Slack: %s %v", slack, err)
			}
			discord, err := m.discord()
			var d struct{ Content string }
			if err != nil || json.Unmarshal(discord, &d) != nil || utf8.RuneCountInString(d.Content) > 2000 {
				t.Fatalf("for Discord: %d characters, %v", utf8.RuneCountInString(d.Content), err)
			}
			subject, body := m.mail()
			if utf8.RuneCountInString(subject) > maxSubject {
				t.Fatalf("the subject has %d characters", utf8.RuneCountInString(subject))
			}
			first, _, _ := strings.Cut(body, "\n")
			for _, line := range []string{
				strings.Split(s.Text, "\n")[0], strings.Split(d.Content, "\n")[0], subject, first,
			} {
				bad := func(r rune) bool {
					return r != '\u200b' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
				}
				if strings.ContainsFunc(line, bad) || strings.Contains(line, "://") ||
					strings.Contains(line, "evil.com") {
					t.Fatalf("not inert: %q", line)
				}
			}
			if strings.Count(s.Text, "\n") != 1 || strings.Count(d.Content, "\n") != 1 ||
				strings.Count(s.Text, "“") != strings.Count(s.Text, "”") {
				t.Fatalf("other lines or quotes: %q %q", s.Text, d.Content)
			}
		}
	})
}

func TestEachTopicSaysWhatItIsAndWhatToDo(t *testing.T) {
	for i, want := range []string{
		"“x” requests access to “x”: “x”\nApprove or deny it with POST /api/admin/requests/r1/approve or …/deny.",
		"“x” suggests adding “x” to the catalog: “x”\nAccept or dismiss it with POST " +
			"/api/admin/suggestions/s1/accept or …/dismiss.",
		"“x” suggests a note for the usage guide of “x”: “x”\nAccept or dismiss it with POST " +
			"/api/admin/instruction-suggestions/s1/accept or …/dismiss.",
		"The credential that “x” uses for “x” expires on 1 January 1970 at 00:00 UTC\nReplace it with PUT " +
			"/api/admin/agents/a1/grants/t1/credential.",
		"The access that “x” has to “x” ends on 1 January 1970 at 00:00 UTC\nTo extend it, grant it again after it " +
			"ends with POST /api/admin/agents/a1/grants.",
		"This is a test message for the notification channel “x”\nYou don't have to do anything.",
	} {
		if m := messages("x")[2*i]; m.line(plain)+"\n"+m.next() != want {
			t.Errorf("%s\n%s\nand not\n%s", m.line(plain), m.next(), want)
		}
	}
	if shared := messages("x")[7]; shared.line(plain) != "The shared credential for “x” expires on 1 January 1970 at 00:00 UTC" || !strings.Contains(
		shared.next(), "/api/admin/tools/t1/credential",
	) {
		t.Errorf("%s\n%s", shared.line(plain), shared.next())
	}
}
