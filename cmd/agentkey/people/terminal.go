package people

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// mostSecret is the size of the largest secret that is read, in bytes.
const mostSecret = 64 << 10

// terminal returns the descriptor of a stream that is a terminal.
func terminal(stream any) (descriptor int, is bool) {
	f, file := stream.(*os.File)
	if !file {
		return 0, false
	}
	descriptor = int(f.Fd())
	return descriptor, term.IsTerminal(descriptor)
}

// say writes a line for who watches, which isn't part of the result.
func (sh *Shell) say(format string, arguments ...any) {
	sh.progress.pause()
	_, _ = fmt.Fprintf(sh.Stderr, format+"\n", arguments...) // it is only for watching
}

// secret reads a secret: from a terminal without echo, else all of standard input. No argument
// holds one, because other users can see arguments.
func (sh *Shell) secret(name string) (string, error) {
	read := func() ([]byte, error) { return io.ReadAll(io.LimitReader(sh.Stdin, mostSecret)) }
	if descriptor, is := terminal(sh.Stdin); is {
		before, err := term.GetState(descriptor)
		if err != nil {
			return "", err
		}
		defer func() {
			_ = term.Restore(descriptor, before) // it echoes again, also when somebody interrupted
			_, _ = fmt.Fprintln(sh.Stderr)
		}()
		_, _ = fmt.Fprintf(sh.Stderr, "%s: ", name) // who reads it sees the rest too
		read = func() ([]byte, error) { return term.ReadPassword(descriptor) }
	}
	text, err := sh.typed(read)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", misused("%s is empty: type it, or send it to standard input", name)
	}
	return secret, nil
}

// typed returns what is read from somebody, or an error once they interrupt the command.
func (sh *Shell) typed(read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-sh.Ctx.Done():
		return nil, errors.New("interrupted")
	}
}

// errNotConfirmed says that somebody answered no.
var errNotConfirmed = errors.New("nothing was done")

// confirmed asks before something happens. Without a terminal there is nobody to ask, and --yes
// must say it.
func (sh *Shell) confirmed(yes bool, question string) error {
	if yes {
		return nil
	}
	if _, is := terminal(sh.Stdin); !is {
		return misused("this needs an answer from a terminal: add --yes if nobody should be asked")
	}
	_, _ = fmt.Fprintf(sh.Stderr, "%s [y/N] ", question) // who reads it sees the rest too
	answer, err := sh.typed(sh.line)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(string(answer))) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}

// line reads one line, and nothing of the next one.
func (sh *Shell) line() (text []byte, err error) {
	for one := make([]byte, 1); len(text) < 100; text = append(text, one...) {
		switch n, err := sh.Stdin.Read(one); {
		case n == 0 && errors.Is(err, io.EOF), n == 1 && one[0] == '\n':
			return text, nil
		case err != nil:
			return nil, err
		}
	}
	return text, nil
}

// patience is how long a command may take before it shows that it works.
const patience = 2 * time.Second

// progress shows on a terminal that a command which takes long still works. A nil one shows
// nothing.
type progress struct {
	w     io.Writer
	since time.Time
	now   func() time.Time
	stop  chan struct{}
	ended sync.WaitGroup

	mu    sync.Mutex
	what  string
	shown bool
}

// working begins to show what a command does, until the function that it returns is called.
func (sh *Shell) working(what string) (done func()) {
	if _, is := terminal(sh.Stderr); !is {
		return func() {}
	}
	p := &progress{w: sh.Stderr, since: sh.Now(), now: sh.Now, stop: make(chan struct{}), what: what}
	sh.progress = p
	p.ended.Go(func() {
		for pause := patience; ; pause = time.Second / 2 {
			select {
			case <-p.stop:
				return
			case <-time.After(pause):
				p.show()
			}
		}
	})
	return sync.OnceFunc(func() {
		close(p.stop)
		p.ended.Wait()
		p.pause()
		sh.progress = nil
	})
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s … %.0f s", p.what, p.now().Sub(p.since).Seconds()) // it is only for watching
}

// at changes what is shown.
func (p *progress) at(what string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
}

// pause clears the line for something else.
func (p *progress) pause() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		_, _ = io.WriteString(p.w, "\r\x1b[K") // it is only for watching
		p.shown = false
	}
}
