package agentkey

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Event is something that happened. Its ID is its position in the log.
type Event struct {
	ID uint64

	// Name is the action, as in the audit. It is empty for the first event of each connection, which
	// says where in the log it begins, and Reset if something was missed.
	Name string

	Happening Happening // what it is about
}

// Reset is the name of an event after which you read your lists again: too much happened between
// two connections.
const Reset = "reset"

// silence is how long nothing comes before the connection counts as broken. The service sends a
// line every 15 seconds.
const silence = 45 * time.Second

// Events follows what happens in the organization, as an admin. It connects again, with what it has
// seen as Last-Event-ID, until ctx ends or the service refuses, which is the last thing it yields.
// include is fetches, deliveries, both with a comma between, or empty. after is the ID of the last
// event that you have seen; 0: what happens from now on.
func (c *Client) Events(ctx context.Context, include string, after uint64) iter.Seq2[Event, error] {
	path := "/api/admin/events"
	if include != "" {
		path += "?" + url.Values{"include": {include}}.Encode()
	}
	return c.follow(ctx, path, after)
}

// MyEvents follows what happens to the calling agent, as Events does.
func (c *Client) MyEvents(ctx context.Context, after uint64) iter.Seq2[Event, error] {
	return c.follow(ctx, "/api/me/events", after)
}

func (c *Client) follow(ctx context.Context, path string, after uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		failed := 0
		for {
			err := c.read(ctx, path, after, func(e Event) bool {
				failed, after = 0, e.ID
				if e.Name == Reset {
					c.position.Store(e.ID) // it may be another log
				}
				c.WaitFor(e.ID)
				return yield(e, nil)
			})
			if errors.Is(err, errLeft) {
				return
			}
			if ctx.Err() == nil && passes(err) {
				err = c.wait(ctx, err, pauseAfter(err, failed))
				failed++
				if err == nil {
					continue
				}
			}
			yield(Event{}, err)
			return
		}
	}
}

// errLeft says that nobody ranges over the events any more.
var errLeft = errors.New("the reader left")

// read hands over the events of one connection, and returns why it ended.
func (c *Client) read(ctx context.Context, path string, after uint64, take func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := exchange{method: http.MethodGet, address: c.URL + path, header: http.Header{}, follows: true}
	if after > 0 {
		x.header.Set("Last-Event-ID", strconv.FormatUint(after, 10))
	}
	watch := time.AfterFunc(silence, cancel)
	defer watch.Stop()
	response, err := c.send(ctx, &x)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing more is read from it
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // what is lacking shows as no problem
		return refused(response, body)
	}
	var e Event
	var data string
	for lines := bufio.NewReader(response.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return &url.Error{Op: x.method, URL: x.address, Err: err}
		}
		watch.Reset(silence)
		switch name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": "); name {
		case "id":
			if e.ID, err = strconv.ParseUint(value, 10, 64); err != nil {
				return fmt.Errorf("an event has the id %q, which isn't one of AgentKey", value)
			}
		case "event":
			e.Name = value
		case "data":
			data += value
		case "":
			if value != "" || e.ID == 0 && e.Name == "" { // a comment
				continue
			}
			if err := e.complete(response, data); err != nil {
				return err
			}
			if !take(e) {
				return errLeft
			}
			e, data = Event{}, ""
		}
	}
}

// complete reads the data of an event. The last event of a stream may be a problem.
func (e *Event) complete(response *http.Response, data string) error {
	if e.Name == "error" {
		problem := refused(response, []byte(data))
		problem.Status = problem.Problem.Status
		return problem
	}
	if data == "" || e.Name == Reset {
		return nil
	}
	return json.Unmarshal([]byte(data), &e.Happening)
}
