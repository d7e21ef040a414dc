package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"strings"

	"github.com/MicahParks/jwkset"
)

// algorithms are those that a provider may sign with: none that is symmetric, whose key would be
// the public one.
var algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

const (
	maxKeys    = 100
	minRSABits = 2048
)

// key is one that a provider publishes to verify signatures.
type key struct {
	id, algorithm string // either may be empty
	public        crypto.PublicKey
}

// fits reports whether a key may verify an algorithm: its own if it has one, else those of its
// kind.
func (k key) fits(algorithm string) bool {
	if k.algorithm != "" {
		return k.algorithm == algorithm
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		curve := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]
		return algorithm == curve
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// fetchKeys fetches the key set that a discovery document names. A key in it that can't be used is
// left out: others sign.
func (p *provider) fetchKeys(ctx context.Context, d document) ([]key, error) {
	const what = "the key set"
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := p.get(ctx, what, d.Keys, "", maxKeySet, &set); err != nil {
		return nil, err
	}
	keys, why := usableKeys(set.Keys)
	if why != "" {
		return nil, &unavailable{why: what + why}
	}
	return keys, nil
}

// usableKeys reads the keys of a set; why is what is wrong with all of them.
func usableKeys(set []json.RawMessage) (keys []key, why string) {
	if len(set) > maxKeys {
		return nil, " has more keys than are taken"
	}
	for _, raw := range set {
		if k, usable := usableKey(raw); usable {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, " has no key that can be used"
	}
	return keys, ""
}

// usableKey reads one key. Certificates beside it are ignored, and so is where they could be
// fetched.
func usableKey(raw json.RawMessage) (key, bool) {
	var said jwkset.JWKMarshal
	if json.Unmarshal(raw, &said) != nil || said.USE != "" && said.USE != jwkset.UseSig {
		return key{}, false
	}
	read, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: said.KTY, KID: said.KID, CRV: said.CRV, X: said.X, Y: said.Y, N: said.N, E: said.E,
	}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, false
	}
	k := key{id: said.KID, algorithm: said.ALG.String(), public: read.Key()}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return k, public.N.BitLen() >= minRSABits && public.E > 1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return k, true
	}
	return key{}, false
}
