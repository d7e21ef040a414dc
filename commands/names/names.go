// Package names compares what people and agents call things: names folded across case, script
// variants and punctuation, and the registrable domains of URLs. It depends on Unicode and suffix
// tables that change, so what it returns is stored in events and never computed again from them.
package names

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold is the form in which names are compared: NFKC, case folded, single spaces. Upper case comes
// first because folding alone exchanges the two cases of Cherokee.
func Fold(name string) string {
	upper := strings.ToUpper(norm.NFKC.String(name))
	return strings.Join(strings.Fields(norm.NFKC.String(cases.Fold().String(upper))), " ")
}

// trademarks say nothing of what a product is called.
var trademarks = strings.NewReplacer("™", "", "®", "", "©", "", "℠", "")

// FoldProduct is the form in which names of products are compared: folded, and of that the letters,
// digits and marks of any script, and the signs that tell products apart (C++ and C#). Spaces and
// punctuation don't: GitHub is git-hub. A name of nothing else is compared as it is.
func FoldProduct(name string) string {
	folded := Fold(trademarks.Replace(name))
	kept := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Variation_Selector, r):
			return -1
		case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsNumber(r), unicode.IsSymbol(r), strings.ContainsRune(
			"#*&@", r,
		):
			return r
		}
		return -1
	}, folded)
	if kept == "" {
		return folded
	}
	return kept
}

// Site is the registrable domain of a URL in lower-case ASCII (Public Suffix List, UTS 46), or ""
// when it has none: an address, a bare suffix, or no URL.
func Site(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	profile := idna.New(
		idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true),
		idna.BidiRule(),
	)
	host, err = profile.ToASCII(host)
	if err != nil {
		return ""
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		return ""
	}
	site, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return ""
	}
	return site
}
