package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest/wait"
)

func TestABackupUnderAppendsIsWhole(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "none", several(500)...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.wrote("s", "any", several(5)...)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for range 3 {
		path, dir := filepath.Join(t.TempDir(), "backup.db"), filepath.Join(t.TempDir(), "restored")
		before := w.store.Head()
		made, err := embedded.Backup(wait.Context(t), w.dir, path, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != made.Bytes {
			t.Errorf("the copy: %v %v", info.Mode(), err)
		}
		if again, err := embedded.Backup(wait.Context(t), w.dir, path, time.Now); !errors.Is(err, os.ErrExist) {
			t.Errorf("it was written over: %v %v", again, err)
		}
		if _, err := embedded.Restore(wait.Context(t), dir, path, time.Now); err != nil {
			t.Fatal(err)
		}
		intact(t, dir)
		restored := serve(t, embedded.Options{Dir: dir})
		positions := restored.positions()
		events := len(positions) - 2 // the last are the notes of the copy and of the restoration
		if positions[events-1] < before || events%5 != 0 || positions[events] != made.Position {
			t.Errorf(
				"%d events up to %d; the copy ends at %d, the log was at %d", events, positions[events-1], made.Position,
				before,
			)
		}
		if got, _, err := restored.read(readOptions("s")); err != nil || len(got) != events {
			t.Errorf("%d of %d events: %v", len(got), events, err)
		}
		if got, _, err := restored.read(readOptions(eventstore.BackupStream)); err != nil || len(got) != 2 {
			t.Errorf("its notes: %v %v", got, err)
		}
		if p := restored.wrote("s", events-1, several(1)...); p <= positions[events+1] {
			t.Errorf("it goes on at %d", p)
		}
	}
}

func TestAFileThatIsNotABackupIsRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("s", "any", several(500)...)
	good := filepath.Join(t.TempDir(), "good.db")
	if _, err := embedded.Backup(wait.Context(t), w.dir, good, time.Now); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	file := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	damaged := bytes.Clone(raw)
	for i := len(raw) / 2; i < len(raw)/2+8192; i++ {
		damaged[i] ^= 0xff
	}
	for name, path := range map[string]string{
		"nothing there": filepath.Join(t.TempDir(), "none"), "empty": file(nil),
		"a text": file([]byte(strings.Repeat("no database ", 1000))), "cut short": file(raw[:len(raw)/2]),
		"damaged": file(damaged),
	} {
		dir := filepath.Join(t.TempDir(), "data")
		if _, err := embedded.Restore(wait.Context(t), dir, path, time.Now); err == nil {
			t.Errorf("%s was restored", name)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*events*")); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
	if _, err := embedded.Restore(wait.Context(t), w.dir, good, time.Now); err == nil ||
		!strings.Contains(err.Error(), "in use by process") {
		t.Errorf("over a store that is served: %v", err)
	}
	closed(t, w.store)
	if _, err := embedded.Restore(wait.Context(t), w.dir, good, time.Now); err == nil ||
		!strings.Contains(err.Error(), "move every events.db*") {
		t.Errorf("over a store: %v", err)
	}
	for name, path := range map[string]string{
		"no store": t.TempDir(), "no folder": filepath.Join(t.TempDir(), "none"),
	} {
		if _, err := embedded.Backup(wait.Context(t), path, filepath.Join(t.TempDir(), "b"), time.Now); err == nil {
			t.Errorf("%s was backed up", name)
		}
	}
	if _, err := embedded.Backup(
		wait.Context(t), w.dir, filepath.Join(t.TempDir(), "no", "folder"), time.Now,
	); err == nil {
		t.Error("it was written nowhere")
	}
}

// TestAStoreThatWasClosedIsOneFile: nobody who copies it loses anything.
func TestAStoreThatWasClosedIsOneFile(t *testing.T) {
	w := serve(t, embedded.Options{})
	w.wrote("s", "any", several(50)...)
	if got, _, err := w.read(readOptions("", all)); err != nil || len(got) != 50 {
		t.Fatalf("%v %v", got, err)
	}
	closed(t, w.store)
	files, err := filepath.Glob(filepath.Join(w.dir, "events.db*"))
	if err != nil || len(files) != 1 {
		t.Errorf("left are %v: %v", files, err)
	}
	intact(t, w.dir)
}
