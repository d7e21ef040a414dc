package embedded_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestTheSocketIsInAFolderOfItsOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	w := serve(t, embedded.Options{Dir: dir})
	w.wrote("s", "none", several(1)...)
	for _, private := range []string{dir, filepath.Dir(w.socket)} {
		if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", private, info.Mode(), err)
		}
	}
	for _, name := range []string{"events.db", "LOCK", "socket"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if path, found := embedded.FindSocket(dir); !found || path != w.socket {
		t.Errorf("found %q, %t; it is %q", path, found, w.socket)
	}
	closed(t, w.store)
	if path, found := embedded.FindSocket(dir); found {
		t.Errorf("found %q after the end", path)
	}
	for _, gone := range []string{w.socket, filepath.Dir(w.socket), filepath.Join(dir, "socket")} {
		if _, err := os.Lstat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
}

func TestAFolderWhosePathIsLongOrOdd(t *testing.T) {
	long := t.TempDir()
	for len(long) < 400 {
		long = filepath.Join(long, strings.Repeat("folder", 8))
	}
	for _, dir := range []string{long, filepath.Join(t.TempDir(), "50% off? #1 &c=d; ü 'q' \"r\"")} {
		w := serve(t, embedded.Options{Dir: dir})
		if len(dir) > 100 && len(w.socket) > 100 {
			t.Errorf("the socket's path has %d bytes", len(w.socket))
		}
		c, err := eventstore.Open(eventstore.Config{Socket: w.socket})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Append(
			wait.Context(t), "s", eventstore.NoStream, eventstore.Event{ID: uuid.New(), Type: "happened"},
		); err != nil {
			t.Errorf("in %s: %v", dir, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(filepath.Dir(w.socket)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", w.socket, info.Mode(), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "events.db")); err != nil {
			t.Errorf("the log is elsewhere: %v", err)
		}
		closed(t, w.store)
		if _, err := os.Stat(filepath.Dir(w.socket)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", filepath.Dir(w.socket), err)
		}
	}
}

func TestAFolderNamedFromTheWorkingDirectory(t *testing.T) {
	parent := t.TempDir()
	t.Chdir(parent)
	w := serve(t, embedded.Options{Dir: "data"})
	t.Chdir(t.TempDir())
	w.wrote("s", "none", several(1)...)
	if path, found := embedded.FindSocket(filepath.Join(parent, "data")); !found || !filepath.IsAbs(path) {
		t.Errorf("found %q, %t", path, found)
	}
}

func TestASecondProcessIsRefusedAndToldTheHolder(t *testing.T) {
	dir := t.TempDir()
	child := startChild(t, dir)
	_, err := embedded.Open(embedded.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(child.Process.Pid)+":") ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, the holder is %d", err, child.Process.Pid)
	}
	kill(t, child)
	w := serve(t, embedded.Options{Dir: dir}) // what a killed process leaves behind blocks no other
	if _, err := embedded.Open(embedded.Options{Dir: dir}); err == nil ||
		!strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())+":") {
		t.Errorf("got %v, the holder is this process", err)
	}
	w.wrote("s", "none", several(1)...) // the refused one harmed nothing
}

func TestAFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Open(embedded.Options{Dir: filepath.Join(file, "data")})
	if err == nil || !strings.Contains(err.Error(), "AGENTKEY_DATA_DIR") || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(1)...)
	closed(t, w.store)
	db := database(t, w.dir)
	if _, err := db.ExecContext(t.Context(), `pragma user_version = 999`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(embedded.Options{Dir: w.dir}); err == nil ||
		!strings.Contains(err.Error(), "newer version") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatIsNotALogIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "events.db"), []byte(strings.Repeat("no log", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if store, err := embedded.Open(embedded.Options{Dir: dir}); err == nil {
		_ = store.Close()
		t.Error("it was opened")
	}
	if _, err := embedded.Open(embedded.Options{Dir: dir}); err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("the folder stays locked: %v", err)
	}
}
