// Package witness is the second party that keeps a service honest: it remembers the newest
// checkpoint that it saw, signs a later one only after a proof that history only grew, and refuses
// a fork. Like a verifier it imports nothing of the service but the formats.
package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"agentkey/audit/formats"
)

// State is all that a witness remembers, in one file.
type State struct {
	Name string `json:"name"`
	Seed []byte `json:"seed"` // of its private key (RFC 8032); anyone who has it can sign as this witness

	Origin     string        `json:"origin"`     // of the tree that it watches; "": none yet
	Keys       []formats.Key `json:"keys"`       // of the service's checkpoints, that it trusts since the first
	Checkpoint string        `json:"checkpoint"` // the newest that it signed: a note with its own signature

	// Fork is a checkpoint of the service that doesn't agree with Checkpoint: since then the witness
	// signs nothing. Who has looked into it empties this.
	Fork string `json:"fork"`
}

// Witness watches one tree.
type Witness struct {
	file  string
	lock  *os.File
	state State
}

// Close lets another process be this witness.
func (w *Witness) Close() error { return w.lock.Close() }

// only returns a lock of the witness that a file is about. The state itself is replaced whenever it
// changes, so the lock is a file beside it, which holds nothing.
func only(file string) (*os.File, error) {
	lock, err := os.OpenFile(file+".lock", os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator of the witness names it
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrInUse, lock.Close())
	}
	return lock, nil
}

// ErrFork says that a service shows a history that isn't the one that it showed before.
var ErrFork = errors.New("FORK: the service shows another history than before")

// ErrInUse says that another process is this witness.
var ErrInUse = errors.New("another process uses this witness: stop it first")

// Create makes the file of a new witness with a key of its own. It must not exist yet.
func Create(file, name string) (*Witness, error) {
	example := formats.Witness{Name: name, Key: make([]byte, ed25519.PublicKeySize)}
	if _, err := formats.ParseWitness(example.String()); err != nil {
		return nil, fmt.Errorf("the name %q has white space or a +, or is empty", name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	lock, err := only(file)
	if err != nil {
		return nil, err
	}
	w := &Witness{file: file, lock: lock, state: State{Name: name, Seed: seed}}
	if _, err = os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s exists already", file)
	} else {
		err = w.save()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return w, nil
}

// Open reads the file of a witness. Of a file that is gone, the error is fs.ErrNotExist.
func Open(file string) (*Witness, error) {
	if _, err := os.Lstat(file); err != nil {
		return nil, err
	}
	lock, err := only(file)
	if err != nil {
		return nil, err
	}
	w := &Witness{file: file, lock: lock}
	text, err := os.ReadFile(file) //nolint:gosec // the operator of the witness names it
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err = d.Decode(&w.state); err != nil || len(w.state.Seed) != ed25519.SeedSize {
			err = fmt.Errorf("%s isn't the state of a witness; restore it from a copy: a new one remembers nothing", file)
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return w, nil
}

// Public is the witness as others register it.
func (w *Witness) Public() formats.Witness {
	public := w.key().Public().(ed25519.PublicKey) //nolint:forcetypeassert // what crypto/ed25519 documents
	return formats.Witness{Name: w.state.Name, Key: public}
}

func (w *Witness) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(w.state.Seed) }

// Keys are the keys of the service that it trusts; nil before the first checkpoint.
func (w *Witness) Keys() []formats.Key { return w.state.Keys }

// Size is how many entries the newest checkpoint is over that it signed; 0: none yet.
func (w *Witness) Size() int64 {
	c, err := formats.ParseCheckpoint(w.state.Checkpoint)
	if err != nil {
		return 0
	}
	return c.Size
}

// See checks a checkpoint of the service against what the witness saw before, remembers it, and
// returns it with the witness's signature. keys are trusted with the first checkpoint, and never
// looked at again. prove asks the service for a proof between two sizes. After an error that is
// ErrFork, every further one is too, and its text has both checkpoints; every other error is worth
// another try.
func (w *Witness) See(
	signed []byte, keys []formats.Key, at time.Time, prove func(from, to int64) (formats.Consistency, error),
) (cosigned []byte, size int64, err error) {
	origin, _, _ := strings.Cut(string(signed), "\n")
	next := w.state
	if next.Fork != "" {
		return nil, 0, w.forked("it was seen before; look into it, then empty \"fork\" in "+w.file, next)
	}
	if next.Origin == "" {
		if !formats.IsOrigin(origin) {
			return nil, 0, errors.New("the service shows something that isn't a checkpoint")
		}
		next.Origin, next.Keys = origin, keys
	}
	if next.Origin != origin {
		return nil, 0, fmt.Errorf("this witness watches %s, and the service shows %q", next.Origin, origin)
	}
	now, err := w.open(next, signed)
	if err != nil {
		return nil, 0, err
	}
	if next.Checkpoint != "" {
		was, err := w.open(next, []byte(next.Checkpoint))
		if err != nil {
			return nil, 0, fmt.Errorf("what %s remembers: %w", w.file, err)
		}
		if now.Checkpoint == was.Checkpoint {
			return []byte(next.Checkpoint), was.Size, nil
		}
		fork := func(what string) error {
			next.Fork = now.Own
			w.state = next
			return errors.Join(w.forked(what, next), w.save())
		}
		if now.Size == was.Size {
			return nil, 0, fork(fmt.Sprintf("both have %d entries, and other roots", was.Size))
		}
		if now.Size < was.Size {
			return nil, 0, fmt.Errorf("the service shows an older checkpoint, over %d entries, than the one over %d that was "+
				"signed; if that lasts, it lost the end of its history", now.Size, was.Size)
		}
		proof, err := prove(was.Size, now.Size)
		if err != nil {
			return nil, 0, fmt.Errorf("the service gives no proof from %d to %d entries: %w", was.Size, now.Size, err)
		}
		if proof.From != was.Size || proof.To != now.Size || proof.Check(was.Root, now.Root) != nil {
			return nil, 0, fork(fmt.Sprintf("its %d entries don't begin with the %d from before", now.Size, was.Size))
		}
	}
	if cosigned, err = formats.Cosign([]byte(now.Own), next.Name, w.key(), at); err != nil {
		return nil, 0, err
	}
	next.Checkpoint = string(cosigned)
	was := w.state
	w.state = next
	if err := w.save(); err != nil { // what isn't remembered isn't handed out
		w.state = was
		return nil, 0, err
	}
	return cosigned, now.Size, nil
}

func (w *Witness) forked(what string, s State) error {
	return fmt.Errorf("%w: %s\nBefore:\n%s\nNow:\n%s", ErrFork, what, s.Checkpoint, s.Fork)
}

func (w *Witness) open(s State, signed []byte) (formats.Opened, error) {
	return formats.Open(signed, s.Origin, formats.PublicKeys(s.Keys, formats.CheckpointKey), []formats.Witness{w.Public()})
}

// save writes the file in the place of the one before, whole or not at all.
func (w *Witness) save() (err error) {
	text, err := json.MarshalIndent(w.state, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(w.file), filepath.Base(w.file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), w.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	folder, err := os.Open(filepath.Dir(w.file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
