package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	lockName   = "LOCK"
	socketName = "socket" // in the data folder: the path of the socket, which may be elsewhere
)

// maxSocketPath is what fits into sun_path on every system, the final zero included.
const maxSocketPath = 100

// Network file systems lose locks and the order of writes (statfs(2), linux/magic.h).
var networkFileSystems = map[int64]string{
	0x6969: "NFS", 0xFF534D42: "CIFS", 0x517B: "SMB", 0xFE534D42: "SMB2", 0x00C36400: "Ceph", 0x5346414F: "AFS",
}

// takeFolder makes the folder when it is absent and locks it for this process.
func takeFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf(
			"make the data folder: %w; choose another one with AGENTKEY_DATA_DIR or give this user the right to "+
				"write there",
			err,
		)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil {
		if name, network := networkFileSystems[int64(fs.Type)]; network { //nolint:unconvert // its type differs between systems
			return nil, fmt.Errorf("the data folder %s is on %s: the embedded store needs a local disk", dir, name)
		}
	}
	path := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the folder
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf(
			"this user can't write to the data folder %s: change its owner, or choose another folder with "+
				"AGENTKEY_DATA_DIR",
			dir,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("take the data folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("the data folder %s is in use by process %s: stop it first, or choose another "+
			"folder with AGENTKEY_DATA_DIR",
			dir, Holder(dir)), lock.Close())
	}
	err = lock.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take the data folder: %w", err), leaveFolder(lock))
	}
	return lock, nil
}

// leaveFolder gives the folder back. Closing the file alone may come too late: a process that this
// one is just starting has a copy of its descriptor until it executes, and holds the lock with it.
func leaveFolder(lock *os.File) error {
	return errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close())
}

// Holder returns the id of the process that has, or had, a data folder for itself; "" when there
// was none.
func Holder(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, lockName)) //nolint:gosec // the operator names the folder
	return strings.TrimSpace(string(text))
}

// Exists reports whether a data folder holds a store.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, fileName))
	return err == nil
}

// ListenUnix opens a socket that only this user can reach, in a folder of mode 0700, and notes its
// path in the data folder. When the data folder's path is too long for a socket, it is made below
// the system's folder for temporary files.
func (s *Store) ListenUnix() (net.Listener, string, error) {
	dir := filepath.Join(s.opts.Dir, "run")
	if len(filepath.Join(dir, "events.sock")) > maxSocketPath {
		name := make([]byte, 8)
		if _, err := rand.Read(name); err != nil {
			return nil, "", err
		}
		dir = filepath.Join(os.TempDir(), "agentkey-"+hex.EncodeToString(name))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("make the socket's folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs the x bit
		return nil, "", fmt.Errorf("guard the socket's folder: %w", err)
	}
	path := filepath.Join(dir, "events.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a process that died
		return nil, "", fmt.Errorf("remove the old socket: %w", err)
	}
	listener, err := net.Listen("unix", path) //nolint:noctx // it lives as long as the store
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s: %w", path, err)
	}
	note := filepath.Join(s.opts.Dir, socketName)
	if err := os.WriteFile(note, []byte(path+"\n"), 0o600); err != nil {
		return nil, "", errors.Join(fmt.Errorf("note the socket: %w", err), listener.Close())
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, note, path, dir)
	s.mu.Unlock()
	return listener, path, nil
}

func (s *Store) dropSockets() {
	for _, path := range s.sockets {
		_ = os.Remove(path) // what is left is found dead and replaced at the next start
	}
}

// FindSocket returns the socket of the process that serves a data folder now, and false when none
// does.
func FindSocket(dir string) (string, bool) {
	raw, err := os.ReadFile(filepath.Join(dir, socketName)) //nolint:gosec // the operator names the folder
	if err != nil {
		return "", false
	}
	path := strings.TrimSpace(string(raw))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return "", false
	}
	return path, conn.Close() == nil
}

// uriPath escapes a path for SQLite's file: URIs.
func uriPath(path string) string { return (&url.URL{Path: path}).EscapedPath() }
