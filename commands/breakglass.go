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
	case installation.MasterKeyAdded, installation.SigningKeyAdded, installation.RestoreConfirmed:
		return isOperator(e), true
	}
	return false, false
}

func isOperator(e codec.Verified) bool { return e.Signed.Actor == Operator }

// breakGlass says what an operator did.
func breakGlass(e codec.Verified) string {
	switch b := e.Event.(type) {
	case organization.TokenCreated:
		if b.Configured {
			return "configured another admin token"
		}
		return fmt.Sprintf("created a service token with the role %s", b.Role)
	case installation.MasterKeyAdded:
		return "registered another master key"
	case installation.SigningKeyAdded:
		return "replaced the key that signs the event log"
	case installation.RestoreConfirmed:
		return "confirmed a restored event log, so that credentials are vended again"
	}
	return "did what this version doesn't know"
}
