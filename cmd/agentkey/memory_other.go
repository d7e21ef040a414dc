//go:build !linux

package main

import "syscall"

// keepMemoryPrivate keeps secrets out of core dumps.
func keepMemoryPrivate() error {
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
