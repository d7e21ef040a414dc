// Package export writes the audit in the forms in which others take it: the stored events as they
// are, tables for spreadsheets, and OCSF for security tools. Each form is written entry by entry,
// so an export of any length takes the same memory. It decides nothing, and what it is given holds
// no secret.
package export

import "agentkey/readmodels"

// Entry is what the audit shows of an event, with its labels and what it holds about the person or
// machine behind it.
type Entry struct {
	readmodels.AuditEntry

	Address, UserAgent string
	Version            string // of the program that exports it
}
