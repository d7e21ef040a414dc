package commands

import "context"

// BeginOnly is what a process does that is killed before it joined what it began.
func (b Beginning) BeginOnly(ctx context.Context) error { return b.begin(ctx) }

// Rely replaces how long a process relies on what it knows of the keys.
func (k *SigningKeys) Rely(r Replacement) { k.replacement.Store(&r) }

// TwinID is the id of the second copy of a secret of the installation.
func TwinID(secretID string) string { return twinID(secretID) }
