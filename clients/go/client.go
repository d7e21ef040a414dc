// Package agentkey calls AgentKey over HTTP, as an agent or as an admin. It has a method for each
// operation of the OpenAPI document, with its types, and needs the standard library alone.
//
// A Client repeats what may succeed a little later: calls that found no connection, answers 429 and
// 503. What has an effect carries an idempotency key, which is the same in each repetition, so it
// happens once. A Client reads its own writes: it remembers the newest X-Event-Position that it was
// answered, and its reads wait for it. Everything else that isn't a success is an *Error, whose
// Code says what went wrong.
package agentkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:generate go tool -modfile=../../tools/go.mod oapi-codegen -config types.yaml ../../api/contract/openapi_gen.json
//go:generate go tool -modfile=../../tools/go.mod oapi-codegen -config calls.yaml ../../api/contract/openapi_gen.json

// Client calls one service as one caller. It is safe for concurrent use; set its fields before its
// first call.
type Client struct {
	URL          string // where the service is, such as https://agentkey.example.com
	Key          string // an agent key, a service token, or a token of an identity provider; empty: HTTP says who calls
	Organization string // its id, for a member of several

	// HTTP sends the calls. The one that New sets follows no redirects, so that the key goes to URL
	// alone.
	HTTP *http.Client

	// Patience is how long a call waits in all between its attempts, 30 seconds if it is 0. A negative
	// one allows one attempt.
	Patience time.Duration

	// Waiting, if it is set, learns what failed before each pause.
	Waiting func(err error, pause time.Duration)

	position atomic.Uint64
}

const (
	usualPatience = 30 * time.Second
	attemptWithin = time.Minute
	largestAnswer = 64 << 20
)

// New returns a client of the service at an address.
func New(address, key string) *Client {
	return &Client{
		URL: strings.TrimSuffix(address, "/"), Key: key,
		HTTP: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Position is the newest position in the event log that the client was answered; 0: none yet.
func (c *Client) Position() uint64 { return c.position.Load() }

// WaitFor makes later reads wait for a position that another client was answered.
func (c *Client) WaitFor(position uint64) {
	for old := c.position.Load(); position > old && !c.position.CompareAndSwap(old, position); {
		old = c.position.Load()
	}
}

// Option changes one call.
type Option func(*exchange)

// exchange is a call and what came back.
type exchange struct {
	method, address string
	header          http.Header
	follows         bool // its answer is a stream of events
	body            []byte
	answered        *http.Header // nil: nobody wants it
}

// WithIfMatch makes a call have no effect if what it is about has changed since an ETag was read.
// The call then fails with ProblemCodeRevisionStale.
func WithIfMatch(etag string) Option {
	return func(x *exchange) { x.header.Set("If-Match", etag) }
}

// WithIdempotencyKey replaces the key that the client draws, as for a call that a process repeats
// after it has started again. A repeated call isn't answered with secrets that are shown once.
func WithIdempotencyKey(key string) Option {
	return func(x *exchange) { x.header.Set("Idempotency-Key", key) }
}

// WithHeaders stores the headers of the answer, such as its ETag.
func WithHeaders(into *http.Header) Option {
	return func(x *exchange) { x.answered = into }
}

// Do makes a call. body, if it isn't nil, is sent as JSON, and the answer's body is decoded into
// into, if that isn't nil. Each operation has a method of its own; Do is for those that don't
// answer JSON, and for services newer than this package.
func (c *Client) Do(
	ctx context.Context, method, path string, query url.Values, body, into any, options ...Option,
) error {
	x := exchange{method: method, address: c.URL + path, header: http.Header{}}
	if len(query) > 0 {
		x.address += "?" + query.Encode()
	}
	if method != http.MethodGet {
		x.header.Set("Idempotency-Key", rand.Text())
	}
	if body != nil {
		var err error
		if x.body, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the body of %s %s: %w", method, path, err)
		}
		x.header.Set("Content-Type", "application/json")
	}
	for _, option := range options {
		option(&x)
	}
	answer, err := c.persist(ctx, &x)
	if err != nil {
		return err
	}
	switch into := into.(type) {
	case nil:
		return nil
	case *[]byte:
		*into = answer
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("the answer to %s %s isn't of AgentKey: %w", method, path, err)
	}
	return nil
}

// once makes one attempt and returns the body of a success.
func (c *Client) once(ctx context.Context, x *exchange) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	response, err := c.send(ctx, x)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		return nil, &url.Error{Op: x.method, URL: x.address, Err: err}
	}
	if x.answered != nil {
		*x.answered = response.Header
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, refused(response, answer)
	}
	return answer, nil
}

// send sends a request once and takes note of the position in its answer.
func (c *Client) send(ctx context.Context, x *exchange) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, x.method, x.address, bytes.NewReader(x.body))
	if err != nil {
		return nil, err
	}
	request.Header = x.header.Clone()
	if c.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if c.Organization != "" {
		request.Header.Set("X-Organization", c.Organization)
	}
	// A stream says itself where it begins. What the client has seen may be of a log that is gone.
	if position := c.Position(); position > 0 && x.method == http.MethodGet && !x.follows {
		request.Header.Set("X-Wait-For-Position", strconv.FormatUint(position, 10))
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	if position, err := strconv.ParseUint(response.Header.Get("X-Event-Position"), 10, 64); err == nil {
		c.WaitFor(position)
	}
	return response, nil
}

// set adds a parameter to a query unless it is absent.
func set[T ~string | ~int | ~int64 | ~bool | time.Time](q url.Values, name string, value *T) {
	if value != nil {
		q.Set(name, text(*value))
	}
}

// setAll adds a parameter with commas between its values unless there are none.
func setAll[T ~string](q url.Values, name string, values *[]T) {
	if values == nil || len(*values) == 0 {
		return
	}
	texts := make([]string, len(*values))
	for i, v := range *values {
		texts[i] = string(v)
	}
	q.Set(name, strings.Join(texts, ","))
}

// setEach adds a parameter once for each of its values.
func setEach[T ~string](q url.Values, name string, values *[]T) {
	if values != nil {
		for _, v := range *values {
			q.Add(name, string(v))
		}
	}
}

func text(value any) string {
	if at, is := value.(time.Time); is {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value)
}

// place puts parameters into a path, in their order.
func place(path string, parameters ...any) string {
	for _, p := range parameters {
		before, name, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(name, "}")
		path = before + url.PathEscape(text(p)) + after
	}
	return path
}
