package readmodels_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agentkey/readmodels"
)

// opened opens a file and returns what it says about it.
func opened(t *testing.T, path string) (*readmodels.DB, string) {
	t.Helper()
	var said bytes.Buffer
	db, err := readmodels.OpenEmbedded(t.Context(), path, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, said.String()
}

// used makes a file with some rows at position 7.
func used(t *testing.T, path string) {
	t.Helper()
	db, said := opened(t, path)
	s := &shelf{t: t, db: db}
	for range 200 {
		s.audit(readmodels.AuditEntry{ID: "e", Action: strings.Repeat("x", 200)})
	}
	s.agent(acme, "a1", "One")
	s.write(func(tx *readmodels.Tx) error { return tx.Claim(t.Context(), "s1", noon, time.Time{}) })
	s.write(func(tx *readmodels.Tx) error { return tx.Move(t.Context(), "s1", 0, 7, "") })
	if err := db.Close(); err != nil || said != "" {
		t.Fatalf("a new file: %v, said %q", err, said)
	}
}

func TestAFileThatIsWholeIsKept(t *testing.T) {
	for _, name := range []string{"read.db", "a b#c?d%20e&f'.db"} {
		path := filepath.Join(t.TempDir(), name)
		used(t, path)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s is elsewhere: %v", name, err)
		}
		if err := os.WriteFile(path+".rebuild", []byte("what a process left that was killed"), 0o600); err != nil {
			t.Fatal(err)
		}
		db, said := opened(t, path)
		if c, err := db.ReadCheckpoint(t.Context()); err != nil || c.Position != 7 || said != "" {
			t.Errorf("it is at %+v: %v, said %q", c, err, said)
		}
		if a, err := db.Agent(t.Context(), acme, "a1", noon); err != nil || a.Name != "One" {
			t.Errorf("it holds %+v: %v", a, err)
		}
		if _, err := os.Stat(path + ".rebuild"); !os.IsNotExist(err) {
			t.Errorf("what was left is still there: %v", err)
		}
	}
}

func TestAnUnusableFileIsReplaced(t *testing.T) {
	statement := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", "file:"+path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
		reason string
	}{
		{"another version made it", statement("UPDATE checkpoints SET model = 'older'"), "another version"},
		{"a table is missing", statement("DROP TABLE grants"), "no such table"},
		{"a column is missing", statement("ALTER TABLE agents DROP COLUMN description"), "description"},
		{"the checkpoint is missing", statement("DELETE FROM checkpoints"), "checkpoint"},
		{
			"it is not a database",
			func(t *testing.T, path string) { overwrite(t, path, 0, []byte("this is not a database at all")) },
			"not a database",
		},
		{
			"pages in the middle are garbage",
			func(t *testing.T, path string) { overwrite(t, path, 40<<10, bytes.Repeat([]byte{0xA5}, 16<<10)) },
			"is damaged",
		},
		{"its end is missing", func(t *testing.T, path string) {
			if err := os.Truncate(path, 30<<10); err != nil {
				t.Fatal(err)
			}
		}, "malformed"},
		{"it is empty", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}, "no such table"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "read.db")
			used(t, path)
			c.damage(t, path)
			db, said := opened(t, path)
			if at, err := db.ReadCheckpoint(t.Context()); err != nil || at != (readmodels.Checkpoint{}) {
				t.Errorf("it is at %+v: %v", at, err)
			}
			if list, err := db.Agents(t.Context(), acme, readmodels.AgentFilter{}, noon, all); err != nil ||
				len(list.Items) != 0 {
				t.Errorf("it holds %+v: %v", list, err)
			}
			(&shelf{t: t, db: db}).agent(acme, "a1", "One")
			if !strings.Contains(said, "level=WARN") || !strings.Contains(said, c.reason) {
				t.Errorf("said %q, not %q", said, c.reason)
			}
		})
	}
}

func overwrite(t *testing.T, path string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(with, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPlaceThatCantBeUsedIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "folder", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "absent", "read.db"), filepath.Join(dir, "folder")} {
		if db, err := readmodels.OpenEmbedded(t.Context(), path, slog.New(slog.DiscardHandler)); err == nil {
			_ = db.Close()
			t.Errorf("%s is taken", path)
		}
	}
	path := filepath.Join(dir, "read.db")
	used(t, path)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readmodels.OpenEmbedded(gone, path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened for a caller who left")
	}
	db, _ := opened(t, path)
	if c, err := db.ReadCheckpoint(t.Context()); err != nil || c.Position != 7 {
		t.Errorf("a caller who left cost the file: %+v %v", c, err)
	}
}

// Another process that has the file open would go on in a file without a name.
func TestAFileThatIsOpenElsewhereIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "read.db")
	used(t, path)
	other, _ := opened(t, path)
	db, _ := opened(t, path)
	beside, err := db.Beside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Replace(t.Context(), beside, nil); err == nil || !strings.Contains(err.Error(), "open elsewhere") {
		t.Errorf("replaced: %v", err)
	}
	for _, db := range []*readmodels.DB{db, other} {
		if a, err := db.Agent(t.Context(), acme, "a1", noon); err != nil || a.Name != "One" {
			t.Errorf("after that %+v: %v", a, err)
		}
	}
	(&shelf{t: t, db: db}).agent(acme, "a2", "Two")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Reset(t.Context()); err != nil {
		t.Errorf("after the other has closed it: %v", err)
	}
}
