package commands

import "context"

// BeginOnly is what a process does that is killed before it joined what it began.
func (b Beginning) BeginOnly(ctx context.Context) error { return b.begin(ctx) }
