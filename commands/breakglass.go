package commands

import (
	"fmt"

	"agentkey/domain"
	"agentkey/domain/installation"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
)

// Operator is who acts through the commands of the program: anyone who can read its data folder.
var Operator = domain.Actor{Type: domain.ActorSystem, ID: "operator"}

// BreakGlass reports whether an event is what an operator did past the API that everybody must hear
// of, and whether it concerns every organization.
func BreakGlass(e codec.Verified) (told, everywhere bool) {
	switch b := e.Event.(type) {
	case organization.TokenCreated:
		return isOperator(e) || b.Configured, false
	case installation.MasterKeyAdded, installation.MasterKeyDestroyed, installation.SigningKeyAdded,
		installation.RestoreConfirmed:
		return isOperator(e), true
	}
	return false, false
}

func isOperator(e codec.Verified) bool { return e.Signed.Actor == Operator }

// breakGlass says what an operator did, by the ids under which the audit has it.
func breakGlass(event any) string {
	switch b := event.(type) {
	case organization.TokenCreated:
		if b.Configured {
			return fmt.Sprintf("configured the admin token %s", b.TokenID)
		}
		return fmt.Sprintf("created the service token %s with the role %s", b.TokenID, b.Role)
	case installation.MasterKeyAdded:
		return fmt.Sprintf("registered another master key, %s", b.ID)
	case installation.MasterKeyDestroyed:
		return fmt.Sprintf("recorded that no copy of the master key %s is left", b.ID)
	case installation.SigningKeyAdded:
		return fmt.Sprintf("replaced the key that signs the event log; it is %s now", b.SigningKey.ID)
	case installation.RestoreConfirmed:
		return "confirmed what was found to be wrong with the event log"
	}
	return "did what this version doesn't know"
}
