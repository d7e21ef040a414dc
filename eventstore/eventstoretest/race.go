//go:build race

package eventstoretest

const raceEnabled = true
