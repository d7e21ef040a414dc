//go:build !race

package eventstoretest

const raceEnabled = false
