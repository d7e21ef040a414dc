// Package shares divides places that are few among many, so that nobody takes them all. It knows
// neither what the places are nor whom it divides them among, and nobody waits here.
package shares

import "sync"

// Shares are places to be divided. Up to All are taken freely, and up to Each by one owner. An
// owner that has none gets one beyond All too, as long as there are less than twice as many.
type Shares struct {
	All, Each int

	mu    sync.Mutex
	taken int
	by    map[string]int
}

// Take takes a place for an owner, if there is one; then Give gives it back.
func (s *Shares) Take(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.by[owner]
	if has >= s.Each || s.taken >= s.All && (has > 0 || s.taken >= 2*s.All) {
		return false
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.taken++
	s.by[owner]++
	return true
}

// Give gives a place back.
func (s *Shares) Give(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[owner]--; s.by[owner] == 0 {
		delete(s.by, owner)
	}
}
