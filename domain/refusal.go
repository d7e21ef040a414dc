package domain

import "time"

// Kind groups refusals by what the caller can do about them; the HTTP edge maps each kind to one status.
type Kind int

// The kinds of refusal.
const (
	KindInvalid         Kind = iota + 1 // the input is wrong: 400
	KindUnauthenticated                 // nobody we know: 401
	KindForbidden                       // known, but not allowed: 403
	KindNotFound                        // no such thing, or not yours: 404
	KindMethod                          // the path exists, the method does not: 405
	KindConflict                        // somebody was first, or it is already so: 409
	KindStale                           // edited since you read it: 412
	KindTooLarge                        // 413
	KindUnsupported                     // media type: 415
	KindLimited                         // rate limit: 429
	KindUnavailable                     // a part we need is down or behind: 503
)

// Field is one mistake in the input.
type Field struct {
	Field   string
	Message string
}

// Error is a refusal: the rules said no and the caller may know why. Every other error is a fault, whose text
// stays inside. Code is contract, the texts are not. Hint names the next call to make, with method and path.
type Error struct {
	Kind       Kind
	Code       string
	Detail     string
	Hint       string
	RetryAfter time.Duration     // how long to wait, 0 when waiting does not help
	Fields     []Field           // what validation found
	Extra      map[string]string // further members of the answer, such as request_id
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// NotFound is the refusal for anything that does not exist or belongs to somebody else: the two look the same.
func NotFound(what string) *Error {
	return &Error{Kind: KindNotFound, Code: "not_found", Detail: "There is no such " + what + ".", Hint: hintFor(what)}
}

// Invalid is the refusal of one field of the input.
func Invalid(field, message string) *Error {
	return &Error{
		Kind: KindInvalid, Code: "validation_failed", Detail: "The field " + field + " is not valid: " + message + ".",
		Hint:   "Correct the fields named in details and send the request again.",
		Fields: []Field{{Field: field, Message: message}},
	}
}

// Stale is the refusal of an edit that was based on an older revision.
func Stale() *Error {
	return &Error{
		Kind: KindStale, Code: "revision_stale", Detail: "It was changed since the revision named in If-Match.",
		Hint: "GET it again, repeat the change on what it is now, and send the new ETag in If-Match.",
	}
}

func hintFor(what string) string {
	switch what {
	case "tool":
		return "List the tools with GET /api/tools (agents) or GET /api/admin/tools (admins)."
	case "agent":
		return "List the agents with GET /api/admin/agents."
	case "request":
		return "List the requests with GET /api/admin/requests."
	case "suggestion":
		return "List the suggestions with GET /api/admin/suggestions."
	case "note":
		return "List the notes with GET /api/admin/instruction-suggestions."
	case "notification channel":
		return "List the channels with GET /api/admin/notification-channels."
	case "notification":
		return "List what was sent with GET /api/admin/notification-deliveries."
	case "grant":
		return "List who has what with GET /api/admin/grants, or give access with POST /api/admin/agents/{id}/grants."
	}
	return "See GET /openapi.json for every path."
}
