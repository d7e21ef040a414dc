package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/api/body"
	"agentkey/api/contract"
	"agentkey/domain"
)

// checkInput checks a request against the document: media type, size, JSON, then fields and
// parameters. The body that it leaves is exactly what was validated.
func (s *Server) checkInput(c *gin.Context, call *call) error {
	var sent any // nil: the request has no body
	if call.op.Body != nil {
		object, err := s.readBody(c, call)
		if err != nil {
			return err
		}
		if object != nil {
			sent = object
		}
	} else if c.Request.Body != nil {
		c.Request.Body = http.NoBody
	}
	query, err := parametersOf(c, call.op)
	if err != nil {
		return err
	}
	if err := checkHeaders(c, call.op); err != nil {
		return err
	}
	wrong := call.op.Mistakes(query, sent)
	if len(wrong) == 0 && sent != nil && call.op.HasWebAddress {
		err := call.body.Settle(func(object map[string]any) { wrong = call.op.Settle(object) })
		if err != nil {
			return err
		}
		bind(c, call)
	}
	if len(wrong) == 0 {
		return nil
	}
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "validation_failed",
		Detail: "The field " + domain.Verbatim(wrong[0].Field) + " is not valid: " + wrong[0].Message + ".",
		Hint:   "Correct what details names; GET " + domain.Verbatim(s.routes.described(c)) + " describes every field.",
		Fields: wrong,
	}
}

func checkHeaders(c *gin.Context, op *contract.Operation) error {
	key := c.Request.Header.Values("Idempotency-Key")
	if op.TakesIdempotencyKey() && len(key) > 0 && (len(key) > 1 || !validIdempotencyKey(key[0])) {
		return domain.Invalid("Idempotency-Key", "it must be 1 to 128 visible ASCII characters")
	}
	_, err := waitedFor(c, op)
	return err
}

// parametersOf reads the query. The operation must take every parameter in it, once unless it may
// be repeated.
func parametersOf(c *gin.Context, op *contract.Operation) (url.Values, error) {
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, domain.Invalid("query", "it is malformed")
	}
	names := slices.Sorted(maps.Keys(query))
	for _, name := range names {
		if len(query[name]) > 1 && !op.Repeats(name) {
			return nil, domain.Invalid(name, "it is given more than once")
		}
	}
	for _, name := range names {
		if !op.TakesParameter(name) {
			return nil, domain.Invalid(name, "there is no such query parameter here")
		}
	}
	return query, nil
}

// readBody reads the body and counts the bytes that arrive, whatever Content-Length says. It
// returns nil if the body is optional and absent.
func (s *Server) readBody(c *gin.Context, call *call) (map[string]any, error) {
	mediaType := c.GetHeader("Content-Type")
	present := c.Request.Body != nil && c.Request.Body != http.NoBody && c.Request.ContentLength != 0
	if !present && !call.op.NeedsBody && mediaType == "" {
		c.Request.Body = http.NoBody
		return nil, nil
	}
	kind, params, err := mime.ParseMediaType(mediaType)
	isYAML := call.op.TakesYAML && kind == "application/yaml"
	if err != nil || kind != "application/json" && !isYAML || !utf8Charset(params) {
		takes := "application/json"
		if call.op.TakesYAML {
			takes += " or application/yaml"
		}
		return nil, &domain.Error{
			Kind: domain.KindUnsupported, Code: "unsupported_media_type", Detail: "This call takes " + takes + ".",
			Hint: "Send the body with Content-Type: " + takes + ".",
		}
	}
	if coding := c.GetHeader("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, &domain.Error{
			Kind: domain.KindUnsupported, Code: "unsupported_media_type",
			Detail: "This call takes a body that is not compressed.",
			Hint:   "Send the body without Content-Encoding.",
		}
	}
	raw, err := readAll(http.MaxBytesReader(c.Writer, c.Request.Body, call.op.MaxBody), c.Request.ContentLength)
	call.raw = raw
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &domain.Error{
			Kind: domain.KindTooLarge, Code: "body_too_large",
			Detail: fmt.Sprintf("The body is larger than %d bytes.", call.op.MaxBody),
			Hint:   "Send a smaller body; GET /openapi.json says how long each field may be.",
		}
	}
	if err != nil {
		return nil, errCutOff
	}
	if len(raw) == 0 && !call.op.NeedsBody {
		c.Request.Body = http.NoBody
		return nil, nil
	}
	if isYAML {
		call.body, err = body.ReadYAML(raw)
	} else {
		call.body, err = body.ReadJSON(raw, call.op.Clears)
	}
	if err != nil {
		return nil, err
	}
	bind(c, call)
	return call.body.Object, nil
}

// readAll reads to the end, into one buffer if the length is true, so that no other holds a part.
func readAll(r io.Reader, length int64) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(int(max(0, min(length, 64<<10))) + bytes.MinRead)
	_, err := out.ReadFrom(r)
	return out.Bytes(), err
}

// bind makes a body that was read the one that the handler gets.
func bind(c *gin.Context, call *call) {
	c.Request.Body = io.NopCloser(bytes.NewReader(call.body.JSON))
	c.Request.ContentLength = int64(len(call.body.JSON))
	c.Request.Header.Set("Content-Type", "application/json")
}

func utf8Charset(params map[string]string) bool {
	for name, value := range params {
		if name == "charset" && !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// waitedFor is the position that a query asks the read model to have reached, 0 for any.
func waitedFor(c *gin.Context, op *contract.Operation) (uint64, error) {
	header := c.GetHeader("X-Wait-For-Position")
	if header == "" || !op.TakesPosition() {
		return 0, nil
	}
	return positionOf("X-Wait-For-Position", header, "X-Event-Position of an earlier answer")
}

// positionOf reads a position from a header, which has it from somewhere.
func positionOf(name, text, from string) (uint64, error) {
	position, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, domain.Invalid(name, "it must be the "+from)
	}
	return position, nil
}

// awaitPosition holds a query back until the read model knows what its caller knows.
func (s *Server) awaitPosition(c *gin.Context, call *call) error {
	position, err := waitedFor(c, call.op)
	if err != nil || position == 0 {
		return err
	}
	return s.reached(call, position)
}

// reached waits until the read model has reached a position, for at most two seconds.
func (s *Server) reached(call *call, position uint64) error {
	if err := s.Models.Usable(); err != nil {
		return asked(err, "")
	}
	ctx, cancel := context.WithTimeout(call.ctx, 2*time.Second)
	defer cancel()
	if err := s.WaitFor(ctx, position); err != nil {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "read_model_behind",
			Detail:     "The read model has not reached this position yet.",
			Hint:       "Send the same request again after Retry-After; GET /readyz says how far it is.",
			RetryAfter: time.Second,
		}
	}
	return nil
}
