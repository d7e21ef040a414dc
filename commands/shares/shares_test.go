package shares

import (
	"fmt"
	"testing"
)

func TestNobodyTakesThemAll(t *testing.T) {
	s := Shares{All: 4, Each: 2}
	take := func(owner string) int {
		n := 0
		for n < 9 && s.Take(owner) {
			n++
		}
		return n
	}
	if a, b := take("a"), take("b"); a != 2 || b != 2 {
		t.Errorf("a has %d, b has %d", a, b)
	}
	for i := range 6 { // all are taken
		if got := take(fmt.Sprint("late", i)); got != 1 && i < 4 || got != 0 && i >= 4 {
			t.Errorf("latecomer %d gets %d", i, got)
		}
	}
	s.Give("late0")
	if a, late := take("a"), take("late4"); a != 0 || late != 1 {
		t.Errorf("of one that was given back a gets %d, a latecomer %d", a, late)
	}
	for _, owner := range []string{"a", "a", "b", "b", "late1", "late2", "late3", "late4"} {
		s.Give(owner)
	}
	if len(s.by) != 0 || s.taken != 0 {
		t.Errorf("%d of %v are left", s.taken, s.by)
	}
}
