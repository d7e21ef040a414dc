// Package commands holds the use cases: what a caller may ask for and what has to be gathered,
// sealed or removed around the decision. The decisions are those of package domain, and package
// loop carries them out. A command that needs nothing else has no code here. Nothing here knows
// HTTP or reads a read model.
package commands

const pageSize = 512 // events in one read
