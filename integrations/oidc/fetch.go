package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// callTime is how long one call of a provider may take by default, its body included, and a fetch
// of what it publishes, which is two.
const callTime = 5 * time.Second

// Bounds of what a provider may answer, in bytes.
const (
	maxKeySet   = 1 << 20
	maxDocument = 256 << 10
)

// doer makes calls.
type doer interface {
	Do(request *http.Request) (*http.Response, error)
}

// client never follows a redirect: what a provider publishes is where its issuer says, and a form
// with a secret must not be sent on.
func client(through http.RoundTripper, within time.Duration) *http.Client {
	return &http.Client{
		Transport: through, Timeout: within,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// unavailable is why a provider can't be asked, or can't be understood.
type unavailable struct{ why string }

func (u *unavailable) Error() string { return u.why }
func (u *unavailable) Unwrap() error { return ErrUnavailable }

// get fetches a JSON document. The bearer's token is sent when there is one.
func (p *provider) get(ctx context.Context, what, at, bearer string, most int64, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return &unavailable{why: what + " has no URL that can be called"}
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	return p.do(request, what, most, into)
}

// do makes a call and reads its answer, a JSON object.
func (p *provider) do(request *http.Request, what string, most int64, into any) error {
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "AgentKey")
	answer, err := p.client.Do(request)
	if err != nil {
		return &unavailable{why: fmt.Sprintf("%s at %s: %v", what, request.URL.Host, plain(err))}
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	fail := func(format string, args ...any) error {
		text := fmt.Sprintf(format, args...)
		return &unavailable{why: fmt.Sprintf("%s at %s: %s", what, request.URL.Host, text)}
	}
	if answer.StatusCode >= 300 && answer.StatusCode < 400 {
		to, err := answer.Location()
		if err != nil {
			return fail("it redirects")
		}
		return fail("it redirects to %s, which isn't followed", shorten(to.Host))
	}
	if answer.StatusCode != http.StatusOK {
		return fail("it answers with status %d", answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	switch {
	case err != nil:
		return fail("%v", plain(err))
	case int64(len(text)) > most:
		return fail("its answer is larger than %d KiB", most>>10)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		sort, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		return fail("its answer isn't the JSON that is expected, but %s", shorten(sort))
	}
	return nil
}

// plain says what failed without the URL, whose query may hold something.
func plain(err error) error {
	if of, is := errors.AsType[*url.Error](err); is {
		if of.Timeout() {
			return errors.New("it doesn't answer in time")
		}
		return of.Err
	}
	return err
}

// document is what the discovery of a provider says.
type document struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	UserInfo      string   `json:"userinfo_endpoint"`
	Introspection string   `json:"introspection_endpoint"`
	Keys          string   `json:"jwks_uri"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
	AskerAuth     []string `json:"introspection_endpoint_auth_methods_supported"` // ClientAuth where there is none
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	NamesItself   bool     `json:"authorization_response_iss_parameter_supported"` // where it sends browsers back
}

// discover fetches what a provider publishes about itself. It must name itself as it is configured:
// otherwise it would speak for another.
func (p *provider) discover(ctx context.Context) (document, error) {
	const what = "the discovery document"
	var d document
	at := strings.TrimRight(p.issuer.URL, "/") + "/.well-known/openid-configuration"
	if err := p.get(ctx, what, at, "", maxDocument, &d); err != nil {
		return document{}, err
	}
	if d.Issuer != p.issuer.URL {
		return document{}, &unavailable{why: fmt.Sprintf(
			"%s names the issuer %q, and %q is configured: they must be equal to the letter", what, shorten(d.Issuer),
			p.issuer.URL,
		)}
	}
	if len(d.AskerAuth) == 0 {
		d.AskerAuth = d.ClientAuth
	}
	if d.Keys == "" {
		return document{}, &unavailable{why: what + " names no key set"}
	}
	for _, at := range []string{d.Authorization, d.Token, d.UserInfo, d.Introspection, d.Keys} {
		if at == "" {
			continue
		}
		u, err := url.Parse(at)
		plainHTTP := err == nil && u.Scheme == "http" && loopback(u.Hostname()) &&
			strings.HasPrefix(p.issuer.URL, "http:")
		if err != nil || u.Host == "" || u.Scheme != "https" && !plainHTTP {
			return document{}, &unavailable{why: what + " names an endpoint that isn't https: " + shorten(at)}
		}
	}
	return d, nil
}
