package embedded

import "context"

// CheckOnce is what a served store does once a day.
func (s *Store) CheckOnce(ctx context.Context) bool { return s.checkOnce(ctx) }
