package seal_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

// moving is a clock that a test sets.
type moving struct {
	mu  sync.Mutex
	now time.Time
}

func (m *moving) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *moving) advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

var caller = seal.Personal{Label: "Ada", Address: "192.0.2.7", UserAgent: "curl/8"}

// keysOf are the secrets of a purpose that the log holds.
func keysOf(t *testing.T, log *codec.Log, p seal.Purpose) []string {
	t.Helper()
	sub, err := log.Client.SubscribeAll(wait.Context(t), 0, eventstore.Filter{Types: `^secret\.sealed\.`})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close() }()
	var ids []string
	for {
		item, err := sub.Next()
		if err != nil {
			t.Fatal(err)
		}
		if item.CaughtUp {
			return ids
		}
		if item.Event == nil {
			continue
		}
		event, err := codec.Decode(item.Event.Type, item.Event.Data)
		if err != nil {
			t.Fatal(err)
		}
		if s := event.(codec.SecretSealed); s.Purpose == string(p) {
			ids = append(ids, s.SecretID)
		}
	}
}

func TestPersonalDataIsSealedUnderOneKeyADay(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	privacy := func() *seal.Privacy { return seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now) }
	if sealed, err := privacy().Seal(wait.Context(t), "org-1", seal.Personal{}); sealed != "" || err != nil {
		t.Errorf("nothing was sealed as %q: %v", sealed, err)
	}
	// Many processes begin the day at once.
	sealed := make([]string, 8)
	var wg sync.WaitGroup
	for n := range sealed {
		p := privacy()
		wg.Go(func() {
			var err error
			if sealed[n], err = p.Seal(wait.Context(t), "org-1", caller); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	reader := privacy()
	seen := map[string]bool{}
	for _, s := range sealed {
		got, err := reader.Open(wait.Context(t), "org-1", s)
		if diff := cmp.Diff(caller, got); diff != "" || err != nil {
			t.Errorf("(-want +got):\n%s%v", diff, err)
		}
		if seen[s] || !strings.HasPrefix(s, "2026-03-04:") || strings.Contains(s, "Ada") {
			t.Errorf("sealed as %s", s)
		}
		seen[s] = true
	}
	now.advance(24 * time.Hour)
	next, err := reader.Seal(wait.Context(t), "org-1", caller)
	if err != nil || !strings.HasPrefix(next, "2026-03-05:") {
		t.Errorf("on the next day: %s %v", next, err)
	}
	other, err := reader.Seal(wait.Context(t), "org-2", caller)
	if err != nil {
		t.Fatal(err)
	}
	if keys := keysOf(t, log, seal.PrivateKey); len(keys) != 3 {
		t.Errorf("there are %d keys", len(keys))
	}
	for name, moved := range map[string]string{
		"another organization's": other, "another day's": "2026-03-04" + strings.TrimPrefix(next, "2026-03-05"),
		"changed": sealed[0] + "A",
	} {
		if got, err := reader.Open(wait.Context(t), "org-1", moved); !errors.Is(err, seal.ErrDoesNotOpen) ||
			got != (seal.Personal{}) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if got, err := reader.Open(wait.Context(t), "org-1", ""); got != (seal.Personal{}) || err != nil {
		t.Errorf("nothing: %+v %v", got, err)
	}
}

// TestARemovedKeyErasesWhatItSealed in every process, within the minute that one trusts what it
// knows.
func TestARemovedKeyErasesWhatItSealed(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	secrets := seal.NewSecrets(log, ring(t, text(1)))
	one, other := seal.NewPrivacy(secrets, now.Now), seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	sealed, err := one.Seal(wait.Context(t), "org-1", caller)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*seal.Privacy{one, other} {
		if got, err := p.Open(wait.Context(t), "org-1", sealed); got != caller || err != nil {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if err := secrets.Remove(wait.Context(t), keysOf(t, log, seal.PrivateKey)[0]); err != nil {
		t.Fatal(err)
	}
	now.advance(time.Minute)
	for _, p := range []*seal.Privacy{one, other} {
		if got, err := p.Open(wait.Context(t), "org-1", sealed); got != (seal.Personal{}) || err != nil {
			t.Errorf("after the removal: %+v %v", got, err)
		}
		// The day isn't over, and commands continue, without what must stay unknown.
		if again, err := p.Seal(wait.Context(t), "org-1", caller); again != "" || err != nil {
			t.Errorf("sealed again as %q: %v", again, err)
		}
	}
	now.advance(24 * time.Hour)
	if next, err := one.Seal(wait.Context(t), "org-1", caller); next == "" || err != nil {
		t.Errorf("on the next day: %q %v", next, err)
	}
}

// TestADayWithoutAKeyGetsNone: a day on which nobody called is erased like any other, and a process
// whose clock is behind seals nothing on it.
func TestADayWithoutAKeyGetsNone(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	one, other := seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now),
		seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	day := now.Now().Format(time.DateOnly)
	for range 2 {
		if live, err := one.HasDay(wait.Context(t), "org-1", day); live || err != nil {
			t.Fatalf("it has a key: %v", err)
		}
		if err := one.EraseDay(wait.Context(t), "org-1", day); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*seal.Privacy{one, other} {
		if sealed, err := p.Seal(wait.Context(t), "org-1", caller); sealed != "" || err != nil {
			t.Errorf("sealed as %q: %v", sealed, err)
		}
	}
	if sealed, err := other.Seal(wait.Context(t), "org-2", caller); sealed == "" || err != nil {
		t.Errorf("another organization's: %q %v", sealed, err)
	}
	if keys := keysOf(t, log, seal.PrivateKey); len(keys) != 1 {
		t.Errorf("there are %d keys", len(keys))
	}
}

// TestAnErasedDayIsBlank at once for who erased it, and within a minute for others. What is known
// to be gone costs the log nothing.
func TestAnErasedDayIsBlank(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	one, other := seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now),
		seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	day := now.Now().Format(time.DateOnly)
	sealed, err := one.Seal(wait.Context(t), "org-1", caller)
	if err != nil {
		t.Fatal(err)
	}
	opens := func(p *seal.Privacy, want seal.Personal) {
		t.Helper()
		if got, err := p.Open(wait.Context(t), "org-1", sealed); got != want || err != nil {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
	opens(other, caller)
	if live, err := other.HasDay(wait.Context(t), "org-1", day); !live || err != nil {
		t.Errorf("it has no key: %v", err)
	}
	if err := one.EraseDay(wait.Context(t), "org-1", day); err != nil {
		t.Fatal(err)
	}
	opens(one, seal.Personal{})
	opens(other, caller) // it trusts the key
	now.advance(time.Minute)
	opens(other, seal.Personal{})
	if err := log.Client.Close(); err != nil {
		t.Fatal(err)
	}
	opens(one, seal.Personal{})
	opens(other, seal.Personal{})
}

func TestANameHasAKeyOfItsOwn(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	p := seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	other := seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	ada := seal.Named{Name: "ada@example.com", Note: "on call"}
	keyID, sealed, err := p.SealName(wait.Context(t), "org-1", "person-1", ada)
	if err != nil || strings.Contains(sealed, "ada") {
		t.Fatalf("%s %v", sealed, err)
	}
	if keys := keysOf(t, log, seal.PersonKey); len(keys) != 1 || keys[0] != keyID {
		t.Errorf("the keys are %v, not %s", keys, keyID)
	}
	otherID, second, err := p.SealName(wait.Context(t), "org-1", "person-2", seal.Named{Name: "x"})
	if err != nil || otherID == keyID {
		t.Errorf("two persons share a key: %v", err)
	}
	opens := func(p *seal.Privacy, person, sealed string, want seal.Named) {
		t.Helper()
		if got, err := p.OpenName(wait.Context(t), "org-1", person, sealed); got != want || err != nil {
			t.Errorf("%s opens as %+v: %v", person, got, err)
		}
	}
	for _, p := range []*seal.Privacy{p, other} {
		opens(p, "person-1", sealed, ada)
		opens(p, "person-2", second, seal.Named{Name: "x"})
		opens(p, "person-3", "", seal.Named{})
		opens(p, "person-3", sealed, seal.Named{})
		if got, err := p.OpenName(wait.Context(t), "org-1", "person-2", sealed); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("another's name opens as %+v: %v", got, err)
		}
	}
	for range 2 {
		if err := p.ErasePerson(wait.Context(t), "org-1", "person-1"); err != nil {
			t.Fatal(err)
		}
	}
	opens(p, "person-1", sealed, seal.Named{})
	now.advance(time.Minute)
	for _, p := range []*seal.Privacy{p, other} {
		opens(p, "person-1", sealed, seal.Named{})
		opens(p, "person-2", second, seal.Named{Name: "x"})
		_, _, err := p.SealName(wait.Context(t), "org-1", "person-1", seal.Named{Name: "again"})
		if !errors.Is(err, seal.ErrGone) {
			t.Errorf("an erased person: %v", err)
		}
	}
}

// TestPersonalDataIsSealedInAnOutage: a key that can't be looked at now is used on.
func TestPersonalDataIsSealedInAnOutage(t *testing.T) {
	log, now := openLog(t), &moving{now: clock()}
	p := seal.NewPrivacy(seal.NewSecrets(log, ring(t, text(1))), now.Now)
	sealed, err := p.Seal(wait.Context(t), "org-1", caller)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Client.Close(); err != nil { // as good as an outage, and at once
		t.Fatal(err)
	}
	now.advance(2 * time.Minute)
	if got, err := p.Open(wait.Context(t), "org-1", sealed); got != caller || err != nil {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := p.Seal(wait.Context(t), "org-2", caller); !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("a key never seen: %v", err)
	}
}
