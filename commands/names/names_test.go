package names_test

import (
	"testing"

	"pgregory.net/rapid"

	"agentkey/commands/names"
)

func TestNamesAreComparedFolded(t *testing.T) {
	for _, same := range [][]string{
		{"GitHub", "github", "  GITHUB ", "ＧｉｔＨｕｂ"},
		{"Straße", "STRASSE"},
		{"Google  Cloud\tPlatform", "google cloud platform"},
		{"Café", "Cafe\u0301", "CAFÉ"},
		{"ﬁle", "FILE"},
	} {
		for _, name := range same {
			if names.Fold(name) != names.Fold(same[0]) {
				t.Errorf("%q is not %q", name, same[0])
			}
		}
	}
	if names.Fold("GitHub") == names.Fold("GitLab") || names.Fold(" \t ") != "" {
		t.Error("different names are the same")
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if once := names.Fold(name); names.Fold(once) != once {
			t.Fatalf("%q folds to %q and then to %q", name, once, names.Fold(once))
		}
	})
}

func TestTheSiteOfAURLIsItsRegistrableDomain(t *testing.T) {
	for raw, want := range map[string]string{
		"https://github.com/settings": "github.com", "https://API.GitHub.com:8443/v3?x=1": "github.com",
		"https://github.com.":   "github.com",
		"https://foo.bar.co.uk": "bar.co.uk", "https://someone.github.io": "someone.github.io",
		"https://Bücher.example.de": "example.de",
		"https://bücher.de":         "xn--bcher-kva.de", "https://xn--bcher-kva.de": "xn--bcher-kva.de",
		"https://user:pass@api.stripe.com": "stripe.com",
		"":                                 "", "github.com": "", "https://": "", "https://com": "",
		"https://co.uk": "", "https://127.0.0.1": "",
		"https://[::1]:8080": "", "https://1.2.3": "",
		"https://localhost": "", "http://0x7f.1": "", "not a url": "", "https://exa mple.com": "",
		"https://-bad-.com": "", "https://a..com": "", "mailto:a@b.com": "",
	} {
		if got := names.Site(raw); got != want {
			t.Errorf("%q is of %q, want %q", raw, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) { names.Site(rapid.String().Draw(t, "url")) })
}
