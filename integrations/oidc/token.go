package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// unverified is what a token says about itself. Nothing of it may be believed.
type unverified struct {
	issuer, algorithm, kind, keyID string
	claims                         map[string]any
}

// parse reads a token without verifying it. Neither a token nor a reason: it is opaque.
func parse(token string) (said *unverified, why string) {
	if len(token) > maxToken {
		return nil, fmt.Sprintf("it is longer than %d KiB", maxToken>>10)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, opaque(token)
	}
	var header struct {
		Algorithm string          `json:"alg"`
		Kind      string          `json:"typ"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"`
	}
	claims := map[string]any{}
	if decode(parts[0], &header) != nil || decode(parts[1], &claims) != nil {
		return nil, opaque(token)
	}
	issuer, _ := claims["iss"].(string)
	said = &unverified{
		issuer: issuer, algorithm: header.Algorithm, kind: header.Kind, keyID: header.KeyID, claims: claims,
	}
	switch strings.TrimPrefix(strings.ToLower(header.Kind), "application/") {
	case "", "jwt", "at+jwt", "jose": // a logout token or a security event is signed with the same keys
	default:
		return said, "its type is " + shorten(header.Kind) + ", so it isn't for signing in"
	}
	switch {
	case header.Critical != nil:
		return said, "it has extensions that must be understood and aren't"
	case issuer == "":
		return said, "it doesn't name its issuer"
	case !slices.Contains(algorithms, header.Algorithm):
		return said, "it is signed with " + shorten(header.Algorithm) + ", which isn't taken"
	case len(header.KeyID) > 512:
		return said, "its key id is too long"
	}
	return said, ""
}

// bearers are texts that can be a token (RFC 6750, 2.1).
var bearers = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// opaque returns why a text can't even be an opaque token, so that nobody is asked about it; "" if
// it can.
func opaque(token string) string {
	if len(token) < 16 || !bearers.MatchString(token) {
		return "it isn't a token"
	}
	return ""
}

func decode(part string, into any) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err //nolint:wrapcheck // only whether it fails counts
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err //nolint:wrapcheck // likewise
	}
	if decoder.More() {
		return errors.New("more follows")
	}
	return nil
}

// expected is whom a token must be for.
type expected struct {
	audiences, parties []string
	idToken            bool
	nonce              string
}

// bearer is what a token must be for that is sent to us.
func (i Issuer) bearer() expected {
	e := expected{audiences: i.Audiences, parties: i.AuthorizedParties, idToken: i.IDTokens}
	if i.IDTokens && len(e.audiences) == 0 {
		e.audiences = []string{i.ClientID}
	}
	return e
}

// verify returns the claims of a token that is the issuer's, in time and for whom it must be.
func (p *provider) verify(ctx context.Context, token string, e expected) (map[string]any, error) {
	said, why := parse(token)
	if why != "" {
		return nil, &Refused{Why: why}
	}
	k, why, err := p.keyFor(ctx, said.keyID, said.algorithm)
	if err != nil {
		return nil, err
	}
	if why != "" {
		return nil, &Refused{Why: why}
	}
	claims := jwt.MapClaims{}
	_, err = jwt.NewParser(append(p.rules(e), jwt.WithValidMethods([]string{said.algorithm}))...).ParseWithClaims(
		token, claims, func(*jwt.Token) (any, error) { return k.public, nil },
	)
	if err != nil {
		return nil, reason(err)
	}
	if why := p.further(claims, e); why != "" {
		return nil, &Refused{Why: why}
	}
	return claims, nil
}

// rules are those that the library must be told: it checks nothing else by itself.
func (p *provider) rules(e expected) []jwt.ParserOption {
	rules := []jwt.ParserOption{
		jwt.WithIssuer(p.issuer.URL), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(skew),
		jwt.WithTimeFunc(p.clock), jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
	}
	if len(e.audiences) > 0 {
		rules = append(rules, jwt.WithAudience(e.audiences...))
	}
	return rules
}

// reason says in words what the library refuses.
func reason(err error) *Refused {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return &Refused{Why: "its signature is wrong"}
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrInvalidType):
		return &Refused{Why: "its claims are malformed"}
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return &Refused{Why: "its issuer isn't the one that is configured"}
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return &Refused{Why: "it is meant for another audience"}
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return &Refused{Why: "it lacks a claim that is required, such as exp or aud"}
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return &Refused{Why: "it isn't valid yet: compare the clocks"}
	case errors.Is(err, jwt.ErrTokenExpired):
		return &Refused{Why: "it has expired", Expired: true}
	}
	return &Refused{Why: "it isn't valid"}
}

// further checks what the library doesn't.
func (p *provider) further(claims map[string]any, e expected) string {
	party, _ := claims["azp"].(string)
	if party == "" {
		party, _ = claims["client_id"].(string)
	}
	audiences, err := jwt.MapClaims(claims).GetAudience()
	switch {
	case err != nil:
		return "its audience is malformed"
	case len(e.parties) > 0 && party == "":
		return "it doesn't name the client it was issued to"
	case len(e.parties) > 0 && !slices.Contains(e.parties, party):
		return "it was issued to another client"
	// An ID token for several tells by azp who may use it.
	case e.idToken && len(e.parties) == 0 && (party != "" || len(audiences) > 1) && !slices.Contains(e.audiences, party):
		return "it was issued to another client"
	case claims["cnf"] != nil:
		return "it is bound to a key of its client, so it can't be used alone"
	case e.nonce != "" && claims["nonce"] != e.nonce:
		return "it wasn't made for this sign-in"
	}
	expires, found := expiry(claims)
	from := p.clock()
	if issued, err := jwt.MapClaims(claims).GetIssuedAt(); err == nil && issued != nil {
		from = issued.Time
	}
	if found && expires.Sub(from) > maxLife+skew {
		return fmt.Sprintf("it lives longer than %d hours", int(maxLife.Hours()))
	}
	return ""
}

// expiry returns when a token ends.
func expiry(claims map[string]any) (time.Time, bool) {
	at, err := jwt.MapClaims(claims).GetExpirationTime()
	if err != nil || at == nil {
		return time.Time{}, false
	}
	return at.Time, true
}

// issued is when a token was made, the zero time if it doesn't say.
func issued(claims map[string]any) time.Time {
	at, err := jwt.MapClaims(claims).GetIssuedAt()
	if err != nil || at == nil {
		return time.Time{}
	}
	return at.Time
}
