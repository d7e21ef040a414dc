package setupguide

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"agentkey/domain/catalog"
)

// What a model's answer may hold at most, in characters where nothing else is said.
const (
	maxFacts    = 16_000 // bytes
	maxScopes   = 20
	maxScope    = 100
	maxWarnings = 10
	maxWarning  = 300
	maxGuide    = 20_000
)

var authTypes = []catalog.AuthType{"api_key", "oauth_token", "bot_token", "other"}

// answer takes what a model says piece by piece: the facts first, which must have their form, then
// the text, of which it hands on whole lines.
type answer struct {
	product Product
	links   *links
	emit    Emit

	facts   string // so far
	told    bool   // they were complete, and handed on
	begun   bool   // the text is
	line    string // so far
	raw     int    // characters of the text
	written int
}

func newAnswer(p Product, emit Emit) *answer {
	return &answer{product: p, links: newLinks(p), emit: emit}
}

// add takes the next piece.
func (a *answer) add(piece string) error {
	if !a.told {
		rest, complete, err := a.readFacts(piece)
		if err != nil || !complete {
			return err
		}
		piece = rest
	}
	if a.raw += utf8.RuneCountInString(piece); a.raw > maxGuide {
		return invalid("It is longer than 20,000 characters.")
	}
	a.line += piece
	end := strings.LastIndexByte(a.line, '\n')
	if end < 0 {
		return nil
	}
	lines := a.line[:end+1]
	a.line = a.line[end+1:]
	return a.hand(lines)
}

// end is told that nothing follows.
func (a *answer) end() error {
	if !a.told {
		return invalid("It does not begin with the facts as JSON.")
	}
	if err := a.hand(a.line); err != nil {
		return err
	}
	if a.written == 0 {
		return invalid("It has no text.")
	}
	return a.emit(Done{Characters: a.written, LinksRemoved: a.links.removed})
}

// hand makes lines inert and hands them on, but for what stands between facts and text.
func (a *answer) hand(lines string) error {
	var out strings.Builder
	for line := range strings.Lines(lines) {
		text, ended := strings.CutSuffix(line, "\n")
		if between := strings.TrimSpace(text); !a.begun &&
			(between == "" || strings.Trim(between, "-") == "" || between == "```") {
			continue
		}
		a.begun = true
		out.WriteString(a.links.line(text))
		if ended {
			out.WriteByte('\n')
		}
	}
	if out.Len() == 0 {
		return nil
	}
	a.written += utf8.RuneCountInString(out.String())
	return a.emit(Delta{Text: out.String()})
}

const (
	thinks, thought = "<think>", "</think>"
	fence           = "```json"
)

// readFacts takes pieces until the facts are complete, and returns what follows them. Some models
// think aloud before, or put a fence around JSON.
func (a *answer) readFacts(piece string) (rest string, complete bool, err error) {
	a.facts = strings.TrimLeft(a.facts+piece, " \t\r\n\ufeff")
	if strings.HasPrefix(a.facts, thinks) {
		end := strings.Index(a.facts, thought)
		if end < 0 { // its end may be half there
			a.facts = thinks + a.facts[max(len(thinks), len(a.facts)-len(thought)):]
			return "", false, nil
		}
		a.facts = strings.TrimLeft(a.facts[end+len(thought):], " \t\r\n")
	}
	text := strings.TrimLeft(strings.TrimPrefix(a.facts, fence), " \t\r\n")
	if strings.HasPrefix(thinks, text) || strings.HasPrefix(fence, text) { // or nothing yet
		return "", false, nil
	}
	if text[0] != '{' {
		return "", false, invalid("It does not begin with the facts as JSON.")
	}
	var facts struct {
		AuthType catalog.AuthType `json:"auth_type"`
		Scopes   []string         `json:"scopes"`
		Warnings []string         `json:"warnings"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&facts); errors.Is(err, io.ErrUnexpectedEOF) && len(text) <= maxFacts {
		return "", false, nil
	} else if err != nil {
		return "", false, invalid("The facts are not the JSON that was asked for.")
	}
	m := Meta{Source: SourceAI, AuthType: facts.AuthType, DocsURL: a.product.DocsURL}
	if !slices.Contains(authTypes, m.AuthType) {
		return "", false, invalid("Its auth_type is none of ours.")
	}
	if m.Scopes, err = a.texts(facts.Scopes, maxScopes, maxScope, "scopes"); err != nil {
		return "", false, err
	}
	if m.Warnings, err = a.texts(facts.Warnings, maxWarnings, maxWarning, "warnings"); err != nil {
		return "", false, err
	}
	a.told = true
	return text[d.InputOffset():], true, a.emit(m)
}

// texts holds a list to its bounds. They are lines of plain text.
func (a *answer) texts(list []string, most, longest int, what string) ([]string, error) {
	out := []string{}
	for _, text := range list {
		if utf8.RuneCountInString(text) > longest || strings.TrimSpace(visible(text)) == "" {
			return nil, invalid("One of its " + what + " is empty or too long.")
		}
		// scopes may be URLs of anybody's
		if text = strings.Join(strings.Fields(visible(text)), " "); what == "warnings" {
			text = a.links.line(text)
		}
		out = append(out, text)
	}
	if len(out) > most {
		return nil, invalid("It has too many " + what + ".")
	}
	return out, nil
}
