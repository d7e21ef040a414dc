package embedded_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"agentkey/eventstore/embedded"
)

// TestAFolderWithoutPermissionIsRefused opens as a user without rights there. Only a thread of its
// own gives up root's, and ends with them.
func TestAFolderWithoutPermissionIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	for above := filepath.Dir(dir); above != filepath.Clean(os.TempDir()) && above != "/"; above = filepath.Dir(above) {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan error)
	go func() {
		if os.Getuid() == 0 {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			const nobody = 65534
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); int(errno) != 0 {
				errs <- errno
				return
			}
		}
		store, err := embedded.Open(embedded.Options{Dir: dir})
		if err == nil {
			_ = store.Close()
		}
		errs <- err
	}()
	err := <-errs
	if err == nil || !strings.Contains(err.Error(), "this user can't write to the data folder") ||
		!strings.Contains(err.Error(), "AGENTKEY_DATA_DIR") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v: %v", left, err)
	}
}
