package codec_test

import (
	"testing"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
)

// TestAnEventWithoutATypeIsNobodys: other clients than ours may write one.
func TestAnEventWithoutATypeIsNobodys(t *testing.T) {
	for typ, want := range map[string]bool{
		"": false, "agent.registered.v1": false, "$metadata": true, eventstore.CopyNote: true,
	} {
		if codec.Reserved(typ) != want {
			t.Errorf("%q is reserved: %t", typ, !want)
		}
	}
}
