package loop_test

import (
	"testing"
	"time"

	"agentkey/commands/commandstest"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/seal"
)

// office is an installation with what the tests of this package ask of it.
type office struct{ *commandstest.Office }

func open(t testing.TB) *office {
	o := &office{commandstest.Open(t)}
	if eventstoretest.RaceDetector { // it makes the largest batches longer than a batch may take
		o.Grants.Agents.GiveTime(time.Minute)
	}
	return o
}

func openOn(t testing.TB, server *eventstoretest.Server, r seal.Ring) *office {
	return &office{commandstest.OpenOn(t, server, r)}
}

func openAt(t testing.TB, server *eventstoretest.Server, r seal.Ring, c *commandstest.Clock) *office {
	return &office{commandstest.OpenAt(t, server, r, c)}
}
