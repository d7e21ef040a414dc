package words_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"agentkey/commands/words"
)

func TestNamesOfEveryScriptAreTaken(t *testing.T) {
	for _, name := range []string{
		"", "GitHub", "C++ & C#", "Café", "Cafe\u0301", "👩\u200d💻 bots", "❤\ufe0f", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪",
		"می\u200cخواهم", "क्\u200dष", "বাংলা", "தமிழ்", "മലയാളം", "العربية",
		"עִבְרִית", "学習 ツール", "한국어", "ไทย", "Việt Nam", "Ελληνικά", "Ქართული",
		"naïve\u00a0name", "東京\u3000支社", "𠮷野家", "\u1680x",
	} {
		if err := words.Name(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if err := words.Text(name + "\r\n\tand\nmore"); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if words.CleanLine(name) != name && !strings.ContainsAny(name, "\u00a0\u3000\u1680") {
			t.Errorf("%q is cleaned to %q", name, words.CleanLine(name))
		}
	}
}

func TestARefusalNamesTheCharacter(t *testing.T) {
	for text, want := range map[string]string{
		"Git\x00Hub": "character 4 is U+0000, a control character; remove it",
		"\x1b[31m":   "character 1 is U+001B, a control character; remove it",
		"日\u202eab":  "character 2 is U+202E, an invisible character that changes the direction of writing; remove it",
		"a\u200bb":   "character 2 is U+200B, an invisible format character; remove it",
		"ab\ue000":   "character 3 is U+E000, a private-use character, which has no meaning that everybody knows; remove it",
		"a\ufffe":    "character 2 is U+FFFE, not a character; remove it",
		"a\nb":       "character 2 is U+000A, a line break; write it in one line",
		"a\u2028b":   "character 2 is U+2028, a line break; write it in one line",
		"a\tb":       "character 2 is U+0009, a tab; write it in one line",
		"a\xffb":     "character 2 is U+FFFD, in place of a byte that is not UTF-8; send the text in UTF-8",
		"\u200d":     "character 1 is U+200D, and nothing in this text can be seen; write something that readers see",
	} {
		if err := words.Name(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatNobodySeesIsNoName(t *testing.T) {
	for _, hidden := range []string{
		"\u200d", "\u200c", "\u034f", "\u3164", "\u115f", "\u1160", "\uffa0", "\u2800", "\ufe0f", "\U000e0100", "\u17b4",
		"\u180b", "\u3000", "\u00a0",
	} {
		for _, text := range []string{hidden + hidden, hidden + " " + hidden} {
			if words.Name(text) == nil || words.Text(text) == nil {
				t.Errorf("%+q is taken", text)
			}
		}
		if err := words.Text("a" + hidden + "b"); err != nil {
			t.Errorf("%+q within a text: %v", hidden, err)
		}
	}
}

// TestTheCheckAgreesWithUnicode compares the check with the categories of each character of a text.
func TestTheCheckAgreesWithUnicode(t *testing.T) {
	character := rapid.OneOf(rapid.Rune(), rapid.RuneFrom(nil, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.L))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(character).Draw(t, "text")
		var refused bool
		for _, r := range text {
			refused = refused || r != '\u200c' && r != '\u200d' && (r == '\u2028' || r == '\u2029' ||
				unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Noncharacter_Code_Point))
		}
		err := words.Line(text)
		if refused != (err != nil) {
			t.Fatalf("%+q: %v", text, err)
		}
		if unfit, is := errors.AsType[*words.Unfit](err); is && []rune(text)[unfit.At-1] != unfit.Character {
			t.Fatalf("%+q: %v", text, err)
		}
		if clean := words.CleanLine(text); words.Line(clean) != nil || words.CleanLine(clean) != clean {
			t.Fatalf("%+q is cleaned to %+q", text, clean)
		}
		if clean := words.Clean(text + "\xff\r"); !utf8.ValidString(clean) || words.Text("x"+clean) != nil {
			t.Fatalf("%+q is cleaned to %+q", text, clean)
		}
	})
}

func TestAURLIsWrittenAsItIsUnderstood(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "HTTPS://GitHub.COM/A?b=C#d": "https://github.com/A?b=C#d", "https://github.com": "https://github.com",
		"https://bücher.de/straße": "https://xn--bcher-kva.de/stra%C3%9Fe", "https://ｇｉｔｈｕｂ.com": "https://github.com",
		"https://xn--bcher-kva.de": "https://xn--bcher-kva.de", "http://my_host:8080/": "http://my_host:8080/",
		"https://[2001:DB8::0:1]:443/x": "https://[2001:db8::1]:443/x", "https://x.example:/": "https://x.example/",
		"https://x.example/a%2Fb": "https://x.example/a%2Fb", "https://x.example/?": "https://x.example/?",
	} {
		if got, err := words.URL(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"github.com", "javascript:alert(1)", "ftp://x.example", "https://", "https:///x", "https://u@x.example",
		"https://u:p@x.example", "https://x.example\\@y.example", "https://x.example/a b", "https://x.example/\u202e",
		"https://x.example/\x00", "https://x\u200b.example", "https://x.example:99999", "https://x.example:0",
		"https://x.example:a", "https:x.example", "//x.example", "https://x.example/%zz", "https://a<b>.example", "https://.",
	} {
		if got, err := words.URL(text); err == nil {
			t.Errorf("%q is %q", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := "https://" + rapid.StringOf(rapid.RuneFrom([]rune("aé.ｇ/?#%2f:[]@&=漢"))).Draw(t, "rest")
		if once, err := words.URL(text); err == nil {
			if twice, err := words.URL(once); err != nil || twice != once {
				t.Fatalf("%q is %q, and that %q: %v", text, once, twice, err)
			}
		}
	})
}
