package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// keepMemoryPrivate keeps secrets out of core dumps, and other processes of the same user out of
// this one's memory.
func keepMemoryPrivate() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}
