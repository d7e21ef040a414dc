package eventstoretest

// Rounds is how often a test repeats what it draws or races: n, or a tenth of it where the race
// detector makes each round slow. The full count runs once without the detector.
func Rounds(n int) int {
	if RaceDetector {
		return max(n/10, 1)
	}
	return n
}
