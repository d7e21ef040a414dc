package commands_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"agentkey/commands"
)

func TestACredentialIsAStringOrNamedStrings(t *testing.T) {
	many := func(n int) string {
		fields := map[string]string{}
		for i := range n {
			fields[fmt.Sprint("field ", i)] = "v"
		}
		raw, _ := json.Marshal(fields)
		return string(raw)
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for raw, ok := range map[string]bool{
		`"ghp_x"`: true, `" "`: true, `"\u0000"`: true, long(1): true, long(16_384): true, `{"user":"a","password":"b"}`: true, many(1): true, many(16): true,
		`"` + strings.Repeat("ä", 8192) + `"`:         true,
		`{"k":"` + strings.Repeat("x", 16_383) + `"}`: true,

		`""`: false, ``: false, `null`: false, `1`: false, `true`: false, `[]`: false, `["a"]`: false, `{}`: false, `{"a":1}`: false, `{"a":null}`: false, `{"a":{"b":"c"}}`: false,
		`{"":"a"}`: false, `{"a":""}`: false, `"open`: false, long(16_385): false, many(17): false,
		`"` + strings.Repeat("ä", 8193) + `"`:         false,
		`{"k":"` + strings.Repeat("x", 16_384) + `"}`: false,
	} {
		secret, err := commands.NewCredential([]byte(raw))
		if (err == nil) != ok || secret.Empty() == ok {
			t.Errorf("%.40s of %d bytes: %v", raw, len(raw), err)
		}
		if err != nil && code(err) != "validation_failed" {
			t.Errorf("%.40s: %v", raw, err)
		}
		if err != nil && strings.Contains(err.Error(), "ghp") {
			t.Error("the error shows the credential")
		}
	}
}

func TestACredentialComesBackAsItWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 200, -1).Draw(t, "text")
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := commands.NewCredential(raw)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(secret.Reveal(), &back); err != nil || !bytes.Equal([]byte(back), []byte(text)) {
			t.Fatalf("%q came back as %q: %v", text, back, err)
		}
	})
}

func TestNamesAreComparedFolded(t *testing.T) {
	for _, same := range [][]string{
		{"GitHub", "github", "  GITHUB ", "ＧｉｔＨｕｂ"},
		{"Straße", "STRASSE"},
		{"Google  Cloud\tPlatform", "google cloud platform"},
		{"Café", "Cafe\u0301", "CAFÉ"},
		{"ﬁle", "FILE"},
	} {
		for _, name := range same {
			if commands.Fold(name) != commands.Fold(same[0]) {
				t.Errorf("%q is not %q", name, same[0])
			}
		}
	}
	if commands.Fold("GitHub") == commands.Fold("GitLab") || commands.Fold(" \t ") != "" {
		t.Error("different names are the same")
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if once := commands.Fold(name); commands.Fold(once) != once {
			t.Fatalf("%q folds to %q and then to %q", name, once, commands.Fold(once))
		}
	})
}

func TestTheSiteOfAURLIsItsRegistrableDomain(t *testing.T) {
	for raw, want := range map[string]string{
		"https://github.com/settings": "github.com", "https://API.GitHub.com:8443/v3?x=1": "github.com", "https://github.com.": "github.com",
		"https://foo.bar.co.uk": "bar.co.uk", "https://someone.github.io": "someone.github.io", "https://Bücher.example.de": "example.de",
		"https://bücher.de": "xn--bcher-kva.de", "https://xn--bcher-kva.de": "xn--bcher-kva.de", "https://user:pass@api.stripe.com": "stripe.com",
		"": "", "github.com": "", "https://": "", "https://com": "", "https://co.uk": "", "https://127.0.0.1": "", "https://[::1]:8080": "", "https://1.2.3": "",
		"https://localhost": "", "http://0x7f.1": "", "not a url": "", "https://exa mple.com": "", "https://-bad-.com": "", "https://a..com": "", "mailto:a@b.com": "",
	} {
		if got := commands.Site(raw); got != want {
			t.Errorf("%q is of %q, want %q", raw, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) { commands.Site(rapid.String().Draw(t, "url")) })
}
