// Package reactions holds what follows from an event: commands that finish, expire or remove
// something, and messages to people. A reaction decides nothing itself. It acts through commands
// whose ids derive from their cause, so any number of processes may run the same reaction, and what
// it has handled is in the log.
package reactions
