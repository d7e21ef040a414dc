package actions

import (
	"agentkey/domain/installation"
)

var ofTheSystem = []row{
	told("installation.begun", System, "The installation began on an empty log.",
		part, installation.Begun{}, func(e entry, _ installation.Begun) string {
			return e.who() + " began this installation"
		}),
	told("master_key.added", System, "A master key was added that may wrap secrets.",
		atTheServer, installation.MasterKeyAdded{MasterKey: installation.MasterKey{ID: "1f0c5a7d9b3e2468"}},
		func(e entry, d installation.MasterKeyAdded) string {
			return e.who() + " added the master key " + d.ID
		}),
	told("master_key.destroyed", System, "An operator recorded that no copy of a master key is left.",
		atTheServer, installation.MasterKeyDestroyed{ID: "1f0c5a7d9b3e2468"},
		func(e entry, d installation.MasterKeyDestroyed) string {
			return e.who() + " recorded that the master key " + d.ID + " is destroyed"
		}),
	told("signing_key.added", System, "Another key signs the events from then on.",
		atTheServer, installation.SigningKeyAdded{}, func(e entry, _ installation.SigningKeyAdded) string {
			return e.who() + " added the key that signs from now on"
		}),
	told("signing_key.ended", System, "A former signing key counts only for what the log held by then.",
		atTheServer, installation.SigningKeyEnded{}, func(e entry, _ installation.SigningKeyEnded) string {
			return e.who() + " ended a former signing key"
		}),
	told("signing_key.recorded", System, "The installation noted where the list of its signing keys ends.",
		part, installation.SigningKeysRecorded{}, func(e entry, _ installation.SigningKeysRecorded) string {
			return e.who() + " noted where the list of its signing keys ends"
		}),
	told("log.restore_found", System, "The log was restored or lost an end: credentials wait until an operator confirms.",
		part, installation.RestoreFound{}, func(e entry, d installation.RestoreFound) string {
			switch {
			case d.Alone:
				return e.who() + " found that a stream of its log has lost its end, and holds back what depends on it"
			case d.BackupID != "":
				return e.who() + " found that its log came out of a backup, and holds back every credential"
			}
			return e.who() + " found that its log has lost its end, and holds back every credential"
		}),
	told("log.restore_confirmed", System, "An operator confirmed the log, so credentials are vended again.",
		atTheServer, installation.RestoreConfirmed{}, func(e entry, d installation.RestoreConfirmed) string {
			sentence := e.who() + " confirmed the log as it is"
			if d.SuspendedAgents > 0 {
				sentence += " after " + counted(d.SuspendedAgents, "agent was suspended", "agents were suspended")
			}
			return sentence
		}),
	told("log.foreign_event_found", System, "The log holds an event that isn't AgentKey's. It is passed over.",
		part, installation.ForeignEventFound{}, func(e entry, _ installation.ForeignEventFound) string {
			return e.who() + " found an event in its log that isn't one of its own, and passes it over"
		}),
}
