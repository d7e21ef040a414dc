package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"agentkey/domain"
)

// The largest bodies, in bytes.
const (
	maxAgentBody = 8 << 10
	maxAdminBody = 32 << 10
)

// checkInput holds a request against the document: media type, size, JSON, then fields and parameters. The body
// that it leaves is exactly what was validated.
func (s *Server) checkInput(c *gin.Context, call *call) error {
	if call.op.takesBody {
		if err := s.readBody(c, call); err != nil {
			return err
		}
	} else if c.Request.Body != nil && !call.op.takesBody {
		c.Request.Body = http.NoBody
	}
	if err := checkParameterNames(c, call.op); err != nil {
		return err
	}
	if err := checkHeaders(c, call.op); err != nil {
		return err
	}
	if !call.op.takesBody && c.Request.URL.RawQuery == "" {
		return nil // nothing left that the document could object to
	}
	return s.validate(c, call.op)
}

func checkHeaders(c *gin.Context, op *operation) error {
	key := c.Request.Header.Values("Idempotency-Key")
	if takesIdempotencyKey(op) && len(key) > 0 && (len(key) > 1 || !validIdempotencyKey(key[0])) {
		return domain.Invalid("Idempotency-Key", "it must be 1 to 128 visible ASCII characters")
	}
	_, err := waitedFor(c, op)
	return err
}

func checkParameterNames(c *gin.Context, op *operation) error {
	if c.Request.URL.RawQuery == "" {
		return nil
	}
	query, err := queryOf(c.Request)
	if err != nil {
		return domain.Invalid("query", "it is malformed")
	}
	names := make([]string, 0, len(query))
	for name, values := range query {
		names = append(names, name)
		if len(values) > 1 {
			return domain.Invalid(name, "it is given more than once")
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if !slices.Contains(op.params, name) {
			return domain.Invalid(name, "there is no such query parameter here")
		}
	}
	return nil
}

// readBody takes the body off the stream, counting what comes and not what Content-Length says.
func (s *Server) readBody(c *gin.Context, call *call) error {
	limit := int64(maxAdminBody)
	if call.op.Caller == "agent" {
		limit = maxAgentBody
	}
	if call.op.maxBody != 0 {
		limit = call.op.maxBody
	}
	mediaType := c.GetHeader("Content-Type")
	present := c.Request.Body != nil && c.Request.Body != http.NoBody && c.Request.ContentLength != 0
	if !present && !call.op.needsBody && mediaType == "" {
		c.Request.Body = http.NoBody
		return nil
	}
	kind, params, err := mime.ParseMediaType(mediaType)
	isYAML := call.op.takesYAML && kind == "application/yaml"
	if err != nil || kind != "application/json" && !isYAML || !utf8Charset(params) {
		takes := "application/json"
		if call.op.takesYAML {
			takes += " or application/yaml"
		}
		return &domain.Error{
			Kind: domain.KindUnsupported, Code: "unsupported_media_type", Detail: "This call takes " + takes + ".",
			Hint: "Send the body with Content-Type: " + takes + ".",
		}
	}
	if coding := c.GetHeader("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return &domain.Error{
			Kind: domain.KindUnsupported, Code: "unsupported_media_type", Detail: "This call takes a body that is not compressed.",
			Hint: "Send the body without Content-Encoding.",
		}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &domain.Error{
			Kind: domain.KindTooLarge, Code: "body_too_large", Detail: fmt.Sprintf("The body is larger than %d bytes.", limit),
			Hint: "Send a smaller body; GET /openapi.json says how long each field may be.",
		}
	}
	if err != nil {
		return errMalformed("The body ended before it was complete.")
	}
	if len(raw) == 0 && !call.op.needsBody {
		c.Request.Body = http.NoBody
		return nil
	}
	if isYAML {
		if raw, err = jsonOf(raw); err != nil {
			return err
		}
	}
	clean, err := normalise(raw)
	if err != nil {
		return err
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(clean))
	c.Request.ContentLength = int64(len(clean))
	c.Request.Header.Set("Content-Type", "application/json")
	return nil
}

func utf8Charset(params map[string]string) bool {
	for name, value := range params {
		if name == "charset" && !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// validate holds parameters and body against the document, and puts the body back for the handler.
func (s *Server) validate(c *gin.Context, op *operation) error {
	var body []byte
	if c.Request.Body != nil && c.Request.Body != http.NoBody {
		var err error
		if body, err = io.ReadAll(c.Request.Body); err != nil {
			return err
		}
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
	}
	request := c.Request
	if request.Method == http.MethodHead || request.URL.RawPath != "" { // the document knows one spelling of either
		request = request.Clone(request.Context())
		request.URL.RawPath = ""
		if request.Method == http.MethodHead {
			request.Method = http.MethodGet
		}
	}
	ok, found := s.contract.validator.ValidateHttpRequestSync(request)
	if body != nil {
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
	}
	if ok {
		return nil
	}
	refusal := &domain.Error{
		Kind: domain.KindInvalid, Code: "validation_failed", Detail: "The request is not what this call takes.",
		Hint: "Correct what details names; GET " + s.contract.described(c) + " describes every field.", Fields: fieldsOf(op, found),
	}
	if len(refusal.Fields) > 0 {
		refusal.Detail = "The field " + refusal.Fields[0].Field + " is not valid: " + refusal.Fields[0].Message + "."
	}
	return refusal
}

// waitedFor is the position that a query asks the read model to have reached, 0 for any.
func waitedFor(c *gin.Context, op *operation) (uint64, error) {
	header := c.GetHeader("X-Wait-For-Position")
	if header == "" || op.Command {
		return 0, nil
	}
	position, err := strconv.ParseUint(header, 10, 63)
	if err != nil {
		return 0, domain.Invalid("X-Wait-For-Position", "it must be the X-Event-Position of an earlier answer")
	}
	return position, nil
}

// awaitPosition holds a query back until the read model knows what its caller knows.
func (s *Server) awaitPosition(c *gin.Context, call *call) error {
	position, err := waitedFor(c, call.op)
	if err != nil || position == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(call.ctx, 2*time.Second)
	defer cancel()
	if err := s.WaitFor(ctx, position); err != nil {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "read_model_behind", Detail: "The read model has not reached this position yet.",
			Hint: "Send the same request again after Retry-After; GET /readyz says how far it is.", RetryAfter: time.Second,
		}
	}
	return nil
}
