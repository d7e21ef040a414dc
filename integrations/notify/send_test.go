package notify

import (
	"testing"
	"time"
)

func TestAReceiverSaysHowLongToWait(t *testing.T) {
	now := time.Date(2026, 3, 4, 14, 3, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "120": 2 * time.Minute, "-1": 0, "1.5": 0, "soon": 0,
		"99999999999999999999999": 1 << 31 * time.Second, "4294967296": 1 << 31 * time.Second,
		"Wed, 04 Mar 2026 14:04:30 GMT": 90 * time.Second, "Wed, 04 Mar 2026 14:02:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, not %v", text, got, want)
		}
	}
}
