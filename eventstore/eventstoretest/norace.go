//go:build !race

package eventstoretest

// RaceDetector reports whether the tests were built with the race detector, which makes them slow
// and changes what stays in memory.
const RaceDetector = false
