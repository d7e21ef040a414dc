package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A download that broke off is continued so often in a row without getting any further, after
// pauses that double.
const (
	retries      = 10
	firstPause   = 250 * time.Millisecond
	longestPause = 15 * time.Second
)

// download writes an export to a file, and returns how many entries it has. Where the connection
// breaks, or the service starts again, it continues after the last whole entry. An archive can't be
// continued: it begins again, once.
func (r remote) download(sh *shell, path string, query url.Values, file string) (entries int64, err error) {
	d := download{
		remote: r, sh: sh, path: path, query: query, bundle: path == evidencePath || query.Get("format") == "bundle",
	}
	a, err := d.ask()
	if err != nil {
		return 0, err
	}
	if d.out, err = os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part"); err != nil { // mode 0600
		return 0, errors.Join(err, a.Body.Close())
	}
	defer func() {
		if _, lacking := errors.AsType[lackingError](err); err != nil && !lacking {
			_ = d.out.Close() // it may be closed already
			err = errors.Join(err, os.Remove(d.out.Name()))
		}
	}()
	d.seen.show, d.seen.unit = progressOn(sh.stderr), "entries"
	if d.bundle {
		d.seen.unit = "bytes"
	}
	err = d.whole(a)
	d.seen.done()
	if err != nil {
		return 0, fmt.Errorf("the download broke off, and nothing of it is kept; run the command again: %w", err)
	}
	if err = d.out.Close(); err != nil {
		return 0, err
	}
	if err = os.Rename(d.out.Name(), file); err != nil {
		return 0, err
	}
	if !d.bundle && d.seen.n < d.seen.of { // the service ended the answer itself
		return 0, lackingError{fmt.Errorf("%s has %d of %d entries: the log no longer holds the others as they were "+
			"written; see GET /api/admin/audit/integrity", file, d.seen.n, d.seen.of)}
	}
	return d.seen.of, nil
}

// lackingError says that a file is there that doesn't have everything.
type lackingError struct{ error }

// download is an export on its way into a file.
type download struct {
	remote

	sh     *shell
	path   string
	query  url.Values
	bundle bool
	csv    bool
	out    *os.File
	seen   counting
	fault  error  // of the file
	cursor string // the export's name, which continues it after a position
	last   uint64 // the position of the newest whole entry; 0: there is none
	tried  int    // how often in a row it was continued without getting any further

	part   []byte // of an entry, the rest of which hasn't come
	looked int    // how much of it was looked at
	quoted bool   // there, within a cell
}

// ask begins the export, or continues it after the newest whole entry.
func (d *download) ask() (*http.Response, error) {
	if d.last > 0 {
		d.query.Set("cursor", d.cursor+"."+strconv.FormatUint(d.last, 10))
	}
	a, err := d.get(d.sh.ctx, d.sh, d.path, d.query)
	if err != nil || d.last > 0 {
		return a, err
	}
	if d.seen.of, err = strconv.ParseInt(a.Header.Get("X-Export-Entries"), 10, 64); err != nil {
		return nil, errors.Join(fmt.Errorf("%s doesn't answer like the service", d.URL), a.Body.Close())
	}
	d.cursor = a.Header.Get("X-Export-Cursor")
	if d.csv = d.query.Get("format") == "csv"; d.csv {
		d.seen.n = -1 // the head of a table comes first
	}
	return a, nil
}

// whole takes in answers until the export is whole.
func (d *download) whole(a *http.Response) error {
	for again := false; ; again = true {
		before := d.last
		err := d.take(a)
		if err == nil || d.fault != nil || d.sh.ctx.Err() != nil || d.bundle && again {
			return errors.Join(d.fault, err)
		}
		if d.last > before {
			d.tried = 0
		}
		what := fmt.Sprintf("it continues after %d of %d entries", d.seen.n, d.seen.of)
		if d.last == 0 {
			if err := d.empty(); err != nil {
				return err
			}
			what = "it begins again"
			if d.bundle {
				what += ", because an archive is always sent whole"
			}
		}
		_, _ = fmt.Fprintf(d.sh.stderr, "The download broke off (%v); %s.\n", err, what) // it is only for watching
		if a, err = d.again(err); err != nil {                                           //nolint:bodyclose // take closes it
			return err
		}
	}
}

// again asks until the service answers. It gives up after a few minutes, and where the service
// refuses.
func (d *download) again(broken error) (*http.Response, error) {
	for ; d.tried < retries; d.tried++ {
		select {
		case <-d.sh.ctx.Done():
			return nil, d.sh.ctx.Err()
		case <-time.After(min(firstPause<<d.tried, longestPause)):
		}
		a, err := d.ask()
		if err == nil {
			d.tried++
			return a, nil
		}
		if refused, ok := errors.AsType[*answeredError](err); ok && !refused.passes() {
			return nil, err
		}
		broken = err
	}
	return nil, broken
}

// take writes what an answer has.
func (d *download) take(a *http.Response) error {
	defer a.Body.Close() //nolint:errcheck // it was read to its end, or the error of that counts
	if !d.bundle {
		d.part = d.part[:0]
		d.quoted, d.looked = false, 0
		_, err := io.Copy(d, a.Body)
		if err == nil && len(d.part) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	_, err := io.Copy(io.MultiWriter(d.out, &d.seen), a.Body)
	if err == nil {
		err = isArchive(d.out)
	}
	return err
}

// empty begins the file again.
func (d *download) empty() error {
	d.seen.n = 0
	_, err := d.out.Seek(0, io.SeekStart)
	return errors.Join(err, d.out.Truncate(0))
}

// Write implements io.Writer: it keeps whole entries, so that what comes next can follow them.
func (d *download) Write(text []byte) (int, error) {
	d.part = append(d.part, text...)
	whole, begin := 0, 0 // the end of the last whole entry, and its beginning
	for ; d.looked < len(d.part); d.looked++ {
		switch d.part[d.looked] {
		case '"': // in a table: a cell may have several lines
			d.quoted = !d.quoted
		case '\n':
			if d.csv && d.quoted {
				continue
			}
			begin, whole = whole, d.looked+1
			d.seen.n++
		}
	}
	if whole == 0 {
		return len(text), nil
	}
	at, isEntry := positionOf(d.part[begin:whole])
	if isEntry {
		d.last = at
	}
	if _, err := d.out.Write(d.part[:whole]); err != nil {
		d.fault = err
		return 0, err
	}
	d.part = append(d.part[:0], d.part[whole:]...)
	d.looked -= whole
	d.seen.tell(false)
	return len(text), nil
}

// positionOf returns where in the log an entry is, in whichever format. It returns false for the
// head of a table.
func positionOf(entry []byte) (uint64, bool) {
	if cell, isCell := bytes.CutPrefix(entry, []byte(`"`)); isCell {
		number, _, _ := bytes.Cut(cell, []byte(`"`))
		at, err := strconv.ParseUint(string(number), 10, 64)
		return at, err == nil
	}
	var line struct {
		Position uint64          `json:"position"`
		Metadata json.RawMessage `json:"metadata"` // of an event of OCSF an object
	}
	var metadata struct {
		Sequence uint64 `json:"sequence"`
	}
	err := json.Unmarshal(entry, &line)
	if err == nil && line.Position == 0 {
		err = json.Unmarshal(line.Metadata, &metadata)
	}
	return cmp.Or(line.Position, metadata.Sequence), err == nil
}

func isArchive(f *os.File) error {
	at, err := f.Stat()
	if err == nil {
		_, err = zip.NewReader(f, at.Size())
	}
	return err
}
