package setupguide

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"

	"agentkey/domain"
)

// What is read of an answer's stream at most, in bytes: more than a guide and what a model thinks
// before it.
const (
	maxStream = 16 << 20
	maxLine   = 1 << 20
)

// Model is a language model behind an endpoint that speaks OpenAI's protocol. The operator chose
// it, so it may be on this machine; a redirect from there is followed nowhere.
type Model struct {
	client *openai.Client
	name   string
	times  Times
}

// Times are how long a model may be silent.
type Times struct {
	First time.Duration // before its first word; a model may have to be loaded
	Idle  time.Duration // between two
}

// NewModel returns the model of an endpoint; key is empty where none is needed. way leads to the
// endpoint, nil for the usual one.
func NewModel(baseURL, name string, key domain.Secret, times Times, way http.RoundTripper) *Model {
	c := openai.DefaultConfig(string(key.Reveal()))
	c.BaseURL = strings.TrimRight(baseURL, "/")
	// lines without data, such as comments that keep a connection open, are bounded by their bytes
	c.EmptyMessagesLimit = maxStream
	c.HTTPClient = endpoint{&http.Client{
		Transport:     way,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return &Model{client: openai.NewClientWithConfig(c), name: name, times: times}
}

var errSilent = errors.New("the model is silent")

// Stream asks the model and hands on what it says, piece by piece. It returns nil when the model
// came to its end. The call ends with ctx.
func (m *Model) Stream(ctx context.Context, system, user string, each func(piece string) error) error {
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(m.times.First, func() { cancel(errSilent) })
	defer silence.Stop()
	stream, err := m.client.CreateChatCompletionStream(call, openai.ChatCompletionRequest{
		Model: m.name, Stream: true, Messages: []openai.ChatCompletionMessage{
			{Role: openai.ChatMessageRoleSystem, Content: system}, {Role: openai.ChatMessageRoleUser, Content: user},
		},
	})
	if err != nil {
		return failed(ctx, call, err)
	}
	defer func() { _ = stream.Close() }()
	var reason openai.FinishReason
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return finished(reason)
		}
		if err != nil {
			return failed(ctx, call, err)
		}
		silence.Reset(m.times.Idle)
		if len(chunk.Choices) == 0 { // what it has used, perhaps
			continue
		}
		if chunk.Choices[0].FinishReason != "" {
			reason = chunk.Choices[0].FinishReason
		}
		if piece := chunk.Choices[0].Delta.Content; piece != "" {
			if err := each(piece); err != nil {
				return err
			}
		}
	}
}

// finished tells an answer that came to its end from one that was cut off.
func finished(reason openai.FinishReason) error {
	switch reason {
	case "", openai.FinishReasonNull:
		return invalid("It broke off in the middle.")
	case openai.FinishReasonLength:
		return invalid("It reached the most that the model may write.")
	case openai.FinishReasonContentFilter:
		return invalid("It was held back by a filter of contents.")
	case openai.FinishReasonFunctionCall, openai.FinishReasonToolCalls:
		return invalid("It calls a function.")
	default: // stop, or what other servers call it
		return nil
	}
}

// failed is why there is no answer, or no more of it. What the endpoint says about that stays out:
// it may repeat its key.
func failed(ctx, call context.Context, err error) error {
	status, refused := errors.AsType[statusError](err)
	_, reported := errors.AsType[*openai.APIError](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(call), errSilent):
		return unavailable("It was silent for too long.")
	case refused:
		return unavailable(status.meaning())
	case errors.Is(err, errMediaType):
		return invalid("It is not a stream of events.")
	case errors.Is(err, errTooLarge):
		return invalid("It is too large.")
	case reported:
		return unavailable("It broke off with an error.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("It broke off in the middle.")
	case errors.Is(err, errUnreachable):
		return unavailable("Its endpoint can't be reached.")
	}
	return invalid("It is not the JSON of the protocol.")
}

var (
	errMediaType   = errors.New("the answer is not a stream of events")
	errTooLarge    = errors.New("the answer is too large")
	errUnreachable = errors.New("the endpoint can't be reached")
)

// statusError is a status that isn't an answer.
type statusError int

// Error implements error.
func (s statusError) Error() string { return "status " + strconv.Itoa(int(s)) }

func (s statusError) meaning() string {
	switch s {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "Its endpoint does not take the key."
	case http.StatusNotFound:
		return "Its endpoint does not know the path or the model."
	case http.StatusTooManyRequests:
		return "Its endpoint has had too many requests, or nothing is left of what was paid for."
	case http.StatusRequestEntityTooLarge:
		return "Its endpoint finds the page too long."
	}
	return "Its endpoint answers with " + s.Error() + "."
}

// endpoint lets through only what begins as an answer should, and bounds it.
type endpoint struct{ client *http.Client }

// Do implements openai.HTTPDoer.
func (e endpoint) Do(request *http.Request) (*http.Response, error) {
	answer, err := e.client.Do(request) //nolint:gosec // the operator names the endpoint
	if err != nil {
		return nil, errors.Join(errUnreachable, request.Context().Err())
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")) // "" is none
	switch {
	case answer.StatusCode != http.StatusOK:
		err = statusError(answer.StatusCode)
	case kind != "text/event-stream":
		err = errMediaType
	}
	if err != nil {
		_ = answer.Body.Close()
		return nil, err
	}
	answer.Body = &bounded{ReadCloser: answer.Body}
	return answer, nil
}

// bounded ends a body that is too large, or has a line that is.
type bounded struct {
	io.ReadCloser
	read, line int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += n
	if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
		b.line = n - end - 1
	} else {
		b.line += n
	}
	if b.read > maxStream || b.line > maxLine {
		return 0, errTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.Join(io.ErrUnexpectedEOF, err) // a connection that was lost
	}
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}
