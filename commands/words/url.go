package words

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// ErrURL is the error for a text that is not an http or https URL without a user.
var ErrURL = errors.New("it is not an http or https URL without a user")

// URL returns a URL as it is understood: scheme and host in lower case, a host of other scripts in
// ASCII (UTS 46), and the path, the query and the fragment as the parser writes them. An empty text
// stays empty, and what it returned once stays as it is. The error is an *Unfit or ErrURL.
func URL(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if err := Line(text); err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" ||
		strings.ContainsFunc(text, unicode.IsSpace) || strings.Contains(u.Host, "@") {
		return "", ErrURL
	}
	name, port := u.Hostname(), u.Port()
	if name, err = host(name); err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return "", ErrURL
	}
	u.Host = name
	if port != "" {
		u.Host += ":" + port
	}
	written := u.String()
	if again, err := url.Parse(written); err != nil || again.Host != u.Host || again.User != nil {
		return "", ErrURL
	}
	return written, nil
}

// inASCII maps a host name as browsers do.
var inASCII = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true),
	idna.BidiRule(),
)

// host returns a host name in lower-case ASCII, and an IPv6 address in brackets. What is ASCII
// already may be any name that a network has, with an underscore, say.
func host(name string) (string, error) {
	if strings.Contains(name, ":") {
		address, err := netip.ParseAddr(name)
		if err != nil {
			return "", ErrURL
		}
		return "[" + address.String() + "]", nil
	}
	ascii := true
	for _, r := range name {
		ascii = ascii && r < unicode.MaxASCII
	}
	if !ascii {
		mapped, err := inASCII.ToASCII(name)
		if err != nil {
			return "", ErrURL
		}
		name = mapped
	}
	name = strings.ToLower(name)
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-._~", r) {
			return "", ErrURL
		}
	}
	if strings.Trim(name, ".") == "" {
		return "", ErrURL
	}
	return name, nil
}
