package codec_test

import (
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// BenchmarkSigned measures what signing costs a writer, and checking a reader: of the MAC, as our
// own processes do, and of the signature, as everybody else must.
func BenchmarkSigned(b *testing.B) {
	k := keyring(b, "store-1", "key-1", key(1), nil)
	public := codec.NewKeyring("store-1", "key-1", key(1), nil)
	r := recorded(b, k, signed)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"sign", func() error {
			_, _, err := k.Sign(r.Stream, r.Revision, r.ID, r.Type, r.Data, signed)
			return err
		}},
		{"check_mac", func() error { return checked(k, r) }},
		{"check_signature", func() error { return checked(public, r) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func checked(k *codec.Keyring, r eventstore.Recorded) error {
	_, _, err := k.Verify(r)
	return err
}
