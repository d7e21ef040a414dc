package agentkey

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Error is an answer that isn't a success. Match it with errors.As, and compare its Code:
//
//	var refused *agentkey.Error
//	if errors.As(err, &refused) && refused.Code == agentkey.ProblemCodeRevisionStale {
type Error struct {
	Status     int           // of HTTP
	Code       ProblemCode   // empty if something between answered, such as a proxy
	Problem    Problem       // the whole answer
	RetryAfter time.Duration // how long the service asks to wait; 0: it doesn't say
}

// Error implements error. It says what went wrong and what to do next.
func (e *Error) Error() string {
	switch {
	case e.Code == "":
		return fmt.Sprintf("HTTP status %d %s, which isn't an answer of AgentKey", e.Status, http.StatusText(e.Status))
	case e.Problem.Hint == "":
		return e.Problem.Detail
	}
	return e.Problem.Detail + " " + e.Problem.Hint
}

// passes reports whether the same call may succeed a little later.
func (e *Error) passes() bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return e.Code != ProblemCodeAiNotConfigured && e.Code != ProblemCodeDocsUnavailable
	}
	return e.Code == ProblemCodeIdempotencyInProgress
}

// refused reads an answer that isn't a success.
func refused(response *http.Response, body []byte) *Error {
	e := &Error{Status: response.StatusCode}
	if err := json.Unmarshal(body, &e.Problem); err == nil {
		e.Code = e.Problem.Code
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
