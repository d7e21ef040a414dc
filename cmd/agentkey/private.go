package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// readMasterKeys reads a file of master keys, unless other users may read it or write to it. A
// group may read a file of root that isn't ours: so a platform hands a secret over to the user of a
// container or service.
func readMasterKeys(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it is only read
	info, err := f.Stat()            // of what a link leads to
	if err != nil {
		return nil, err
	}
	if err := onlyOurs(path, info, os.Geteuid()); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// onlyOurs refuses a file that others than this user can read or write to.
func onlyOurs(path string, info fs.FileInfo, user int) error {
	mode := info.Mode()
	stat, known := info.Sys().(*syscall.Stat_t)
	if !mode.IsRegular() || !known {
		return nil // a pipe or a terminal
	}
	handedOver := stat.Uid == 0 && user != 0
	var who string
	switch {
	case mode&0o006 != 0:
		who = "every user of this machine"
	case mode&0o020 != 0, mode&0o040 != 0 && !handedOver:
		who = "its group"
	default:
		return nil
	}
	can := "read"
	if mode&0o022 != 0 {
		can = "change"
	}
	return fmt.Errorf(
		"%s can %s the master keys in %s (mode %04o): give the file to the user that runs AgentKey, and run chmod 0400 %s",
		who, can, path, mode.Perm(), path,
	)
}
