package people

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/rivo/uniseg"

	agentkey "agentkey/clients/go"
)

// output are the flags of a command that shows something.
type output struct {
	JSON bool `name:"json" help:"Print the JSON of the API."`
}

// widest is how wide a cell is shown on a terminal.
const widest = 48

// clean is a text of somebody who isn't trusted, on one line and without what a terminal would act
// on: an agent may have called itself anything.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, text)
}

// printJSON prints JSON with what a terminal would act on escaped, which means the same.
func (sh *Shell) printJSON(raw []byte) error {
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	return sh.printLine(text.Bytes())
}

// printLine prints JSON as it is laid out.
func (sh *Shell) printLine(raw []byte) error {
	var escaped strings.Builder
	for _, r := range string(raw) {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			escaped.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
	}
	_, err := fmt.Fprintln(sh.Stdout, escaped.String())
	return err
}

// print prints a value as JSON, or as people read it.
func (sh *Shell) print(o output, v any, read func() error) error {
	if !o.JSON {
		return read()
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return sh.printJSON(raw)
}

// show reads one resource and prints it.
func show[T any](sh *Shell, o output, c *agentkey.Client, path string, read func(T) error) error {
	_, err := showing(sh, o, c, path, read)
	return err
}

// showing is show that returns the ETag of what was shown.
func showing[T any](sh *Shell, o output, c *agentkey.Client, path string, read func(T) error) (etag string, err error) {
	var raw []byte
	var header http.Header
	done := sh.working("Waiting for " + c.URL)
	err = c.Do(sh.Ctx, http.MethodGet, path, nil, nil, &raw, agentkey.WithHeaders(&header))
	done()
	if err != nil {
		return "", explained(err)
	}
	if o.JSON {
		return header.Get("ETag"), sh.printJSON(raw)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", fmt.Errorf("the answer isn't of AgentKey: %w", err)
	}
	return header.Get("ETag"), read(v)
}

// listed are the flags of a command that lists.
type listed struct {
	output

	Limit int `default:"100" help:"List so many at most; 0 lists all."`
}

// list reads a list as far as its limit, and prints it.
func list[T any](sh *Shell, l listed, c *agentkey.Client, path string, query url.Values, head []string,
	row func(T) []string,
) error {
	if l.Limit < 0 {
		return misused("--limit must not be negative")
	}
	query.Set("limit", "200")
	if l.Limit > 0 {
		query.Set("limit", strconv.Itoa(min(l.Limit, 200)))
	}
	items, more := []json.RawMessage{}, false
	done := sh.working("Waiting for " + c.URL)
	defer done()
	for item, err := range agentkey.Each[json.RawMessage](sh.Ctx, c, path, query) {
		if err != nil {
			return explained(err)
		}
		if more = l.Limit > 0 && len(items) == l.Limit; more {
			break
		}
		items = append(items, item)
		sh.progress.at(fmt.Sprintf("%d read so far", len(items)))
	}
	done()
	if more {
		sh.say("There are more than %d: see --limit.", l.Limit)
	}
	if l.JSON {
		raw, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			return err
		}
		return sh.printJSON(raw)
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		var v T
		if err := json.Unmarshal(item, &v); err != nil {
			return fmt.Errorf("the answer isn't of AgentKey: %w", err)
		}
		rows[i] = row(v)
	}
	if len(rows) == 0 {
		sh.say("There are none.")
		return nil
	}
	return sh.table(head, rows)
}

// table prints rows under their heads. A terminal shows the beginning of what is too wide.
func (sh *Shell) table(head []string, rows [][]string) error {
	_, narrow := terminal(sh.Stdout)
	widths := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, cells := range all {
		for i := range cells {
			cells[i] = clean(cells[i])
			if narrow {
				cells[i] = cut(cells[i])
			}
			widths[i] = max(widths[i], uniseg.StringWidth(cells[i]))
		}
	}
	var text strings.Builder
	for _, cells := range all {
		var line strings.Builder
		for i, cell := range cells {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+2))
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(sh.Stdout, text.String())
	return err
}

func cut(cell string) string {
	if uniseg.StringWidth(cell) <= widest {
		return cell
	}
	short, width := "", 0
	for all := uniseg.NewGraphemes(cell); all.Next(); {
		if width += all.Width(); width > widest-1 {
			break
		}
		short += all.Str()
	}
	return short + "…"
}

// facts prints names and values by turns. What is empty is left out.
func (sh *Shell) facts(pairs ...string) error {
	var text strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&text, "%-14s %s\n", pairs[i]+":", clean(pairs[i+1]))
		}
	}
	_, err := io.WriteString(sh.Stdout, text.String())
	return err
}

// named is an actor as people know them.
func named(a agentkey.Actor) string {
	if label := value(a.Label); label != "" {
		return clean(label)
	}
	return string(a.Type) + " " + clean(a.ID)
}

func by(a *agentkey.Actor) string {
	if a == nil {
		return ""
	}
	return named(*a)
}

// minute is a time for people, "" for none.
func minute(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

// moment reads a flag that says when: after so long, such as 90d or 12h, or at a time.
func (sh *Shell) moment(flag, typed string) (*time.Time, error) {
	if typed == "" {
		return nil, nil //nolint:nilnil // the flag wasn't used
	}
	if at, err := time.Parse(time.RFC3339, typed); err == nil {
		return &at, nil
	}
	after, err := span(typed)
	if err != nil {
		return nil, misused(
			"--%s %q is neither a length such as 90d or 12h, nor a time such as 2026-12-31T00:00:00Z", flag, typed,
		)
	}
	return new(sh.Now().Add(after).UTC().Truncate(time.Second)), nil
}

// span reads a length of time, which may be in days.
func span(typed string) (time.Duration, error) {
	if count, days := strings.CutSuffix(typed, "d"); days {
		n, err := strconv.ParseUint(count, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(typed)
}
