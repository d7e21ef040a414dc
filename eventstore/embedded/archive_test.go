package embedded_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"agentkey/eventstore"
	"agentkey/eventstore/embedded"
	"agentkey/eventstore/eventstoretest"
	"agentkey/eventstore/eventstoretest/wait"
)

// archiveFolder makes the test's own binary archive a folder's log and wait to be killed.
const archiveFolder = "EMBEDDED_TEST_ARCHIVE"

func archiveForever(dir string) error {
	store, err := embedded.Open(embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if _, err := store.Archive(context.Background(), time.Now().Add(time.Hour)); err != nil {
		return err
	}
	fmt.Println("archived")
	select {}
}

// months is a clock that stands still until a test puts it ahead.
type months struct{ now atomic.Int64 }

func newMonths() *months {
	m := &months{}
	m.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return m
}

func (m *months) clock() time.Time       { return time.Unix(0, m.now.Load()).UTC() }
func (m *months) begin(month time.Month) { m.now.Store(firstOf(month).UnixNano()) }
func firstOf(month time.Month) time.Time { return time.Date(2026, month, 1, 0, 0, 0, 0, time.UTC) }
func (w *wire) archive(before time.Time) embedded.Archived {
	w.t.Helper()
	done, err := w.store.Archive(wait.Context(w.t), before)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// reopened closes the store and serves the folder again.
func (w *wire) reopened(opts embedded.Options) *wire {
	w.t.Helper()
	closed(w.t, w.store)
	opts.Dir = w.dir
	return serve(w.t, opts)
}

// archives are the files of a folder.
func archives(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "archive*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// history fills a log with streams of every kind: long and short ones, bounded, deleted, tombstoned
// and foreign ones. It returns their names.
type history struct {
	w     *wire
	clock *months
	names []string
	first map[string][]*streams.AppendReq_ProposedMessage // what each stream began with
	gone  map[string]bool                                 // deleted or tombstoned
}

func newHistory(w *wire, clock *months) *history {
	h := &history{w: w, clock: clock, first: map[string][]*streams.AppendReq_ProposedMessage{}, gone: map[string]bool{}}
	for _, category := range []string{
		"agent-%d", "catalog-%d", "request-%d", "secret-%d", "once-%d", "snapshot-%d", "heads-%d", "load-%d", "agent%d",
		"refusals-%d", "checkpoint-%d", "installation-%d",
	} {
		for n := range 4 {
			h.names = append(h.names, fmt.Sprintf(category, n))
		}
	}
	h.names = append(h.names, "installation", "signing-keys", "agent-", "agent.")
	return h
}

func (h *history) write(appends int) {
	for range appends {
		h.clock.now.Add(int64(30 * time.Second))
		name := h.names[rand.N(len(h.names))]
		events := several(1 + rand.N(9))
		if rand.N(60) == 0 {
			events = several(300) // more than a page
		}
		for _, e := range events {
			e.Data = fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", rand.N(300)))
			e.CustomMetadata = []byte(strings.Repeat("m", rand.N(50)))
			if rand.N(5) == 0 {
				e.Metadata["content-type"] = "application/octet-stream"
			}
		}
		if h.first[name] == nil {
			h.first[name] = events
		}
		_, _, _ = h.w.append(name, "any", events...) // a tombstoned one refuses
		switch rand.N(40) {
		case 0:
			h.w.bound(name, fmt.Sprintf(`{"$maxCount":%d}`, 1+rand.N(300)))
		case 1:
			h.w.bound(name, fmt.Sprintf(`{"$maxAge":%d}`, 1+rand.N(10_000)))
		case 2:
			h.w.bound(name, fmt.Sprintf(`{"$tb":%d}`, rand.N(20)))
		case 3:
			if strings.HasSuffix(name, "2") {
				h.w.softDelete(name)
				h.gone[name] = true
			}
		case 4:
			if strings.HasSuffix(name, "3") && !h.gone[name] {
				h.w.tombstone(name)
				h.gone[name] = true
			}
		}
	}
}

// question is a read, a subscription up to the end, or a repeated append, and what it was answered.
type question struct {
	about  string
	ask    func(w *wire) any
	answer any
}

func (q *question) compare(t *testing.T, w *wire, when string) {
	t.Helper()
	if got := q.ask(w); !reflect.DeepEqual(q.answer, got) {
		t.Fatalf("%s, %s (-want +got):\n%.2000s", when, q.about, cmp.Diff(q.answer, got))
	}
}

// answered is what a read brought, each message with all its bytes.
type answered struct {
	Messages []string
	Failed   string
}

func (a *answered) add(t *testing.T, m *streams.ReadResp) {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	a.Messages = append(a.Messages, line(m)+" "+string(raw))
}

func (w *wire) asked(req *streams.ReadReq) answered {
	w.t.Helper()
	var a answered
	messages, _, err := w.read(req)
	for _, m := range messages {
		a.add(w.t, m)
	}
	if err != nil {
		a.Failed = err.Error()
	}
	return a
}

// followed takes what a subscription is sent until it has caught up.
func (w *wire) followed(name string, change ...option) answered {
	w.t.Helper()
	ctx, cancel := context.WithCancel(wait.Context(w.t))
	defer cancel()
	call, err := w.streams.Read(ctx, readOptions(name, append(change, following)...))
	if err != nil {
		w.t.Fatal(err)
	}
	var a answered
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return a
		}
		if err != nil {
			a.Failed = err.Error()
			return a
		}
		if m.GetConfirmation() != nil {
			continue // its id is new each time
		}
		a.add(w.t, m)
		if m.GetCaughtUp() != nil {
			return a
		}
	}
}

// draw draws a question about the log.
func (h *history) draw() *question {
	name := h.names[rand.N(len(h.names))]
	head := h.w.store.Head()
	position := rand.Uint64N(head + 500)
	at := rand.Uint64N(400)
	var change []option
	about := ""
	add := func(text string, o option) { about, change = about+" "+text, append(change, o) }
	whole := rand.N(2) == 0
	if whole {
		about = "$all"
		switch rand.N(4) {
		case 0:
			add("from the start", all)
		case 1:
			add("from the end", allEnd)
		default:
			add(fmt.Sprint("from ", position), allFrom(position))
		}
		if rand.N(3) == 0 {
			prefix := strings.TrimRight(name, "0123456789")
			add("of "+prefix, filtered(true, prefixes(prefix)))
		}
	} else {
		about = name
		switch rand.N(6) {
		case 0:
		case 1:
			add("from the end", streamEnd)
		case 2:
			add("from the last", revision(math.MaxUint64))
		default:
			add(fmt.Sprint("from ", at), revision(at))
		}
	}
	kind := rand.N(10)
	if first := h.first[name]; kind == 0 && first != nil && !h.gone[name] && !strings.HasPrefix(name, "once-") {
		// What it began with is answered as it was then, and anything else is refused. What expired or
		// was deleted could begin again.
		events, text := first, "the first append, repeated"
		if rand.N(2) == 0 {
			events, text = several(len(first)), "another first append"
		}
		return &question{about: name + ": " + text, ask: func(w *wire) any {
			response, _, err := w.append(name, "none", events...)
			return []string{response.String(), fmt.Sprint(err)}
		}}
	}
	if kind < 3 {
		return &question{about: "following " + about, ask: func(w *wire) any { return w.followed(name, change...) }}
	}
	if rand.N(2) == 0 {
		add("backwards", backwards)
	}
	if rand.N(5) > 0 {
		n := rand.Uint64N(300)
		add(fmt.Sprint("at most ", n), count(n))
	}
	return &question{about: about, ask: func(w *wire) any { return w.asked(readOptions(name, change...)) }}
}

// TestEveryReadIsTheSameAfterArchiving draws histories and questions. After each month that is
// archived, after a sweep, and after a restart, every answer is what it was, and the log continues.
func TestEveryReadIsTheSameAfterArchiving(t *testing.T) {
	t.Parallel()
	clock := newMonths()
	opts := embedded.Options{Clock: clock.clock}
	w := serve(t, opts)
	h := newHistory(w, clock)
	total := int64(0)
	for month := time.January; month <= time.April; month++ {
		clock.begin(month)
		h.write(60)
		if month == time.January {
			continue
		}
		sweep(t, h.w)
		questions := []*question{
			{about: "everything", ask: func(w *wire) any { return w.asked(readOptions("", all)) }},
			{about: "backwards", ask: func(w *wire) any { return w.asked(readOptions("", allEnd, backwards)) }},
		}
		for _, prefix := range []string{"installation", "secret-", "agent-", "nothing"} {
			questions = append(questions, &question{about: "following " + prefix, ask: func(w *wire) any {
				return w.followed("", all, filtered(true, prefixes(prefix)))
			}})
		}
		for range eventstoretest.Rounds(50) {
			questions = append(questions, h.draw())
		}
		for _, q := range questions {
			q.answer = q.ask(h.w)
		}
		same := func(when string) {
			t.Helper()
			for _, q := range questions {
				q.compare(t, h.w, when)
			}
		}
		done := h.w.archive(firstOf(month))
		if done.Events == 0 || done.Bytes == 0 || done.Last >= h.w.store.Head() {
			t.Fatalf("archived were %+v", done)
		}
		total += done.Events
		same("after archiving")
		if again := h.w.archive(firstOf(month)); again.File != "" {
			t.Errorf("a second time %+v", again)
		}
		sweep(t, h.w)
		h.w = h.w.reopened(opts)
		same("after a restart")
	}
	if n := int64(len(archives(t, w.dir))); n != 3 {
		t.Errorf("%d archives", n)
	}
	closed(t, h.w.store)
	intact(t, w.dir)
	onlyLasting(t, w.dir, total)
}

// onlyLasting looks into the archives: nothing is there that may still have to go.
func onlyLasting(t *testing.T, dir string, total int64) {
	t.Helper()
	for _, file := range archives(t, dir) {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
		db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		var events int64
		var others string
		err = db.QueryRowContext(t.Context(), `select count(*) from events`).Scan(&events)
		if err == nil {
			err = db.QueryRowContext(t.Context(), `select coalesce(group_concat(name), '') from streams where not (
				name like 'agent-%' or name like 'catalog-%' or name like 'request-%' or name like 'heads-%' or
				name like 'refusals-%' or name like 'checkpoint-%')`).Scan(&others)
		}
		if err = errors.Join(err, db.Close()); err != nil || others != "" {
			t.Errorf("%s holds %s: %v", file, others, err)
		}
		total -= events
	}
	if total != 0 {
		t.Errorf("%d events are in no archive", total)
	}
}

// TestArchivingKilledAtAnyMoment kills the process that archives at drawn instants. Whatever state
// that leaves, the log is the same, and archiving again finishes it.
func TestArchivingKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := serve(t, embedded.Options{Dir: dir})
	var takes time.Duration
	left := map[string]int{}
	rounds := eventstoretest.Rounds(6)
	for round := range rounds {
		for n := range 10 {
			w.wrote(fmt.Sprintf("agent-%d", n), "any", several(100)...)
			w.wrote(fmt.Sprintf("secret-%d-%d", round, n), "none", several(1)...)
		}
		before := w.asked(readOptions("", all))
		closed(t, w.store)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), archiveFolder+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		said := bufio.NewReader(out)
		if err == nil {
			_, err = said.ReadString('\n')
		}
		if began := time.Now(); err == nil && round == 0 { // learn how long it takes
			_, err = said.ReadString('\n')
			takes = time.Since(began)
		}
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 {
			time.Sleep(rand.N(takes))
		}
		kill(t, child)
		unfinished, err := os.Stat(filepath.Join(dir, "archive.tmp"))
		making := err == nil
		if making && unfinished.Mode().Perm()&0o077 != 0 {
			t.Errorf("what it was making is for others too: %v", unfinished.Mode())
		}
		w = serve(t, embedded.Options{Dir: dir})
		if diff := cmp.Diff(before, w.asked(readOptions("", all))); diff != "" {
			t.Fatalf("round %d (-want +got):\n%.2000s", round, diff)
		}
		switch done := w.archive(time.Now().Add(time.Hour)); {
		case making:
			left["while it was made"]++
		case done.File == "":
			left["after it was recorded"]++
		default:
			left["before or in between"]++
		}
		if diff := cmp.Diff(before, w.asked(readOptions("", all))); diff != "" {
			t.Fatalf("round %d, finished (-want +got):\n%.2000s", round, diff)
		}
	}
	t.Log(left)
	if files := archives(t, dir); len(files) != rounds {
		t.Errorf("left are %v", files)
	}
	closed(t, w.store)
	intact(t, dir)
}

// TestEachStepOfArchivingMayBeTheLast puts a folder into the states between two steps: a file that
// is not finished, and one that is but isn't recorded.
func TestEachStepOfArchivingMayBeTheLast(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(20)...)
	w.wrote("secret-1", "none", proposed("sealed", "needle"))
	w.wrote("agent-1", 19, several(1)...)
	before := w.asked(readOptions("", all))
	closed(t, w.store)
	was := t.TempDir()
	if err := os.CopyFS(was, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w = serve(t, embedded.Options{Dir: w.dir})
	done := w.archive(time.Now().Add(time.Hour))
	for _, name := range []string{filepath.Base(done.File), "archive-1-5.db", "archive.tmp"} {
		raw, err := os.ReadFile(done.File)
		if err == nil {
			if name != filepath.Base(done.File) { // that one got its name when it was whole
				raw = raw[:len(raw)-1]
			}
			err = os.WriteFile(filepath.Join(was, name), raw, 0o400)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again := serve(t, embedded.Options{Dir: was})
	for _, when := range []string{"before", "after"} {
		if diff := cmp.Diff(before, again.asked(readOptions("", all))); diff != "" {
			t.Fatalf("%s (-want +got):\n%.2000s", when, diff)
		}
		if when == "before" {
			if done := again.archive(time.Now().Add(time.Hour)); !cmp.Equal(done.Strays, []string{"archive-1-5.db"}) {
				t.Errorf("what doesn't belong there: %v", done.Strays)
			}
		}
	}
	if left := archives(t, was); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
	again = again.reopened(embedded.Options{})

	// A secret from before the end of the archive is still deleted physically.
	again.tombstone("secret-1")
	sweep(t, again)
	if holds(t, was, "needle") {
		t.Error("the secret is still in the store's file")
	}
	closed(t, again.store)
	for _, file := range archives(t, was) {
		if raw, err := os.ReadFile(file); err != nil || strings.Contains(string(raw), "needle") {
			t.Errorf("the secret is in %s: %v", file, err)
		}
	}
}

// TestAnArchiveThatIsAnotherFile takes an archive away, and puts other files into its place.
func TestAnArchiveThatIsAnotherFile(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(300)...)
	w.wrote("agent-2", "none", several(1)...)
	done := w.archive(time.Now().Add(time.Hour))
	closed(t, w.store)
	other := serve(t, embedded.Options{})
	other.wrote("agent-1", "none", several(40)...)
	other.wrote("agent-2", "none", several(1)...)
	foreign := other.archive(time.Now().Add(time.Hour)).File
	good, err := os.ReadFile(done.File)
	if err != nil {
		t.Fatal(err)
	}
	put := func(raw []byte) {
		t.Helper()
		if err := os.Remove(done.File); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(done.File, raw, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"is missing":             func() { _ = os.Remove(done.File) },
		"bytes, not":             func() { put(good[:len(good)-4096]) },
		"isn't the archive":      func() { put([]byte(strings.Repeat("x", len(good)))) },
		"it holds the positions": func() { put(append(raw, make([]byte, len(good)-len(raw))...)) },
	} {
		change()
		store, err := embedded.Open(embedded.Options{Dir: w.dir})
		if err == nil {
			closed(t, store)
		}
		if err == nil || !strings.Contains(err.Error(), done.File) || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "put the file back") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := embedded.Backup(wait.Context(t), w.dir, filepath.Join(t.TempDir(), "b"), time.Now); err == nil ||
			!strings.Contains(err.Error(), filepath.Base(done.File)) {
			t.Errorf("%s: a backup: %v", name, err)
		}
	}

	// What only the whole file shows is found beside the service, and then nothing of it is answered.
	tampered := []byte(strings.Replace(string(good), `{"n":7}`, `{"n":8}`, 1))
	put(tampered)
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	next := serve(t, embedded.Options{Dir: w.dir, Logger: slog.New(slog.NewTextHandler(said, nil))})
	logged := func() string { raw, _ := os.ReadFile(said.Name()); return string(raw) }
	wait.Until(t, "found", func() bool { return strings.Contains(logged(), "SHA-256") })
	if fault := next.store.ArchiveFault(); !strings.Contains(fault, filepath.Base(done.File)) ||
		!strings.Contains(logged(), done.File) {
		t.Errorf("%s %s", fault, logged())
	}
	for _, req := range []*streams.ReadReq{readOptions("agent-1"), readOptions("", all)} {
		if _, _, err := next.read(req); err == nil || !strings.Contains(err.Error(), filepath.Base(done.File)) {
			t.Errorf("read from it: %v", err)
		}
	}
	if got, _, err := next.read(readOptions("agent-2")); err != nil || len(got) != 1 {
		t.Errorf("what isn't archived: %v %v", saw(got), err)
	}
	if _, err := next.store.Archive(wait.Context(t), time.Now().Add(time.Hour)); err == nil ||
		!strings.Contains(err.Error(), done.File) {
		t.Errorf("archived on: %v", err)
	}
	closed(t, next.store)
	elsewhere := filepath.Join(t.TempDir(), "cheaper.db")
	put(good)
	if err := errors.Join(os.Rename(done.File, elsewhere), os.Symlink(elsewhere, done.File)); err != nil {
		t.Fatal(err)
	}
	last := serve(t, embedded.Options{Dir: w.dir})
	if got, _, err := last.read(readOptions("agent-1")); err != nil || len(got) != 300 {
		t.Errorf("with the right file: %d %v", len(got), err)
	}
}

// TestABackupHoldsWhatWasArchived backs up a log with archives into one file and restores it. A
// part of a log isn't restored.
func TestABackupHoldsWhatWasArchived(t *testing.T) {
	t.Parallel()
	clock := newMonths()
	w := serve(t, embedded.Options{Clock: clock.clock})
	h := newHistory(w, clock)
	for month := time.January; month <= time.March; month++ {
		clock.begin(month)
		h.write(60)
	}
	for month := time.February; month <= time.March; month++ {
		w.archive(firstOf(month))
	}
	before := w.asked(readOptions("", all))
	path, dir := filepath.Join(t.TempDir(), "backup.db"), t.TempDir()
	if _, err := embedded.Backup(wait.Context(t), w.dir, path, clock.clock); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Restore(wait.Context(t), dir, path, clock.clock); err != nil {
		t.Fatal(err)
	}
	if left := archives(t, dir); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	intact(t, dir)
	restored := serve(t, embedded.Options{Dir: dir, Clock: clock.clock})
	got := restored.asked(readOptions("", all))
	if n := len(before.Messages); len(got.Messages) < n ||
		cmp.Diff(before.Messages, got.Messages[:n]) != "" {
		t.Errorf("%d events of %d are restored", len(got.Messages), n)
	}
	if done := restored.archive(firstOf(time.March)); done.Events == 0 {
		t.Error("what is restored can't be archived again")
	}
	closed(t, w.store)
	part := filepath.Base(archives(t, w.dir)[0])
	if _, err := embedded.Restore(wait.Context(t), t.TempDir(), filepath.Join(w.dir, part), clock.clock); !errors.Is(
		err, embedded.ErrNoBackup,
	) {
		t.Errorf("%s, which is a part of a log, was restored: %v", part, err)
	}
	byHand := filepath.Join(w.dir, "events.db")
	if _, err := embedded.Restore(wait.Context(t), t.TempDir(), byHand, clock.clock); err == nil ||
		errors.Is(err, embedded.ErrNoBackup) || !strings.Contains(err.Error(), "agentkey backup --data") {
		t.Errorf("what has archives beside it was restored: %v", err)
	}
	together, advised := t.TempDir(), filepath.Join(t.TempDir(), "advised.db")
	for _, file := range append(archives(t, w.dir), byHand) {
		if err := os.Link(file, filepath.Join(together, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := embedded.Backup(wait.Context(t), together, advised, clock.clock); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if _, err := embedded.Restore(wait.Context(t), dir, advised, clock.clock); err != nil {
		t.Fatal(err)
	}
	byAdvice := serve(t, embedded.Options{Dir: dir, Clock: clock.clock})
	if got, _, err := byAdvice.read(readOptions(eventstore.BackupStream)); err != nil || len(got) != 2 {
		t.Errorf("nothing says that it was restored: %v %v", got, err)
	}
	if got := byAdvice.asked(readOptions("", all)); cmp.Diff(before.Messages, got.Messages[:len(before.Messages)]) != "" {
		t.Errorf("%d events of %d are restored", len(got.Messages), len(before.Messages))
	}
	if err := os.Remove(filepath.Join(w.dir, "events.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Restore(wait.Context(t), w.dir, path, clock.clock); err == nil ||
		!strings.Contains(err.Error(), "archive-1-") {
		t.Errorf("restored beside the archives of another log: %v", err)
	}
}

// TestArchivingUnderLoad archives while others append, follow and read.
func TestArchivingUnderLoad(t *testing.T) {
	t.Parallel()
	w := serve(t, embedded.Options{})
	w.wrote("agent-1", "none", several(400)...)
	live := w.follow("", all)
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				ended <- n
				return
			default:
				w.wrote("agent-1", 399+n, several(1)...)
			}
		}
	}()
	for range 5 {
		w.archive(time.Now().Add(time.Hour))
		if got, _, err := w.read(readOptions("agent-1", count(400))); err != nil ||
			!cmp.Equal(saw(got), lines("agent-1", 0, 399)) {
			t.Fatalf("%d events: %v", len(got), err)
		}
	}
	close(stop)
	n := <-ended
	for i := 0; i < 400+n; {
		if got := line(live.next()); got != "caught up" {
			if got != fmt.Sprintf("%d@agent-1", i) {
				t.Fatalf("%s came as event %d", got, i)
			}
			i++
		}
	}
	if got, _, err := w.read(readOptions("agent-1", backwards, streamEnd)); err != nil ||
		!cmp.Equal(saw(got), lines("agent-1", 399+n, 0)) {
		t.Errorf("%d events: %v", len(got), err)
	}
}
