package setupguide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"agentkey/domain"
)

// facts are how a right answer begins.
const facts = `{"auth_type":"api_key","scopes":["read","write"],"warnings":["It is shown once."]}` + "\n---\n"

// says writes one chunk of the protocol.
func says(w http.ResponseWriter, text, reason string) {
	finish := "null"
	if reason != "" {
		finish = `"` + reason + `"`
	}
	content, _ := json.Marshal(text)
	_, _ = fmt.Fprintf(
		w,
		`data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",`+
			`"choices":[{"index":0,"delta":{"role":"assistant","content":%s},"finish_reason":%s}]}`+"\n\n",
		content, finish,
	)
	w.(http.Flusher).Flush()
}

// streams begins an answer of the protocol.
func streams(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
}

func ends(w http.ResponseWriter) { _, _ = io.WriteString(w, "data: [DONE]\n\n") }

// modelOf serves the protocol by a function.
func modelOf(t *testing.T, times Times, handler http.HandlerFunc) *Model {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // until that, a server does not notice that its client leaves
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return NewModel(s.URL+"/v1/", "test-model", domain.NewSecret([]byte("sk-canary")), times, nil)
}

var patient = Times{First: 10 * time.Second, Idle: 10 * time.Second}

// write asks a model for a guide, without a page, and returns what it made of it.
func write(ctx context.Context, m *Model) (meta *Meta, text string, done *Done, err error) {
	a := newAnswer(linear, func(event any) error {
		switch e := event.(type) {
		case Meta:
			meta = &e
		case Delta:
			text += e.Text
		case Done:
			done = &e
		}
		return nil
	})
	if err = m.Stream(ctx, "rules", "data", a.add); err == nil {
		err = a.end()
	}
	return meta, text, done, err
}

func TestAnAnswerInTheProtocolBecomesAGuide(t *testing.T) {
	for name, pieces := range map[string][]string{
		"at once": {facts + "# Linear\n\nOpen [the settings](https://linear.app/settings).\nCopy the key.\n"},
		"by characters": strings.Split(
			facts+"# Linear\n\nOpen [the settings](https://linear.app/settings).\nCopy the key.\n", "",
		),
		"in a fence": {"```json\n" + strings.TrimSuffix(facts, "\n---\n"), "\n```\n\n---\n\n# Linear\n\nOpen " +
			"[the settings](https://linear.app/settings).\nCopy the key.\n"},
		"after a thought": {
			"<thi", "nk>{\"auth_type\"", strings.Repeat("hm ", 20_000), "</th",
			"ink>\n\n" + facts + "# Linear\n\nOpen [the settings](https://linear.app/settings).\nCopy the key.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := modelOf(t, patient, func(w http.ResponseWriter, r *http.Request) {
				var asked struct {
					Model    string
					Stream   bool
					Messages []struct{ Role, Content string }
				}
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.Path != "/v1/chat/completions" ||
					r.Header.Get("Authorization") != "Bearer sk-canary" ||
					asked.Model != "test-model" || !asked.Stream || len(asked.Messages) != 2 ||
					asked.Messages[0].Role != "system" || asked.Messages[1].Role != "user" {
					t.Errorf("asked %s %v: %+v: %v", r.URL, r.Header, asked, err)
				}
				streams(w)
				_, _ = io.WriteString(w, ": processing\n\n")
				for _, piece := range pieces {
					says(w, piece, "")
				}
				says(w, "", "stop")
				_, _ = io.WriteString(w, `data: {"id":"c1","choices":[],"usage":{"total_tokens":7}}`+"\n\n")
				ends(w)
			})
			meta, text, done, err := write(t.Context(), m)
			if err != nil || meta == nil || meta.AuthType != "api_key" || meta.Source != SourceAI ||
				len(meta.Scopes) != 2 || len(meta.Warnings) != 1 {
				t.Fatalf("%+v: %v", meta, err)
			}
			if want := "# Linear\n\nOpen [the settings](https://linear.app/settings).\nCopy the key.\n"; text != want {
				t.Errorf("the text is %q", text)
			}
			if done == nil || done.Characters != len(text) {
				t.Errorf("it ended with %+v", done)
			}
		})
	}
}

func TestAnEndpointThatFailsIsToldApartAndNeverHangs(t *testing.T) {
	chunk := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { streams(w); _, _ = io.WriteString(w, text) }
	}
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	said := func(text, reason string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { streams(w); says(w, text, reason); ends(w) }
	}
	waits := func(first func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { first(w); <-r.Context().Done() }
	}
	for name, c := range map[string]struct {
		code, detail string
		handler      http.HandlerFunc
	}{
		"500":              {"ai_unavailable", "status 500", status(500, `{"error":{"message":"canary"}}`)},
		"400 without JSON": {"ai_unavailable", "status 400", status(400, "<html>canary")},
		"401": {
			"ai_unavailable", "the key", status(401, `{"error":{"message":"Incorrect API key provided: sk-canary"}}`),
		},
		"404": {"ai_unavailable", "the model", status(404, "")},
		"413": {"ai_unavailable", "too long", status(413, "")},
		"429": {"ai_unavailable", "too many requests", status(429, `{"error":{"message":"canary"}}`)},
		"a redirect": {
			"ai_unavailable", "status 302",
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		},
		"no stream": {"ai_answer_invalid", "not a stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"choices":[]}`)
		}},
		"a page": {"ai_answer_invalid", "not a stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		}},
		"no JSON":    {"ai_answer_invalid", "JSON of the protocol", chunk("data: {\"choices\":[{\n\n")},
		"other JSON": {"ai_answer_invalid", "JSON of the protocol", chunk("data: {\"choices\":\"none\"}\n\n")},
		"an error in the stream": {
			"ai_unavailable", "with an error",
			chunk(`data: {"error":{"message":"canary overloaded","type":"server_error"}}` + "\n\n"),
		},
		"nothing":      {"ai_answer_invalid", "in the middle", chunk("")},
		"only the end": {"ai_answer_invalid", "in the middle", chunk("data: [DONE]\n\n")},
		"cut between chunks": {
			"ai_answer_invalid", "in the middle",
			func(w http.ResponseWriter, _ *http.Request) { streams(w); says(w, facts+"1. Log in\n", "") },
		},
		"cut within a chunk": {"ai_answer_invalid", "in the middle", func(w http.ResponseWriter, _ *http.Request) {
			streams(w)
			says(w, facts, "")
			_, _ = io.WriteString(w, `data: {"choi`)
		}},
		"a lost connection": {"ai_answer_invalid", "in the middle", func(w http.ResponseWriter, _ *http.Request) {
			streams(w)
			says(w, facts, "")
			panic(http.ErrAbortHandler)
		}},
		"silent from the start": {"ai_unavailable", "silent", waits(func(http.ResponseWriter) {})},
		"silent after headers":  {"ai_unavailable", "silent", waits(streams)},
		"silent in the middle": {
			"ai_unavailable", "silent", waits(func(w http.ResponseWriter) { streams(w); says(w, facts+"1. ", "") }),
		},
		"silent within a line": {"ai_unavailable", "silent", waits(func(w http.ResponseWriter) {
			streams(w)
			says(w, facts, "")
			_, _ = io.WriteString(w, "data: {")
			w.(http.Flusher).Flush()
		})},
		"a line without an end":   {"ai_answer_invalid", "too large", endless("data: " + strings.Repeat("x", 1000))},
		"comments without an end": {"ai_answer_invalid", "too large", endless(": " + strings.Repeat("x", 8000) + "\n")},
		"facts without an end": {
			"ai_answer_invalid", "not the JSON", said(`{"auth_type":"`+strings.Repeat("x", maxFacts), ""),
		},
		"text without an end": {"ai_answer_invalid", "20,000", said(facts+strings.Repeat("x ", maxGuide), "")},
		"no facts":            {"ai_answer_invalid", "begin with the facts", said("# Linear\nLog in.", "stop")},
		"half of the facts": {
			"ai_answer_invalid", "begin with the facts", said(`{"auth_type":"api_key"`, "stop"),
		},
		"no text": {"ai_answer_invalid", "no text", said(facts+"\n \n---\n", "stop")},
		"another auth_type": {
			"ai_answer_invalid", "auth_type", said(`{"auth_type":"password","scopes":[],"warnings":[]}`+"\nx", "stop"),
		},
		"no auth_type": {
			"ai_answer_invalid", "auth_type", said(`{"scopes":[],"warnings":[]}`+"\nx", "stop"),
		},
		"another member": {
			"ai_answer_invalid", "not the JSON",
			said(`{"auth_type":"api_key","scopes":[],"warnings":[],"run":"rm -rf /"}`+"\nx", "stop"),
		},
		"a member of other type": {
			"ai_answer_invalid", "not the JSON",
			said(`{"auth_type":"api_key","scopes":"all","warnings":[]}`+"\nx", "stop"),
		},
		"too many scopes": {
			"ai_answer_invalid", "too many scopes",
			said(`{"auth_type":"api_key","scopes":["a"`+strings.Repeat(`,"a"`, 20)+`],"warnings":[]}`+"\nx", "stop"),
		},
		"a long scope": {
			"ai_answer_invalid", "scopes",
			said(`{"auth_type":"api_key","scopes":["`+strings.Repeat("a", 101)+`"],"warnings":[]}`+"\nx", "stop"),
		},
		"an empty scope": {
			"ai_answer_invalid", "scopes",
			said(`{"auth_type":"api_key","scopes":[" \u200b"],"warnings":[]}`+"\nx", "stop"),
		},
		"too many warnings": {
			"ai_answer_invalid", "too many warnings",
			said(`{"auth_type":"api_key","scopes":[],"warnings":["a"`+strings.Repeat(`,"a"`, 10)+`]}`+"\nx", "stop"),
		},
		"a long warning": {
			"ai_answer_invalid", "warnings",
			said(`{"auth_type":"api_key","scopes":[],"warnings":["`+strings.Repeat("ä", 301)+`"]}`+"\nx", "stop"),
		},
		"cut by its length":     {"ai_answer_invalid", "may write", said(facts+"1. Log in", "length")},
		"held back by a filter": {"ai_answer_invalid", "filter", said(facts+"1. Log in", "content_filter")},
		"a call of a function":  {"ai_answer_invalid", "function", said("", "tool_calls")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, text, done, err := write(
				t.Context(), modelOf(t, Times{First: 6 * time.Second, Idle: 6 * time.Second}, c.handler),
			)
			refusal, is := errors.AsType[*domain.Error](err)
			if !is || refusal.Code != c.code || !strings.Contains(refusal.Detail, c.detail) || refusal.Hint == "" ||
				done != nil {
				t.Fatalf("%q, %+v: %v", text, done, err)
			}
			if all := fmt.Sprintf("%+v", refusal); strings.Contains(all, "canary") ||
				strings.Contains(all, "127.0.0.1") {
				t.Errorf("it repeats what it was told: %s", all)
			}
		})
	}
	nobody := NewModel("http://127.0.0.1:1/v1", "m", domain.Secret{}, patient, nil)
	if err := nobody.Stream(
		t.Context(), "", "", func(string) error { return nil },
	); !strings.Contains(fmt.Sprint(err), "can't be reached") {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

// endless writes until the reader is gone.
func endless(piece string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		streams(w)
		for {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	}
}

func TestAModelIsLeftWhenItsReaderLeaves(t *testing.T) {
	left := make(chan struct{})
	m := modelOf(t, patient, func(w http.ResponseWriter, r *http.Request) {
		streams(w)
		says(w, facts+"1. Log in\n", "")
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	err := m.Stream(ctx, "", "", func(string) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	<-left
	gone := make(chan struct{})
	m = modelOf(t, patient, func(w http.ResponseWriter, r *http.Request) {
		streams(w)
		says(w, "x", "")
		<-r.Context().Done()
		close(gone)
	})
	full := errors.New("the reader takes no more")
	if err := m.Stream(t.Context(), "", "", func(string) error { return full }); !errors.Is(err, full) {
		t.Errorf("it ended with %v", err)
	}
	<-gone
}

func TestAModelThatNeedsNoKeyGetsNone(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Authorization"]; sent {
			t.Errorf("it was sent %q", r.Header["Authorization"])
		}
		streams(w)
		says(w, facts+"1. Log in", "stop")
		ends(w)
	}))
	defer s.Close()
	if _, text, _, err := write(t.Context(), NewModel(s.URL, "m", domain.Secret{}, patient, nil)); text != "1. Log in" ||
		err != nil {
		t.Errorf("%q: %v", text, err)
	}
}
