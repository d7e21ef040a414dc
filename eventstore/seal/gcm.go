// Package seal keeps secrets: AES-256-GCM with a fresh IV each, one data key for each version of a
// secret, wrapped by a master key, bound to what it belongs to. It is not a key store for others
// and never logs, and plaintext leaves it only as a domain.Secret.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	keySize = 32
	ivSize  = 12
	tagSize = 16
)

// ErrDoesNotOpen is the answer to a sealed text that was changed, moved or sealed with another key.
// It says no more, on purpose.
var ErrDoesNotOpen = errors.New("sealed text does not open")

var encoding = base64.RawURLEncoding.Strict()

// Seal encrypts with AES-256-GCM (NIST SP 800-38D) under a fresh random 12-byte IV and returns
// IV ‖ tag ‖ ciphertext as base64url without padding. Without associated data any AES-GCM opens it.
func Seal(key, plaintext, associated []byte) (string, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return "", err
	}
	iv := make([]byte, ivSize)
	if _, err := rand.Read(iv); err != nil {
		return "", fmt.Errorf("draw an IV: %w", err)
	}
	sealed := gcm.Seal(nil, iv, plaintext, associated) // ciphertext ‖ tag
	body, tag := sealed[:len(plaintext)], sealed[len(plaintext):]
	out := make([]byte, 0, ivSize+len(sealed))
	out = append(out, iv...)
	out = append(out, tag...)
	out = append(out, body...)
	return encoding.EncodeToString(out), nil
}

// Open undoes Seal. Anything that was changed is ErrDoesNotOpen.
func Open(key []byte, sealed string, associated []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	raw, err := encoding.DecodeString(sealed)
	if err != nil || len(raw) < ivSize+tagSize || strings.ContainsAny(sealed, "\r\n") { // the decoder skips these
		return nil, ErrDoesNotOpen
	}
	iv, tag, body := raw[:ivSize], raw[ivSize:ivSize+tagSize], raw[ivSize+tagSize:]
	joined := make([]byte, 0, len(body)+tagSize)
	joined = append(joined, body...)
	joined = append(joined, tag...)
	plain, err := gcm.Open(nil, iv, joined, associated)
	if err != nil {
		return nil, ErrDoesNotOpen
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a key of AES-256 has %d bytes, not %d", keySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func randomKey() ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return key, nil
}
