package embedded_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"agentkey/eventstore/embedded"
)

// TestAClosedFolderIsFreeWhileAProcessStarts copies the descriptor of the lock, as a child has it
// between fork and exec.
func TestAClosedFolderIsFreeWhileAProcessStarts(t *testing.T) {
	dir := t.TempDir()
	store, err := embedded.Open(embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	copied := -1
	for _, d := range descriptors {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err != nil || to != filepath.Join(dir, "LOCK") {
			continue
		}
		fd, err := strconv.Atoi(d.Name())
		if err == nil {
			copied, err = syscall.Dup(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if copied < 0 {
		t.Fatal("the lock is not open")
	}
	defer func() { _ = syscall.Close(copied) }()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := embedded.Open(embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
